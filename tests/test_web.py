"""The web process as a caller meets it: its state, its limits, its errors, and how it lives through an outage and an end."""

import dataclasses
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from connectors import web
from connectors.haste import HastyProtocol
from connectors.stream import Hub
from engine import roster
from engine.errors import StartError, StoreMismatch
from engine.keys import READY, Direction
from engine.lanes import Lanes
from engine.messages import Delivery, InboundMessage, Reply, Source
from engine.moves import Lane, Outcome
from engine.settings import Settings
from tests.conftest import wait_for
from tests.doors import SECRET, Door, opened, ready, signed, with_endpoint
from workers import embedded

FLAT = {"conversation": "c1", "text": "Where is my order?"}
#: A request that is answered with 200.
WHOLE = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    with opened(with_endpoint(settings)) as door:
        wait_for(lambda: ready(door))
        yield door


def claim(settings: Settings, client: redis.Redis, direction: Direction = Direction.IN) -> Lane:
    lanes = Lanes(settings)
    (lane,) = lanes.claim(lanes.shards[0], direction, items=1, tokens=10_000, empty=True).run(client).lanes
    return lane


def answer(settings: Settings, client: redis.Redis) -> None:
    """What an answering worker does with the one message that waits."""
    lane = claim(settings, client)
    message = InboundMessage.from_entry(lane.entries[0])
    reply = Reply(in_reply_to=(message.id,), address=message.address, text="On its way.", source=Source.CACHE)
    record = {
        "state": "answered",
        "text": reply.text,
        "source": "cache",
        "confidence": "",
        "evidence": '["entry-1"]',
        "trace": '{"waited_ms":3,"generated_ms":0.5}',
        "received_at": str(message.received_at),
        "answered_at": str(message.received_at + 9),
    }
    Lanes(settings).commit(lane, Outcome(deliveries=(Delivery(id=f"{message.id}-0", reply=reply),), record=record)).run(client)


# -- the state of a message --------------------------------------------------------------------------------------------------------


def test_a_message_is_followed_to_its_reply(door: Door, redis_client: redis.Redis) -> None:
    message_id = door.post(FLAT).json()["id"]
    assert door.look(message_id).json()["state"] == "waiting"

    lane = claim(door.settings, redis_client)
    assert door.look(message_id).json()["state"] == "answering"
    redis_client.delete("rm:{0}:in:leased")
    Lanes(door.settings).commit(lane, Outcome(record={"state": "dead", "reason": "three attempts failed"})).run(redis_client)

    found = door.look(message_id).json()
    assert (found["state"], found["reason"], found["reply"]) == ("dead", "three attempts failed", None)


def test_an_answered_message_shows_reply_and_timings(door: Door, redis_client: redis.Redis) -> None:
    message_id = door.post(FLAT).json()["id"]
    answer(door.settings, redis_client)

    found = door.look(message_id).json()
    assert found["id"] == message_id
    assert found["state"] == "answered"
    assert found["reply"] == {"text": "On its way.", "source": "cache", "confidence": None, "evidence": ["entry-1"]}
    assert found["timings"] == {
        "received_at": found["received_at"],
        "answered_at": found["received_at"] + 9,
        "delivered_at": None,
        "waited_ms": 3,
        "generated_ms": 0.5,
    }


@pytest.mark.one_redis
@pytest.mark.parametrize("message_id", ["unknown-0", "unknown-9", "x", "-", "0", "a-٣", "%00-0", "%ff-0", "a" * 5000 + "-0"])
def test_an_id_that_is_none_is_404(door: Door, message_id: str) -> None:
    assert door.look(message_id).status_code == 404


@pytest.mark.one_redis
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic an-api-key-of-the-tests", b"Bearer \xff\xfe"])
def test_without_a_key_nobody_learns_of_a_message(door: Door, header: str | bytes | None) -> None:
    message_id = door.post(FLAT).json()["id"]
    answered = door.http.get(f"/v1/messages/{message_id}", headers={} if header is None else {b"authorization": header})

    assert answered.status_code == 401
    assert answered.headers["www-authenticate"].startswith("Bearer")


