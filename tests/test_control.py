"""Remote control of a worker, by Celery's own `control` and `inspect` commands; what a test merely looks at, it asks by itself."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from engine.keys import CELERY_PREFIX, IDLE_QUEUE
from tests.celery_cli import WORKER, ask_worker, run_celery, start_celery, system_with_broker
from tests.conftest import wait_for
from tests.system import System
from workers import embedded

pytestmark = pytest.mark.slow

Running = tuple[System, embedded.EmbeddedRedis]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Iterator[Running]:
    """One worker with both loops, for all tests here."""
    with system_with_broker(tmp_path_factory.mktemp("control"), tiny_model) as (system, broker):
        system.start("web")
        start_celery(system)
        yield system, broker


def inspected(broker: embedded.EmbeddedRedis, command: str) -> dict[str, Any]:
    """What the worker answers, asked without a process for it."""
    with Celery("tests", broker=broker.url) as app:
        app.conf.broker_transport_options = {"global_keyprefix": CELERY_PREFIX}
        (found,) = app.control.broadcast(command, reply=True, destination=[WORKER], timeout=20, limit=1)
        return dict(found[WORKER])


def draining(broker: embedded.EmbeddedRedis) -> list[bool]:
    """Of each loop."""
    return [loop["draining"] for loop in inspected(broker, "engine").values()]


def test_engine_tells_what_the_loops_are_at(running: Running) -> None:
    system, _ = running
    system.wait_delivered(system.post("Say hello to all.", conversation="e")[1].json()["id"])
    found = {figures["loop"]: figures for figures in ask_worker(system, "inspect", "engine").values()}
    assert set(found) == {"answer", "deliver"}
    answer, deliver = found["answer"], found["deliver"]
    assert answer["model"] == system.extra["MODEL"]
    assert answer["replicas"] >= 1
    assert (answer["held"], answer["waiting"], answer["draining"]) == (0, 0, False)
    assert int(answer["done"]) >= 1
    assert float(answer["tokens_rate"]) > 0
    assert deliver["platforms"] == ["page", "webhook"]
    assert deliver["sending"] == 0


@pytest.mark.parametrize(("on", "off"), [(["true"], "false"), ([], "no")], ids=["drain true", "drain"])
def test_a_drained_worker_takes_nothing_until_the_drain_is_taken_back(running: Running, on: list[str], off: str) -> None:
    system, broker = running
    assert ask_worker(system, "control", "drain", *on) == {"ok": "draining: 2 loops"}
    assert draining(broker) == [True, True]
    message = system.post("is anybody there?", conversation=f"drain {off}")[1].json()["id"]
    waiting = inspected(broker, "lanes")["0"]["in"]
    assert (waiting["messages"], waiting["leased"]) == (1, 0)
    assert system.message(message)["state"] == "waiting"
    assert ask_worker(system, "control", "drain", off) == {"ok": "claiming: 2 loops"}
    system.wait_delivered(message)


def test_a_drain_that_is_neither_true_nor_false_is_refused(running: Running) -> None:
    system, broker = running
    done = run_celery(system, "control", "--timeout", "2", "drain", "perhaps")
    assert done.returncode != 0
    assert draining(broker) == [False, False]


def test_lanes_tells_the_backlog_of_both_directions(running: Running) -> None:
    system, broker = running
    wait_for(lambda: inspected(broker, "lanes")["0"]["out"]["messages"] == 0)
    assert ask_worker(system, "inspect", "lanes") == {
        "0": {name: {"messages": 0, "deferred": 0, "lanes": 0, "leased": 0, "age_ms": 0} for name in ("in", "out")}
    }


def test_a_loop_worker_consumes_nothing_but_a_queue_that_stays_empty(running: Running) -> None:
    system, _ = running
    done = run_celery(system, "inspect", "--json", "--destination", WORKER, "active_queues")
    assert [queue["name"] for queue in json.loads(done.stdout.strip().splitlines()[-1])[WORKER]] == [IDLE_QUEUE]
