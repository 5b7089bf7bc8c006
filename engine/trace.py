"""The record of one message's way: names of the facts that a reply carries, and the fields of a message's record.

`waited_ms` accepted to claimed · `prepared_ms` claimed to given to the model (or answered without it) · `first_token_ms` and
`generated_ms` from there · `tokens` generated · `prompt_tokens` · `batch` turns that travelled together · `truncated` the prompt was
cut to its budget · `finish` why generation ended (`stop`, `length`).
"""

import time

import msgspec

from engine.messages import Fact, Reply


def now_ms() -> int:
    """Unix time of this process, ms."""
    return time.time_ns() // 1_000_000


def answered_record(reply: Reply, *, state: str, received_at: int) -> dict[str, str]:
    """Fields of the record of an answered message; `evidence` and `trace` are JSON."""
    return {
        "state": state,
        "text": reply.text,
        "source": reply.source,
        "confidence": "" if reply.confidence is None else f"{reply.confidence:.4f}",
        "evidence": msgspec.json.encode(reply.evidence).decode(),
        "trace": msgspec.json.encode(reply.trace).decode(),
        "received_at": str(received_at),
        "answered_at": str(now_ms()),
    }


def with_facts(reply: Reply, **facts: Fact) -> Reply:
    """The reply with further facts in its trace."""
    return msgspec.structs.replace(reply, trace={**reply.trace, **facts})