# -- limits and errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.one_redis
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/webhooks/shop", 405),
        ("POST", "/webhooks/", 404),
        ("POST", "/webhooks/a/b", 404),
        ("POST", "/webhooks/shop/", 404),
        ("GET", "/healthz/", 404),
        ("POST", "/healthz", 405),
        ("GET", "/static/../web.py", 404),
        ("GET", "/static/%2e%2e%2fweb.py", 404),
        ("GET", "/static/none.js", 404),
        ("DELETE", "/v1/messages/x", 405),
        ("GET", "/%ff%00", 404),
    ],
)
def test_every_error_is_json_that_names_the_fault(door: Door, method: str, path: str, status: int) -> None:
    answered = door.http.request(method, path)

    assert answered.status_code == status
    assert answered.json()["error"]["status"] == status
    assert answered.json()["error"]["message"]
    assert answered.headers["x-content-type-options"] == "nosniff"


@pytest.mark.one_redis
def test_a_body_over_the_limit_is_refused_whether_it_says_its_length_or_not(settings: Settings) -> None:
    with opened(with_endpoint(dataclasses.replace(settings, max_body=1024))) as door:
        wait_for(lambda: ready(door))
        large = json.dumps({**FLAT, "text": "x" * 2000}).encode()
        at_limit = json.dumps({**FLAT, "text": "x" * (1024 - len(json.dumps({**FLAT, "text": ""})))}).encode()

        assert door.post(large).status_code == 413
        chunked = door.http.post("/webhooks/shop", content=(large[i : i + 100] for i in range(0, len(large), 100)))
        assert chunked.status_code == 413
        assert "1024 bytes" in chunked.json()["error"]["message"]
        assert len(at_limit) == 1024
        assert door.post(at_limit).status_code == 202


@pytest.mark.one_redis
def test_the_length_alone_refuses_a_body_before_it_is_sent(door: Door) -> None:
    with socket.create_connection((door.settings.host, door.settings.port)) as connection:
        connection.settimeout(5)
        connection.sendall(b"POST /webhooks/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n")

        assert connection.recv(4096).startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))


@pytest.mark.one_redis
def test_a_compressed_body_is_refused_without_unpacking_it(door: Door) -> None:
    bomb = gzip.compress(b" " * 10_000_000)

    answered = door.post(bomb, **{"content-encoding": "gzip"})

    assert answered.status_code == 415
    assert "compressed" in answered.json()["error"]["message"]


@pytest.mark.one_redis
@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"POST /webhooks/shop HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /webhooks/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"POST /webhooks/shop HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_ends_in_an_error_or_a_closed_connection(door: Door, raw: bytes) -> None:
    with socket.create_connection((door.settings.host, door.settings.port)) as connection:
        connection.settimeout(5)
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answered = connection.recv(4096)

    assert not answered or answered.startswith(b"HTTP/1.1 4")
    assert ready(door)


@pytest.mark.one_redis
@pytest.mark.parametrize(
    ("first", "then"),
    [(b"", b""), (b"", b"GET /hea"), (b"", b"GET / HTTP/1.1\r\nhost: x\r\n"), (WHOLE, b"GET /hea"), (WHOLE, b"\r\n")],
)
def test_a_connection_whose_headers_do_not_come_is_closed(
    door: Door, monkeypatch: pytest.MonkeyPatch, first: bytes, then: bytes
) -> None:
    monkeypatch.setattr(HastyProtocol, "header_timeout", 0.3)
    with socket.create_connection((door.settings.host, door.settings.port)) as connection:
        connection.settimeout(5)
        if first:
            connection.sendall(first)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(then)

        assert connection.recv(4096) == b""
    wait_for(lambda: len(door.server.server_state.connections) <= 1)


@pytest.mark.one_redis
def test_headers_that_came_in_time_leave_time_for_the_body_and_the_next_request(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HastyProtocol, "header_timeout", 0.3)
    body = json.dumps(FLAT).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in {**signed(body, "m"), "content-length": str(len(body))}.items())
    with socket.create_connection((door.settings.host, door.settings.port)) as connection:
        connection.settimeout(5)
        for slow in (b"POST /webhooks/shop HTTP/1.1\r\nhost: x\r\n" + head.encode() + b"\r\n", body, WHOLE):
            connection.sendall(slow)
            longer = time.monotonic() + 0.5
            wait_for(lambda longer=longer: time.monotonic() > longer)

        answered = connection.recv(8192)
    assert answered.startswith(b"HTTP/1.1 202")
    assert b"HTTP/1.1 200" in answered


