"""`ensure`: the folder of a model that is ready to serve. Fetched and converted once; found at once afterwards."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine import card, errors, ready_model
from engine.card import Card
from engine.errors import DamagedModel, DownloadFailed, ModelError, UnknownModel, UnsupportedModel
from engine.settings import Settings
from engine.sources import Kind, Progress, Source, fetch, locked, silent, staged

#: What the converting process may raise.
_FAULTS: dict[str, type[ModelError]] = {
    kind.__name__: kind for kind in (UnknownModel, DownloadFailed, DamagedModel, UnsupportedModel)
}


def ensure(source: str, settings: Settings, *, compute_type: str = "", progress: Progress = silent) -> Path:
    """The folder with `model.bin`, its tokenizer and `replymill.json` for a source and a precision (empty: `compute_type` of the
    settings).

    :raises ModelError: one of its kinds, saying what is wrong and what to do; nothing half-made is left.
    """
    parsed = Source.parse(source)
    compute_type = compute_type or settings.compute_type
    folder = place(parsed, settings, compute_type=compute_type)
    if card.is_complete(folder):
        return folder
    with locked(folder.parent, folder.name):
        if not card.is_complete(folder):
            fetched = fetch(parsed, _cache(settings), progress=progress)
            with staged(folder) as stage:
                _make(fetched, stage, source=str(parsed), weights=saved_weights(compute_type), progress=progress)
    return folder


def place(source: Source, settings: Settings, *, compute_type: str = "") -> Path:
    """Where the converted model stands: by source, hash and precision, and for local files by their size and time."""
    local = Path(source.name).expanduser().resolve()
    if source.kind is Kind.PATH and card.is_complete(local):
        return local
    stamp = f"-{_stamp(local)}" if source.kind in (Kind.PATH, Kind.GGUF) else ""
    return _cache(settings) / "models" / f"{source.slug}{stamp}-{saved_weights(compute_type or settings.compute_type)}"


def _cache(settings: Settings) -> Path:
    return settings.cache_dir.expanduser().resolve()


def _stamp(local: Path) -> str:
    files = sorted(local.iterdir()) if local.is_dir() else [local]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def saved_weights(compute_type: str) -> str:
    """The type in which weights are kept for a `compute_type`: what it computes in is made of this when the model is loaded.

    CTranslate2 would also load INT8 weights as float32, but rounded; and it needs PyTorch to save bfloat16.
    """
    if compute_type.startswith("int8"):
        return "int8"
    return "float16" if compute_type == "float16" else "float32"


def converted(settings: Settings) -> Iterator[tuple[Path, Card]]:
    """Every finished model in the cache folder, with its card."""
    for folder in sorted((_cache(settings) / "models").glob("*/")):
        if card.is_complete(folder):
            yield folder, Card.read(folder)


def _make(fetched: Path, stage: Path, *, source: str, weights: str, progress: Progress) -> None:
    if fetched.is_dir() and (fetched / "model.bin").is_file():
        ready_model.link(fetched, stage)
        ready_model.describe(stage, source=source).write(stage)
        return
    _run(_input(fetched, source), stage, source=source, weights=weights, progress=progress)


def _input(fetched: Path, source: str) -> Path:
    if fetched.is_file() or ((fetched / "config.json").is_file() and any(fetched.glob("*.safetensors"))):
        return fetched
    found = sorted(fetched.glob("*.gguf"))
    if len(found) == 1:
        return found[0]
    raise UnknownModel(
        f"{source} holds {len(found)} GGUF files, no model.bin and no config.json with *.safetensors: "
        "name a folder with one model, or one file by gguf:FILE or hf:ORG/NAME/FILE.gguf"
    )


def _run(path: Path, stage: Path, *, source: str, weights: str, progress: Progress) -> None:
    """Runs `engine.conversion`; it stands in the folder that this package was imported from."""
    job = msgspec.json.encode({"path": str(path), "folder": str(stage), "source": source, "weights": weights})
    command = [sys.executable, "-m", "engine.conversion", job.decode()]
    last = ""
    with subprocess.Popen(  # noqa: S603 - our own module, no shell
        command, cwd=Path(errors.__file__).parents[1], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            for last in child.stdout or ():
                if match := re.match(r"Progress (\d+) of (\d+)", last):
                    progress("convert", int(match[1]), int(match[2]))
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise _fault(source, child.returncode, last)


def _fault(source: str, code: int, last: str) -> ModelError:
    try:
        fault = msgspec.json.decode(last, type=dict[str, str])
        return _FAULTS[fault["error"]](fault["text"])
    except (msgspec.MsgspecError, KeyError):
        return ModelError(f"the conversion of {source} ended with exit code {code}: its output above says why (memory, a crash)")
