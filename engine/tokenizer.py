"""Text to tokens and back, from `tokenizer.json` or a SentencePiece model.

Tokens are strings, as CTranslate2 takes them. Text of people and text of the chat template go in by different doors: only the
template can make control tokens.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import sentencepiece
import tokenizers

from engine.card import Card
from engine.errors import DamagedModel

#: What a control token looks like in a SentencePiece vocabulary, which does not tell them from other user-defined pieces.
_CONTROL_LIKE = re.compile(r"<[^<>\s]{1,40}>|\[/?[A-Z_]{2,40}\]")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class Tokenizer(Protocol):
    """What serving needs of a tokenizer."""

    @property
    def controls(self) -> frozenset[str]:
        """The tokens that steer the model and that no text of a person may become."""

    def text(self, text: str) -> list[str]:
        """Tokens of a person's text; whatever it says, none is a control token."""

    def template(self, text: str) -> list[str]:
        """Tokens of a piece of the chat template; control tokens in it are recognised."""

    def decode(self, tokens: Sequence[str]) -> str:
        """The text of tokens, without control tokens; an incomplete character at either end is U+FFFD."""


def load(folder: Path, card: Card) -> Tokenizer:
    """The tokenizer of a converted model.

    :raises DamagedModel: if it cannot be read.
    """
    if card.tokenizer.endswith(".json"):
        return JsonTokenizer(folder / card.tokenizer)
    return PieceTokenizer(folder / card.tokenizer, target=folder / (card.target_tokenizer or card.tokenizer))


def read_json_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer in a `tokenizer.json`.

    :raises DamagedModel: if it cannot be read.
    """
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises plain `Exception` for a file it cannot read
        raise DamagedModel(f"{path} is damaged ({error}): delete {path.parent} and fetch or convert it again") from error


def _split(text: str, controls: re.Pattern[str] | None) -> list[str]:
    """Control tokens at odd positions, what stands between them at even ones."""
    return controls.split(text) if controls else [text]


def _any_of(controls: frozenset[str]) -> re.Pattern[str] | None:
    longest_first = sorted(controls, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first))})") if controls else None


class JsonTokenizer:
    """A tokenizer of the `tokenizers` library."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = read_json_tokenizer(path)
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder().values()
        self.controls = frozenset(token.content for token in added if token.special)
        self._controls = _any_of(self.controls)

    def text(self, text: str) -> list[str]:
        """See `Tokenizer.text`: `encode_special_tokens` spells control tokens out like any other text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).tokens)

    def template(self, text: str) -> list[str]:
        """See `Tokenizer.template`."""
        tokens: list[str] = []
        for position, part in enumerate(_split(text, self._controls)):
            if position % 2:
                tokens.append(part)
            elif part:
                tokens += self.text(part)
        return tokens

    def decode(self, tokens: Sequence[str]) -> str:
        """See `Tokenizer.decode`."""
        ids = [index for token in tokens if (index := self._tokenizer.token_to_id(token)) is not None]
        return self._tokenizer.decode(ids, skip_special_tokens=True)


class PieceTokenizer:
    """A SentencePiece model, or two: one for what goes in, one for what comes out."""

    def __init__(self, source: Path, *, target: Path) -> None:
        self._source = _processor(source)
        self._target = self._source if target == source else _processor(target)
        pieces = [self._source.IdToPiece(index) for index in range(self._source.GetPieceSize())]
        self.controls = frozenset(piece for piece in pieces if _CONTROL_LIKE.fullmatch(piece) and not _BYTE.fullmatch(piece))
        self._controls = _any_of(self.controls)

    def text(self, text: str) -> list[str]:
        """See `Tokenizer.text`: SentencePiece would take user-defined pieces from any text, so a space breaks them."""
        while self._controls and self._controls.search(text):
            text = self._controls.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        return list(self._source.EncodeAsPieces(text))

    def template(self, text: str) -> list[str]:
        """See `Tokenizer.template`."""
        tokens: list[str] = []
        for position, part in enumerate(_split(text, self._controls)):
            tokens += [part] if position % 2 else self._source.EncodeAsPieces(part)
        return tokens

    def decode(self, tokens: Sequence[str]) -> str:
        """See `Tokenizer.decode`."""
        return str(self._target.DecodePieces([token for token in tokens if token not in self.controls]))


def _processor(path: Path) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise DamagedModel(f"{path} is no SentencePiece model ({error}): fetch it again") from error
