"""The program that converts one model, run by `engine.convert` in a process of its own: `python -m engine.conversion JOB`.

So serving never imports what only conversion needs, and gets the memory back. JOB and the answer are JSON; progress is lines of
`Progress DONE of TOTAL`.
"""

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import ctranslate2
import msgspec

from engine import bert_model, gguf_model, precision, ready_model, sentence_format
from engine.card import Card
from engine.errors import DownloadFailed, ModelError, UnsupportedModel


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to convert, and where to."""

    #: A GGUF file, or a folder of Hugging Face weights.
    path: str
    #: An empty folder.
    folder: str
    #: For the card.
    source: str
    weights: str


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no model."""

    #: The name of a class in `engine.errors`.
    error: str
    text: str


class _Int8Converter(ctranslate2.converters.TransformersConverter):  # type: ignore[misc]  # CTranslate2 has no types
    """CTranslate2's converter of Hugging Face weights, with our INT8."""

    def _load(self) -> Any:
        spec = super()._load()
        spec.validate()
        precision.quantize(spec)
        return spec


def convert(job: Job) -> Card:
    """The model of the job, in its folder, and its card written last."""
    path, folder = Path(job.path), Path(job.folder)
    if path.is_dir() and _is_encoder(path):
        card = bert_model.convert(path, folder, source=job.source, weights=job.weights, step=_report)
    elif path.is_dir():
        card = _convert_weights(job, path, folder)
    else:
        card = gguf_model.convert(path, folder, source=job.source, weights=job.weights, step=_report)
    card.write(folder)
    return card


def _is_encoder(path: Path) -> bool:
    """A sentence encoder, or the bare transformer of one, which is refused by its own name."""
    config = sentence_format.read_json(path / "config.json")
    return (path / "modules.json").is_file() or config.get("model_type") in bert_model.ARCHITECTURES


def _convert_weights(job: Job, path: Path, folder: Path) -> Card:
    """Hugging Face weights, by CTranslate2's own converter, which needs PyTorch and transformers."""
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise UnsupportedModel(
            f"{job.source} holds Hugging Face weights, which need {' and '.join(missing)} once, for conversion: "
            "pip install 'replymill[train]', or use a GGUF of the model"
        )
    _report(0, 1)
    try:
        int8 = job.weights == "int8"
        converter = _Int8Converter if int8 else ctranslate2.converters.TransformersConverter
        converter(str(path)).convert(str(folder), quantization=None if int8 else job.weights, force=True)
    except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
        raise UnsupportedModel(f"{job.source} cannot be converted ({error}): choose another model") from error
    for pattern in ("tokenizer*.json", "special_tokens_map.json", "generation_config.json", "*.model", "*.spm", "chat_template.*"):
        for file in path.glob(pattern):
            shutil.copy(file, folder / file.name)
    config = msgspec.json.decode((path / "config.json").read_bytes(), type=dict)
    _report(1, 1)
    return ready_model.describe(folder, source=job.source, weights=job.weights, model_config=config)


def _report(done: int, total: int) -> None:
    print(f"Progress {done} of {total}", flush=True)


def main(argument: str) -> int:
    """Converts, and prints the fault where it cannot."""
    job = msgspec.json.decode(argument, type=Job)
    try:
        convert(job)
    except ModelError as error:
        fault = Fault(error=type(error).__name__, text=str(error))
    except OSError as error:
        fault = Fault(
            error=DownloadFailed.__name__,
            text=f"cannot convert {job.source} into {Path(job.folder).parent}: {error.strerror or error}; free some space, "
            "check the permissions, or set REPLYMILL_CACHE_DIR to another folder",
        )
    else:
        return 0
    print(msgspec.json.encode(fault).decode(), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
