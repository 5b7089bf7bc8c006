"""What a folder in the hub's sentence-transformers format says of its encoder: `modules.json` and the files it names.

After the transformer come a pooling, which makes one vector of those of the tokens, and a normalisation, which is done in any case.
What a folder names beyond that is refused by name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import tokenizers

from engine.errors import DamagedModel, UnsupportedModel
from engine.tokenizer import read_json_tokenizer

POOLINGS = ("mean", "cls")

#: Modules that are served, by the last part of their type.
MODULES = ("Transformer", "Pooling", "Normalize")


def pooling(path: Path, source: str) -> str:
    """How the vectors of tokens become one: one of `POOLINGS`.

    :raises UnsupportedModel: for what is not served.
    """
    if not (path / "modules.json").is_file():
        raise UnsupportedModel(f"{source} has no modules.json, which says how it makes a text's vector: use a sentence encoder")
    modules = read_list(path / "modules.json")
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    if unknown := [kind for kind in kinds if kind not in MODULES]:
        raise UnsupportedModel(f"{source} has the module {unknown[0]}, but we serve {', '.join(MODULES)}: choose another encoder")
    if kinds[:2] != ["Transformer", "Pooling"] or modules[0].get("path"):
        raise UnsupportedModel(f"{source} must have a transformer at its root and then a pooling: choose another encoder")
    if name := read_json(path / "config_sentence_transformers.json").get("default_prompt_name"):
        raise UnsupportedModel(f"{source} puts its prompt {name!r} before every text, which we do not: choose another encoder")
    found = _poolings(read_json(path / str(modules[1].get("path", "")) / "config.json"))
    if len(found) != 1 or found[0] not in POOLINGS:
        raise UnsupportedModel(
            f"{source} pools by {' and '.join(found) or 'nothing'}, but we serve {' or '.join(POOLINGS)}: choose another encoder"
        )
    return found[0]


def _poolings(config: Mapping[str, Any]) -> list[str]:
    """Named by one text in new files, by a flag for each in older ones."""
    if named := config.get("pooling_mode"):
        return [named] if isinstance(named, str) else [str(name) for name in named]
    flags = [name.removeprefix("pooling_mode_") for name, value in config.items() if name.startswith("pooling_mode_") and value]
    return [name.removesuffix("_token").removesuffix("_tokens") for name in flags]


def length(path: Path, *, most: int) -> int:
    """Most tokens of a text, the two at its ends included."""
    said = _sentence(path).get("max_seq_length") or read_json(path / "tokenizer_config.json").get("model_max_length")
    return min(said, most) if isinstance(said, int) and said > 2 else most


def _sentence(path: Path) -> dict[str, Any]:
    return read_json(path / "sentence_bert_config.json")


def tokenizer(path: Path, source: str, *, length: int) -> tokenizers.Tokenizer:
    """The model's own, cutting where the model says; what it was saved with is often a shorter length of its training.

    :raises UnsupportedModel: where there is no `tokenizer.json`.
    """
    if not (path / "tokenizer.json").is_file():
        raise UnsupportedModel(f"{source} has no tokenizer.json: choose an encoder that has one")
    found = read_json_tokenizer(path / "tokenizer.json")
    if _sentence(path).get("do_lower_case"):
        before = [found.normalizer] if found.normalizer else []
        found.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.Lowercase(), *before])
    found.no_padding()
    found.enable_truncation(length)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON; empty where there is no such file.

    :raises DamagedModel: for anything else.
    """
    return dict(_read(path, dict[str, Any])) if path.is_file() else {}


def read_list(path: Path) -> list[dict[str, Any]]:
    """A list of objects of JSON.

    :raises DamagedModel: for anything else.
    """
    return list(_read(path, list[dict[str, Any]]))


def _read(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DamagedModel(f"{path.name} of this encoder cannot be read ({error}): fetch it again") from error