@pytest.mark.one_redis
def test_a_caller_who_hangs_up_in_the_middle_harms_nobody(door: Door) -> None:
    for _ in range(20):
        with socket.create_connection((door.settings.host, door.settings.port)) as connection:
            connection.sendall(b"POST /webhooks/shop HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")

    assert door.post(FLAT).status_code == 202


@pytest.mark.one_redis
def test_twenty_threads_with_one_message_queue_it_once(door: Door, redis_client: redis.Redis) -> None:
    raw = json.dumps(FLAT).encode()
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda _: httpx.post(f"{door.url}/webhooks/shop", content=raw, headers=signed(raw, "m"), trust_env=False), range(20)
            )
        )

    assert {answered.status_code for answered in answers} == {202}
    assert len({answered.text for answered in answers}) == 1
    assert Lanes(door.settings).backlog(Lanes(door.settings).shards[0]).run(redis_client)[0].messages == 1


# -- health and figures ------------------------------------------------------------------------------------------------------------


def test_figures_count_what_happened(door: Door, redis_client: redis.Redis) -> None:
    door.post(FLAT)
    door.post(FLAT)
    door.post(FLAT, secret="whsec_" + "A" * 43 + "=")
    fields = {"name": "answer@here", "loop": "answer", "model": "x", "rate": "1.5", "pid": "7"}
    roster.enter(redis_client, "answer@here", fields)

    answered = door.http.get("/metrics")
    found = {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answered.text)
        for sample in family.samples
    }

    assert answered.headers["content-type"].startswith("text/plain")
    assert found["replymill_inbound_total", "webhook", "accepted"] == 1
    assert found["replymill_inbound_total", "webhook", "repeat"] == 1
    assert found["replymill_requests_total", "receive", "202"] == 2
    assert found["replymill_requests_total", "receive", "401"] == 1
    assert found["replymill_accept_seconds_count", "receive"] == 2
    assert found["replymill_backlog_messages", "in"] == 1
    assert found["replymill_backlog_messages", "out"] == 0
    assert found["replymill_worker_rate", "answer", "answer@here"] == 1.5
    assert found[("replymill_redis_up",)] == 1


@pytest.mark.one_redis
def test_it_starts_without_redis_refuses_in_words_and_recovers(tmp_path: Path) -> None:
    with embedded.serving(tmp_path / "redis", log=tmp_path / "log") as server:
        settings = with_endpoint(Settings(redis_url=server.url, secret_key="a secret key of the tests", api_keys=("k" * 16,)))
        server.stop()
        with opened(settings) as door:
            assert door.http.get("/healthz").status_code == 200
            assert door.http.get("/metrics").status_code == 200
            for answered in (door.http.get("/readyz"), door.post(FLAT), door.look("a-0")):
                assert answered.status_code == 503
                assert int(answered.headers["retry-after"]) > 0
                assert str(server.port) not in answered.text
            assert door.post(FLAT, secret="whsec_" + "A" * 43 + "=").status_code == 401

            server.start()
            wait_for(lambda: ready(door))
            first = door.post(FLAT)
            assert first.status_code == 202

            server.stop()
            assert door.post(FLAT, message_id="msg_2").status_code == 503
            assert door.http.get("/readyz").status_code == 503
            assert "replymill_redis_up 0" in door.http.get("/metrics").text
            server.start()
            wait_for(lambda: ready(door))
            assert door.post(FLAT, message_id="msg_2").status_code == 202
            assert door.post(FLAT).json() == first.json()


def test_it_is_not_ready_while_redis_refuses_writes(door: Door, redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory", 1)
    try:
        refused = door.http.get("/readyz")
    finally:
        redis_client.config_set("maxmemory", 0)

    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
    assert ready(door)
    assert 0 < redis_client.pttl(READY) <= 10_000


@pytest.mark.one_redis
def test_a_redis_of_another_replymill_is_never_used(settings: Settings) -> None:
    web.mismatch(settings)
    other = dataclasses.replace(with_endpoint(settings), secret_key="another secret key entirely")

    with pytest.raises(StoreMismatch):
        web.serve(other)
    with opened(other) as door:
        assert door.http.get("/readyz").status_code == 503
        assert door.post(FLAT).status_code == 503


@pytest.mark.one_redis
def test_a_part_that_died_makes_the_process_unhealthy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(_: object) -> None:
        raise RuntimeError("a fault in the listener")

    monkeypatch.setattr(Hub, "listen", dies)
    with opened(settings) as door:
        answered = wait_for(lambda: (found := door.http.get("/healthz")).status_code == 503 and found)
        assert "restart it" in answered.text


def test_a_port_in_use_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartError, match="set REPLYMILL_HOST or REPLYMILL_PORT"):
        web.listen("127.0.0.1", taken.getsockname()[1])


