"""The record of one message's way: names of the facts that a reply carries, and the fields of a message's record.

`waited_ms` accepted to claimed · `prepared_ms` claimed to given to the model (or answered without it) · `first_token_ms` and
`generated_ms` from there · `tokens` generated · `prompt_tokens` · `batch` turns that travelled together · `truncated` the prompt
was cut to its budget · `dropped_turns` turns left out of it · `finish` why generation ended (`stop`, `length`).
"""

import time

import msgspec

from engine.choices import listed
from engine.messages import Reply


def now_ms() -> int:
    """Unix time of this process, ms."""
    return time.time_ns() // 1_000_000


class Clock:
    """Redis's time as this process reckons it, learned from the replies of scripts; until then this machine's own."""

    def __init__(self) -> None:
        self._ahead = 0

    def learn(self, now: int) -> None:
        """Redis has just said what time it is, Unix time in milliseconds."""
        self._ahead = now - now_ms()

    def now(self) -> int:
        """Unix time in milliseconds."""
        return now_ms() + self._ahead


def answered_record(reply: Reply, *, state: str, received_at: int, at: int) -> dict[str, str]:
    """Fields of the record of a message answered `at` a time; `evidence` and `trace` are JSON."""
    return {
        "state": state,
        "text": listed(reply.text, reply.choices),
        "source": reply.source,
        "confidence": "" if reply.confidence is None else f"{reply.confidence:.4f}",
        "evidence": msgspec.json.encode(reply.evidence).decode(),
        "trace": msgspec.json.encode(reply.trace).decode(),
        "received_at": str(received_at),
        "answered_at": str(at),
    }
