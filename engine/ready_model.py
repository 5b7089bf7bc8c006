"""Folders that are already CTranslate2, or were just made so from Hugging Face weights: what their files say about the model."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.card import Card, Kind
from engine.errors import DamagedModel, UnsupportedModel
from engine.sources import file_hash

#: Name of the specification in `model.bin` to how it is served.
KINDS = {"TransformerDecoderSpec": Kind.GENERATOR, "TransformerSpec": Kind.TRANSLATOR}

#: Files beside `model.bin` that serving needs.
NEEDED = ("*.json", "*.model", "*.spm", "*.jinja", "*.txt", "model.bin")


def link(source: Path, folder: Path) -> None:
    """Links what serving needs of `source` into `folder`; nothing is copied."""
    for pattern in NEEDED:
        for path in source.glob(pattern):
            (folder / path.name).symlink_to(path.resolve())


def describe(folder: Path, *, source: str, weights: str = "ready", model_config: Mapping[str, Any] | None = None) -> Card:
    """The card of a CTranslate2 folder with its tokenizer; `model_config` is the `config.json` of the weights it was made of.

    :raises UnsupportedModel: for a model that is neither decoder-only nor encoder-decoder text, or has no tokenizer we read.
    :raises DamagedModel: for files that cannot be read.
    """
    name = specification(folder / "model.bin")
    if name not in KINDS:
        raise UnsupportedModel(f"{source} is a {name}, but we serve {' and '.join(KINDS)}: choose another model")
    texts = {**_json(folder / "special_tokens_map.json"), **_json(folder / "tokenizer_config.json")}
    config = _json(folder / "config.json")
    tokenizer, target = _tokenizers(folder, source)
    eos = _token(texts, "eos_token") or str(config.get("eos_token") or "")
    bos = _token(texts, "bos_token") or str(config.get("bos_token") or "")
    return Card(
        source=source,
        sha256=file_hash(folder / "model.bin"),
        architecture=str((model_config or {}).get("model_type", name)),
        kind=KINDS[name],
        weights=weights,
        tokenizer=tokenizer,
        target_tokenizer=target,
        chat_template=_chat_template(folder, texts),
        end_tokens=_end_tokens(folder, eos),
        bos_token=bos,
        eos_token=eos,
        add_bos=bool(texts.get("add_bos_token", False)),
        source_end=_source_end(config, eos) if KINDS[name] is Kind.TRANSLATOR else "",
        context_length=_context(texts, model_config or {}),
        model_bytes=(folder / "model.bin").stat().st_size,
    )


def specification(path: Path) -> str:
    """The name of the specification at the head of a `model.bin`: uint32 version, uint16 length, text, NUL."""
    try:
        with path.open("rb") as file:
            _, length = struct.unpack("<IH", file.read(6))
            return file.read(length)[:-1].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedModel(f"{path} is no CTranslate2 model ({error}): convert or fetch it again") from error


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise DamagedModel(f"{path} is not JSON ({error}): fetch the model again") from error
    return found if isinstance(found, dict) else {}


def _token(texts: Mapping[str, Any], name: str) -> str:
    value = texts.get(name)
    return str(value.get("content", "") if isinstance(value, dict) else value or "")


def _tokenizers(folder: Path, source: str) -> tuple[str, str]:
    if (folder / "tokenizer.json").is_file():
        return "tokenizer.json", ""
    if (folder / "source.spm").is_file() and (folder / "target.spm").is_file():
        return "source.spm", "target.spm"
    found = sorted(path.name for pattern in ("*.model", "*.spm") for path in folder.glob(pattern))
    if len(found) != 1:
        raise UnsupportedModel(
            f"{source} must come with tokenizer.json, source.spm and target.spm, or one SentencePiece *.model, "
            f"but has {', '.join(found) or 'none'}: put the tokenizer into the folder"
        )
    return found[0], ""


def _chat_template(folder: Path, texts: Mapping[str, Any]) -> str:
    """`chat_template.jinja` wins over `tokenizer_config.json`, where several may stand by name."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = texts.get("chat_template") or _json(folder / "chat_template.json").get("chat_template") or ""
    if isinstance(found, list):
        found = next((entry.get("template", "") for entry in found if entry.get("name") == "default"), "")
    return str(found)


def _end_tokens(folder: Path, eos: str) -> tuple[str, ...]:
    """`eos`, and the ids that `generation_config.json` says end a reply."""
    ids = _json(folder / "generation_config.json").get("eos_token_id", [])
    added = {token["id"]: token["content"] for token in _json(folder / "tokenizer.json").get("added_tokens", ())}
    ends = [eos, *(added.get(index, "") for index in (ids if isinstance(ids, list) else [ids]))]
    return tuple(dict.fromkeys(token for token in ends if token))


def _source_end(config: Mapping[str, Any], eos: str) -> str:
    """T5 and its kin (they start decoding from the padding token) expect `eos` after the source; CTranslate2 adds it for others."""
    starts_from_padding = str(config.get("decoder_start_token") or "") in ("<pad>", "[PAD]")
    return eos if starts_from_padding and not config.get("add_source_eos") else ""


def _context(texts: Mapping[str, Any], model_config: Mapping[str, Any]) -> int:
    """`model_max_length` is 1e30 where nobody set it."""
    for value in (model_config.get("max_position_embeddings"), model_config.get("n_positions"), texts.get("model_max_length")):
        if isinstance(value, int) and 0 < value < 10_000_000:
            return value
    return 0