def test_an_address_that_is_not_ours_says_what_to_do() -> None:
    with pytest.raises(StartError, match="cannot listen on"):
        web.listen("nowhere.invalid", 8080)


# -- the process -------------------------------------------------------------------------------------------------------------------


@contextmanager
def process(settings: Settings, output: Path) -> Iterator[tuple[subprocess.Popen[bytes], Door]]:
    """The web process as the command line runs it."""
    environ = {
        "PATH": os.environ["PATH"],
        "REPLYMILL_REDIS_URL": settings.redis_url,
        "REPLYMILL_SECRET_KEY": settings.secret_key,
        "REPLYMILL_API_KEYS": settings.api_keys[0],
        "REPLYMILL_PORT": str(settings.port),
        "REPLYMILL_WEBHOOK_SHOP_SECRET": SECRET,
    }
    code = "from connectors.web import serve; from engine.settings import Settings; serve(Settings.load()); print('returned')"
    with output.open("wb") as file:
        running = subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=file)
    door = Door(web.Server(web.Web(settings)))
    try:
        with door.http:
            wait_for(lambda: _up(door), timeout=30)
            yield running, door
    finally:
        running.kill()
        running.wait()


def _up(door: Door) -> bool:
    try:
        return ready(door)
    except httpx.TransportError:
        return False


@pytest.mark.one_redis
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_gracefully_even_with_a_page_open(settings: Settings, tmp_path: Path, number: signal.Signals) -> None:
    with process(with_endpoint(settings), tmp_path / "output") as (running, door):
        door.http.get("/")
        with door.http.stream("GET", "/page/events", params={"tab": "t" * 32}) as stream:
            chunks = stream.iter_raw()
            assert b"hello" in next(chunks)
            begun = time.monotonic()
            running.send_signal(number)
            list(chunks)

        assert running.wait(10) == 0
        assert (tmp_path / "output").read_text().endswith("returned\n")
        assert time.monotonic() - begun < 5


@pytest.mark.one_redis
def test_hostile_bodies_leave_memory_flat_and_the_process_is_small(settings: Settings, tmp_path: Path) -> None:
    with process(with_endpoint(settings), tmp_path / "output") as (running, door):
        door.post(FLAT)
        memory = psutil.Process(running.pid)
        before = memory.memory_full_info().pss
        assert before < 120_000_000

        chunk = b"x" * 65_536
        for _ in range(3):
            assert door.http.post("/webhooks/shop", content=(chunk for _ in range(800))).status_code == 413
        assert door.post(gzip.compress(b" " * 50_000_000), **{"content-encoding": "gzip"}).status_code == 415
        for number in range(20):
            assert door.post(b"[" * 250_000, message_id=f"deep_{number}").status_code == 400

        assert memory.memory_full_info().pss - before < 30_000_000


def test_it_never_loads_the_model() -> None:
    code = (
        "import sys; from connectors.web import Web; from engine.settings import Settings; Web(Settings(secret_key='k' * 16));"
        "print(sorted({'ctranslate2', 'transformers', 'tokenizers', 'gguf', 'numpy', 'celery', 'torch'} & sys.modules.keys()))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "[]"


@pytest.mark.one_redis
def test_what_is_unexpected_is_logged_and_answered_without_a_trace(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(with_endpoint(settings)) as door:
        wait_for(lambda: ready(door))
        monkeypatch.setattr(web, "show", lambda *_: 1 / 0)
        message_id = door.post(FLAT).json()["id"]

        answered = door.look(message_id)
        assert door.post(FLAT).status_code == 202

    assert answered.status_code == 500
    assert answered.json()["error"]["message"] == "something unexpected happened here; it was logged"
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert threading.active_count() < 50
