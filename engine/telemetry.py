"""Spans of a message's way for an OpenTelemetry collector, where `REPLYMILL_OTLP_ENDPOINT` names one; nothing otherwise.

One trace a message: received, queued, answered (with a link to the batch it was answered in), each attempt to send. The context
travels with the message as W3C `traceparent`. Spans hold no texts. They are exported by a thread of their own from a bounded queue:
a collector that is away costs spans, never messages.
"""

import functools
import importlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from engine.errors import SettingsError
from engine.messages import InboundMessage, Reply
from engine.settings import Settings

#: A context as W3C Trace Context writes it, of the version there is.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Span:
    """One step of a message's way; this one is not recorded. As a context manager it ends with its block."""

    #: Where later steps belong; empty where nothing is recorded.
    traceparent = ""

    def note(self, attributes: Mapping[str, Any]) -> None:
        """Tell more of it."""

    def end(self, *, at: float = 0, error: str = "") -> None:
        """It is over, now or `at` a Unix time in milliseconds; `error` names the kind of error it ended in."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end(error=kind.__name__ if kind else "")


class Telemetry:
    """Records nothing."""

    on = False

    def start(
        self, name: str, attributes: Mapping[str, Any], *, parent: str = "", at: float = 0, links: Sequence[str] = ()
    ) -> Span:
        """A step that begins now or `at` a Unix time in milliseconds, below `parent` and linked to others, all as `traceparent`."""
        return Span()


@functools.cache
def _to(endpoint: str) -> Telemetry:
    if not endpoint:
        return Telemetry()
    made: Telemetry = importlib.import_module("engine.otlp").Exporting(endpoint)
    return made


def telemetry(settings: Settings) -> Telemetry:
    """The same for all parts of a process.

    :raises SettingsError: spans are wanted, and what exports them is not installed.
    """
    check(settings)
    return _to(settings.otlp_endpoint)


def check(settings: Settings) -> None:
    """:raises SettingsError: spans are wanted, and what exports them is not installed."""
    if settings.otlp_endpoint and not _installed():
        raise SettingsError("REPLYMILL_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: pip install 'replymill[otlp]'")


def read_traceparent(text: str) -> str:
    """The context that a caller gave, if it is one."""
    return text if _TRACEPARENT.fullmatch(text) else ""


def receiving(spans: Telemetry, platform: str, *, at: float, parent: str) -> Span:
    """A message has come in at a platform's door."""
    return spans.start(f"receive {platform}", _messaging("receive", "receive", platform), parent=parent, at=at)


def queued(spans: Telemetry, messages: Sequence[InboundMessage], *, until: float) -> None:
    """Messages of one turn have waited until they were claimed."""
    for message in messages if spans.on else ():
        about = _messaging("queue", "receive", "redis") | {"messaging.message.id": message.id}
        spans.start("queue", about, parent=message.traceparent, at=message.received_at).end(at=until)


def answering(spans: Telemetry, messages: Sequence[InboundMessage], reply: Reply, *, at: float, batch: str) -> Span:
    """What became of one turn; it belongs to the first of its messages and is linked to the others, and to its batch."""
    if not spans.on:
        return Span()
    first, *others = messages
    about = _messaging("answer", "process", "redis") | {
        "messaging.message.id": first.id,
        "messaging.batch.message_count": len(messages),
        "replymill.source": str(reply.source),
        "replymill.queued_ms": reply.trace.get("waited_ms", 0),
        "replymill.passages": len(reply.evidence),
    }
    facts = reply.trace
    if "tokens" in facts:
        about |= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "ctranslate2",
            "gen_ai.request.model": str(facts.get("model", "")),
            "gen_ai.usage.input_tokens": facts.get("prompt_tokens", 0),
            "gen_ai.usage.output_tokens": facts["tokens"],
            "gen_ai.response.finish_reasons": (str(facts.get("finish", "")),),
        }
    links = [*(message.traceparent for message in others), batch]
    return spans.start("answer", about, parent=first.traceparent, at=at, links=links)


def generating(spans: Telemetry, *, model: str, size: int) -> Span:
    """A batch is given to the model; it has a trace of its own, as it serves many messages."""
    about = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "ctranslate2", "gen_ai.request.model": model}
    return spans.start(f"chat {model}", about | {"messaging.batch.message_count": size})


def sending(spans: Telemetry, platform: str, *, delivery: str, parent: str) -> Span:
    """One attempt to send a delivery."""
    about = _messaging("send", "send", platform) | {"messaging.message.id": delivery}
    return spans.start(f"send {platform}", about, parent=parent)


def _messaging(name: str, kind: str, system: str) -> dict[str, Any]:
    return {
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.system": system,
        "messaging.destination.name": system,
    }


def _installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
