"""One reply while it is made: tokens come in from CTranslate2's threads, text goes out. Knows nothing of CTranslate2."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from engine.tokenizer import Tokenizer

#: Called with the position of the request and its text so far; in a thread of the engine, so it must be quick and safe there.
OnText = Callable[[int, str], None]

#: What half a UTF-8 character decodes to.
_HALF = "\ufffd"


class Finish(StrEnum):
    """Why a reply ended."""

    #: An end token of the model, or a stop text.
    STOP = "stop"
    #: The longest reply allowed.
    LENGTH = "length"
    #: Somebody cancelled it.
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt to continue."""

    #: At least two tokens; one for an encoder-decoder model.
    tokens: tuple[str, ...]
    #: True to be told of the text as it grows.
    stream: bool = False


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One reply, whole."""

    text: str
    #: Tokens made, the end token not counted.
    tokens: int
    finish: Finish
    prompt_tokens: int
    #: When its first token came, by `time.monotonic`; None where the engine told nothing token by token.
    first_token_at: float | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What ends a reply, for all requests of a model."""

    tokenizer: Tokenizer
    end_tokens: frozenset[str]
    stop: tuple[str, ...]


class Growing:
    """A reply that grows by one token at a time; touched by one engine thread, read by another when `finish` is set."""

    def __init__(self, request: Request, rules: Rules) -> None:
        self._request = request
        self._rules = rules
        self._tokens: list[str] = []
        self._first_token_at: float | None = None
        #: Set last, when all else stands.
        self.finish: Finish | None = None
        #: Set by `cancel` from any thread; the next token ends the reply.
        self.cancelled = False

    def take(self, token: str, *, is_last: bool) -> bool:
        """Adds a token; True when the reply is complete."""
        if self._first_token_at is None:
            self._first_token_at = time.monotonic()
        ended = token in self._rules.end_tokens
        if not ended:
            self._tokens.append(token)
        if ended or self._hits_stop():
            self.finish = Finish.STOP
        elif is_last:
            self.finish = Finish.LENGTH
        elif self.cancelled:
            self.finish = Finish.CANCELLED
        return self.finish is not None

    def settle(self, tokens: Sequence[str]) -> None:
        """The reply is `tokens`, for one that the engine finished without telling token by token."""
        self._tokens = list(tokens)
        self.finish = Finish.STOP

    def text(self) -> str:
        """The text that is certain: no half character, nothing from a stop text on, no beginning of a stop text."""
        text = self._rules.tokenizer.decode(self._tokens).lstrip().rstrip(_HALF)
        text, found = _cut(text, self._rules.stop)
        if self.finish or found:
            return text.rstrip()
        held = max((_overlap(text, stop) for stop in self._rules.stop), default=0)
        return text[: len(text) - held]

    def completion(self) -> Completion:
        """The finished reply."""
        return Completion(
            text=self.text(),
            tokens=len(self._tokens),
            finish=self.finish or Finish.CANCELLED,
            prompt_tokens=len(self._request.tokens),
            first_token_at=self._first_token_at,
        )

    def _hits_stop(self) -> bool:
        """Looks at the last tokens only: each has at least one byte of text, so a stop text ends within as many."""
        if not self._rules.stop:
            return False
        window = max(len(stop.encode()) for stop in self._rules.stop) + 8
        latest = self._rules.tokenizer.decode(self._tokens[-window:])
        return any(stop in latest for stop in self._rules.stop)


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop text in it."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
