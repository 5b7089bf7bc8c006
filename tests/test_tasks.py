"""The periodic jobs, in their own worker with the beat."""

import json
import pickle
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu import Queue, serialization

from engine.keys import CELERY_PREFIX, FIGURES, JOBS_QUEUE, RETENTION_TASK
from tests.celery_cli import child_processes, system_with_broker
from tests.conftest import gone, wait_for
from tests.system import System
from workers import embedded

pytestmark = pytest.mark.slow

Running = tuple[System, embedded.EmbeddedRedis]


def client_app(broker_url: str) -> Celery:
    """What an operator's program would send jobs with."""
    app = Celery("tests", broker=broker_url)
    app.conf.broker_transport_options = {"global_keyprefix": CELERY_PREFIX}
    return app


@pytest.fixture
def running(tmp_path: Path, tiny_model: Path) -> Iterator[Running]:
    """A jobs worker that is ready."""
    with system_with_broker(tmp_path, tiny_model) as (system, broker):
        system.start("jobs")
        wait_for(lambda: system.check_alive() or "ready." in system.log("jobs"), timeout=30)
        yield system, broker


def test_the_beat_samples_the_backlog_and_retention_forgets_what_has_no_life_of_its_own(running: Running) -> None:
    system, broker = running
    app = client_app(broker.url)
    with redis.Redis.from_url(system.redis_url) as client:
        now = time.time() * 1000
        client.zadd("rm:{0}:dead", {"old": now - 1_300_000_000, "young": now - 1_000})
        app.send_task(RETENTION_TASK, queue=JOBS_QUEUE)
        wait_for(lambda: client.zrange("rm:{0}:dead", 0, -1) == [b"young"], timeout=20)
        # What nobody claims is seen by the next sample.
        system.start("web")
        system.post("hello")
        wait_for(lambda: client.llen(FIGURES) >= 1, timeout=30)
        newest = json.loads(client.lindex(FIGURES, 0))
        assert newest | {"inbound": 1, "outbound": 0} == newest
        assert abs(newest["at"] - time.time()) < 60
        assert newest["age_ms"] >= 0
    app.close()


def test_a_task_that_is_not_json_is_refused_and_the_worker_goes_on(running: Running) -> None:
    system, broker = running
    app = client_app(broker.url)
    now = time.time() * 1000
    with redis.Redis.from_url(system.redis_url) as client, app.connection_for_write() as connection:
        client.zadd("rm:{0}:dead", {"old": now - 1_300_000_000})
        # As a foreign program would send it: Celery's protocol 2, the body pickled.
        serialization.register(
            "pickled", pickle.dumps, None, content_type="application/x-python-serialize", content_encoding="binary"
        )
        headers = {"lang": "py", "task": RETENTION_TASK, "id": "1", "argsrepr": "()", "kwargsrepr": "{}"}
        with connection.Producer(serializer="pickled") as producer:
            producer.publish(((), {}, {}), routing_key=JOBS_QUEUE, exchange="", headers=headers, declare=[Queue(JOBS_QUEUE)])
        wait_for(lambda: "ContentDisallowed" in system.log("jobs"), timeout=20)
        assert client.zcard("rm:{0}:dead") == 1
        app.send_task(RETENTION_TASK, queue=JOBS_QUEUE)
        wait_for(lambda: client.zcard("rm:{0}:dead") == 0, timeout=20)
    app.close()


def test_a_jobs_worker_ends_with_its_beat_however_it_ends(running: Running) -> None:
    system, _ = running
    process = system.processes["jobs"]
    (beat,) = child_processes(process.pid)
    assert system.stop("jobs", by=signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: gone(beat))
    system.start("jobs")
    process = system.processes["jobs"]
    wait_for(lambda: child_processes(process.pid), timeout=30)
    (beat,) = child_processes(process.pid)
    wait_for(lambda: system.log("jobs").count("ready.") == 2, timeout=30)
    assert system.stop("jobs") == 0
    wait_for(lambda: gone(beat))
