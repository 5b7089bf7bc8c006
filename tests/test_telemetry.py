"""Spans as a real collector gets them: one trace a message, from the caller's context to every attempt to send."""

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from engine.errors import SettingsError
from engine.messages import Address, InboundMessage
from engine.settings import Settings
from engine.telemetry import read_traceparent, telemetry
from tests.celery_cli import system_with_broker
from tests.conftest import wait_for
from tests.system import ROOT, System

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """Takes traces by OTLP over HTTP, as protobuf."""

    def __init__(self) -> None:
        #: By id: an export that was not answered in time is repeated.
        self.by_id: dict[bytes, Span] = {}
        collector = self

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                for resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
                    for scope in resource.scope_spans:
                        collector.by_id |= {span.span_id: span for span in scope.spans}
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def spans(self) -> list[Span]:
        return list(self.by_id.values())

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


@pytest.mark.slow
def test_a_message_is_one_trace_from_the_callers_context_to_the_send(
    tmp_path: Path, tiny_model: Path, collector: Collector
) -> None:
    with system_with_broker(tmp_path, tiny_model) as (system, _):
        system.extra |= {"OTLP_ENDPOINT": collector.url, "CACHE": "false"}
        system.start("web", "answer", "deliver")
        system.receiver.script = [502]
        message_id = posted(system, "Where is my lamp?", traceparent=PARENT)
        system.wait_delivered(message_id)
        wait_for(lambda: len(collector.named("send webhook")) == 2 and collector.named("chat " + system.environ["REPLYMILL_MODEL"]))
        system.stop("web")
    (received,), (queue,), (answer,) = (collector.named(name) for name in ("receive webhook", "queue", "answer"))
    failed, sent = sorted(collector.named("send webhook"), key=lambda span: span.start_time_unix_nano)
    trace_id, parent_id = bytes.fromhex(PARENT.split("-")[1]), bytes.fromhex(PARENT.split("-")[2])
    assert {span.trace_id for span in (received, queue, answer, failed, sent)} == {trace_id}
    assert received.parent_span_id == parent_id
    assert queue.parent_span_id == answer.parent_span_id == received.span_id
    assert failed.parent_span_id == sent.parent_span_id == answer.span_id
    (batch,) = collector.named("chat " + str(attributes(answer)["gen_ai.request.model"]))
    assert [link.span_id for link in answer.links] == [batch.span_id]
    assert batch.trace_id != trace_id
    assert queue.end_time_unix_nano == answer.start_time_unix_nano
    assert received.start_time_unix_nano <= queue.start_time_unix_nano + 5_000_000
    told = attributes(answer)
    assert told["messaging.message.id"] == message_id
    assert told["messaging.operation.type"] == "process"
    assert (told["gen_ai.operation.name"], told["replymill.source"], told["replymill.outcome"]) == ("chat", "model", "committed")
    assert told["gen_ai.usage.output_tokens"] > 0
    assert attributes(failed)["error.type"] == "RetryLater"
    assert "error.type" not in attributes(sent)
    assert attributes(sent)["messaging.message.id"] == f"{message_id}-0"
    assert not [span for span in collector.spans if b"lamp" in span.SerializeToString()]


@pytest.mark.slow
def test_a_collector_that_is_away_costs_no_message_and_holds_up_no_end(tmp_path: Path, tiny_model: Path, free_port: Any) -> None:
    with system_with_broker(tmp_path, tiny_model) as (system, _):
        system.extra |= {"OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
        system.start("web", "answer", "deliver")
        for number in range(20):
            system.wait_delivered(posted(system, f"question {number}"))
        for role in ("web", "deliver", "answer"):
            begun = time.monotonic()
            assert system.stop(role) == 0
            assert time.monotonic() - begun < 15


def posted(system: System, text: str, **headers: str) -> str:
    """The id of a message that was posted with further headers."""
    system.client.headers.update(headers)
    return str(system.post(text)[1].json()["id"])


def test_without_an_endpoint_nothing_is_recorded_and_nothing_loaded() -> None:
    script = (
        "import sys; from engine.settings import Settings; from engine.telemetry import telemetry;"
        "span = telemetry(Settings()).start('a', {});"
        "print(repr(span.traceparent), any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "'' False\n"


def test_an_endpoint_without_the_extra_is_refused_with_what_to_do() -> None:
    script = "import sys; sys.modules['opentelemetry'] = None;from workers import cli; sys.exit(cli.run(['web']))"
    environment = {"REPLYMILL_OTLP_ENDPOINT": "http://127.0.0.1:4318", "PYTHONPATH": str(ROOT), "HOME": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("OpenTelemetry is not installed: pip install 'replymill[otlp]'\n")


def test_the_body_of_a_message_carries_the_context_only_where_there_is_one() -> None:
    to = Address(platform="webhook", tenant="a", channel="b")
    bare = InboundMessage(address=to, sender="s", text="t", dedupe_ids=("1",))
    assert bare.encode() == b'[1,["webhook","a","b",""],"s","t",["1"]]'
    carrying = InboundMessage(address=to, sender="s", text="t", dedupe_ids=("1",), door=(12, 3), traceparent=PARENT)
    assert InboundMessage.decode(carrying.encode()) == carrying
    assert len(carrying.encode()) - len(bare.encode()) < 80


@given(st.one_of(st.text(max_size=60), st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True)))
def test_only_a_proper_context_is_honoured(text: str) -> None:
    found = read_traceparent(text)
    assert found in ("", text)
    if found:
        _, trace_id, span_id, _ = found.split("-")
        assert int(trace_id, 16)
        assert int(span_id, 16)


def test_an_endpoint_must_be_an_address() -> None:
    with pytest.raises(SettingsError, match="REPLYMILL_OTLP_ENDPOINT"):
        Settings.load({"REPLYMILL_OTLP_ENDPOINT": "collector:4318"})
    assert telemetry(dataclasses.replace(Settings(), otlp_endpoint="")).on is False
