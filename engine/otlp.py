"""Spans that are exported by OTLP over HTTP; imported only where an endpoint is set, since it needs the extra `otlp`.

The usual variables of OpenTelemetry apply too, such as `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_TRACES_SAMPLER`.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from engine.telemetry import Span, Telemetry

#: Spans that wait for the collector; more are dropped.
WAITING = 8192
#: Between exports, ms, and spans in one.
EVERY, TOGETHER = 1000, 512
#: One export with all its repetitions, seconds: a process that ends waits no longer for the last.
EXPORT_TIMEOUT = 2
#: Where a collector takes traces, below its address.
PATH = "/v1/traces"

_KINDS = {"receive": SpanKind.CONSUMER, "process": SpanKind.CONSUMER, "send": SpanKind.PRODUCER}


class Recorded(Span):
    """A span that is exported when it ends."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def note(self, attributes: Mapping[str, Any]) -> None:
        self._span.set_attributes(dict(attributes))

    def end(self, *, at: float = 0, error: str = "") -> None:
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(_ns(at))


class Exporting(Telemetry):
    """Records every span, as far as the sampler of OpenTelemetry wants it."""

    on = True

    def __init__(self, endpoint: str) -> None:
        named = {
            "service.name": "replymill",
            "service.version": version("replymill"),
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }
        self._provider = TracerProvider(resource=Resource.create(named))
        url = endpoint if endpoint.rstrip("/").endswith(PATH) else endpoint.rstrip("/") + PATH
        exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=WAITING, schedule_delay_millis=EVERY, max_export_batch_size=TOGETHER)
        )
        self._tracer = self._provider.get_tracer("replymill")

    def start(
        self, name: str, attributes: Mapping[str, Any], *, parent: str = "", at: float = 0, links: Sequence[str] = ()
    ) -> Span:
        above = trace.set_span_in_context(NonRecordingSpan(_context(parent)) if parent else trace.INVALID_SPAN)
        return Recorded(
            self._tracer.start_span(
                name,
                context=above,
                kind=_KINDS.get(attributes.get("messaging.operation.type", ""), SpanKind.INTERNAL),
                attributes=dict(attributes),
                links=[Link(_context(one)) for one in links if one],
                start_time=_ns(at),
            )
        )


def _context(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _ns(ms: float) -> int | None:
    """Nanoseconds since 1970; None is now."""
    return round(ms * 1_000_000) if ms else None
