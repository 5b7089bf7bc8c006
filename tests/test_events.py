"""Each batch as an event of Celery: heard by a receiver, shown by Flower, lost without harm while the broker is away."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery

from engine.keys import CELERY_PREFIX
from tests.celery_cli import COMMAND, WORKER, start_celery, system_with_broker
from tests.conftest import wait_for
from tests.system import ROOT, System
from workers import embedded
from workers.events import BUFFER, TASK, BatchEvents

pytestmark = pytest.mark.slow

Running = tuple[System, embedded.EmbeddedRedis]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Running]:
    """A worker, and what posts to it."""
    with system_with_broker(tmp_path_factory.mktemp("events"), tiny_model) as (system, broker):
        system.start("web")
        start_celery(system)
        yield system, broker


def celery_app(broker_url: str) -> Celery:
    app = Celery("listener", broker=broker_url)
    app.conf.broker_transport_options = {"global_keyprefix": CELERY_PREFIX}
    return app


@contextmanager
def heard(broker_url: str) -> Iterator[list[dict[str, Any]]]:
    """Events of tasks as a program of the operator hears them; it listens before the block begins."""
    events: list[dict[str, Any]] = []
    listening = threading.Event()
    app = celery_app(broker_url)
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": events.append})
        receiver.on_consume_ready = lambda *_, **__: listening.set()
        thread = threading.Thread(target=lambda: receiver.capture(limit=None, timeout=None, wakeup=True))
        thread.start()
        try:
            assert listening.wait(10)
            yield events
        finally:
            receiver.should_stop = True
            thread.join(10)


def of_batches(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in list(events) if event["type"].startswith("task-")]


def test_each_batch_is_received_started_and_succeeded_under_one_id(running: Running) -> None:
    system, broker = running
    with heard(broker.url) as events:
        system.wait_delivered(system.post("my password is tulip", conversation="a")[1].json()["id"])
        wait_for(lambda: len(of_batches(events)) >= 3)
    received, started, succeeded = of_batches(events)[:3]
    assert [event["type"] for event in (received, started, succeeded)] == ["task-received", "task-started", "task-succeeded"]
    assert len({event["uuid"] for event in (received, started, succeeded)}) == 1
    assert received["name"] == TASK
    assert received["hostname"] == WORKER
    assert received["args"].startswith("(1 turns, ")
    assert succeeded["runtime"] > 0
    assert "tulip" not in repr(events)


def test_flower_shows_each_batch(running: Running) -> None:
    system, _ = running
    port = embedded.free_port()
    command = [*COMMAND, "flower", "--address=127.0.0.1", f"--port={port}"]
    environ = system.environ | {"FLOWER_UNAUTHENTICATED_API": "true"}
    with (system.folder / "flower.log").open("wb") as log:
        flower = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:

            def tasks() -> dict[str, Any]:
                try:
                    return dict(client.get("/api/tasks").json())
                except httpx.TransportError:
                    return {}

            def shown() -> bool:
                system.post("Say hello to all.", conversation=f"flower {time.monotonic()}")
                return any(task["name"] == TASK and task["state"] == "SUCCESS" for task in tasks().values())

            wait_for(shown, timeout=30)
    finally:
        flower.terminate()
        flower.wait(20)


def test_events_come_again_after_the_broker_was_away_and_no_message_is_lost(running: Running) -> None:
    system, broker = running
    broker.stop()
    system.wait_delivered(system.post("nobody hears this", conversation="b")[1].json()["id"])
    broker.start()

    def shows_again() -> bool:
        with heard(broker.url) as events:
            system.wait_delivered(system.post("Say hello to all.", conversation=f"again {time.monotonic()}")[1].json()["id"])
        return any(event["type"] == "task-succeeded" for event in events)

    wait_for(shows_again, timeout=40)


def test_events_that_no_broker_takes_are_dropped_and_hold_up_nobody(free_port: Callable[[], int]) -> None:
    events = BatchEvents(celery_app(f"redis://127.0.0.1:{free_port()}/0"), "answer@tests")
    started = time.monotonic()
    for number in range(BUFFER * 20):
        events._put("task-started", uuid=str(number))
    assert time.monotonic() - started < 5
    assert events._queue.qsize() <= BUFFER
    assert events._thread.is_alive()
    events.close()


def test_closing_sends_what_still_waits(running: Running) -> None:
    _, broker = running
    with heard(broker.url) as events:
        mine = BatchEvents(celery_app(broker.url), "answer@tests")
        for number in range(50):
            mine._put("task-started", uuid=f"last {number}")
        mine.close()
        wait_for(lambda: sum(event.get("uuid", "").startswith("last ") for event in list(events)) == 50)
    assert not mine._thread.is_alive()
