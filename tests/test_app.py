"""The Celery app, as Celery's own command line runs it: real workers, real servers, a broker that goes away."""

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from engine.settings import Settings
from tests.celery_cli import ask_worker, run_celery, start_celery, system_with_broker
from tests.conftest import gone, wait_for
from tests.system import System
from workers import embedded
from workers.loop import EXIT_LOOP_DIED

pytestmark = pytest.mark.slow


@pytest.fixture
def broken_up(tmp_path: Path, tiny_model: Path) -> Iterator[tuple[System, embedded.EmbeddedRedis]]:
    """A system with a broker of its own."""
    with system_with_broker(tmp_path, tiny_model) as found:
        yield found


def test_celerys_own_worker_command_with_its_own_options_runs_both_loops(
    broken_up: tuple[System, embedded.EmbeddedRedis],
) -> None:
    system, _ = broken_up
    pidfile = system.folder / "worker.pid"
    process = start_celery(system, "--loglevel", "info", "--pidfile", str(pidfile), "--concurrency", "4")
    assert int(pidfile.read_text()) == process.pid
    system.start("web")
    webhook_id, response = system.post("hello")
    system.wait_delivered(response.json()["id"])
    assert len(system.receiver.answers_to(webhook_id)) == 1
    assert system.stop("celery") == 0
    assert not pidfile.exists()


def test_a_worker_runs_the_loops_it_is_told_to(broken_up: tuple[System, embedded.EmbeddedRedis]) -> None:
    system, _ = broken_up
    start_celery(system, "--loops", "deliver")
    (figures,) = ask_worker(system, "inspect", "engine").values()
    assert figures["loop"] == "deliver"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pool", "threads"], "runs in the pool `solo` alone: start the worker with --pool solo"),
        (["--loops", "anser"], "there is no loop 'anser'"),
    ],
    ids=["another pool", "a misspelt loop"],
)
def test_what_would_not_work_is_refused_in_one_line(
    broken_up: tuple[System, embedded.EmbeddedRedis], options: list[str], said: str
) -> None:
    system, _ = broken_up
    done = run_celery(system, "worker", *options)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert said in lines[0]


def test_without_a_model_worth_the_name_the_worker_ends_and_says_why(broken_up: tuple[System, embedded.EmbeddedRedis]) -> None:
    system, _ = broken_up
    system.extra["MODEL"] = f"path:{system.folder / 'nowhere'}"
    done = run_celery(system, "worker", "--loops", "answer")
    assert done.returncode == 1
    assert "nowhere" in done.stderr


def test_the_broker_going_away_stops_no_loop_and_celery_comes_back_with_it(
    broken_up: tuple[System, embedded.EmbeddedRedis],
) -> None:
    system, broker = broken_up
    system.start("web")
    process = start_celery(system)
    broker.stop()
    for text in ("one", "two"):
        system.wait_delivered(system.post(text, conversation=text)[1].json()["id"])
    assert process.poll() is None
    broker.start()

    connected = "Connected to redis"
    wait_for(lambda: system.log("celery").count(connected) == 2, timeout=40)
    assert ask_worker(system, "inspect", "ping") == {"ok": "pong"}
    system.wait_delivered(system.post("three")[1].json()["id"])


def test_a_worker_without_its_broker_stops_when_it_is_told_to(broken_up: tuple[System, embedded.EmbeddedRedis]) -> None:
    system, broker = broken_up
    process = start_celery(system)
    broker.stop()
    wait_for(lambda: "onnection to broker lost" in system.log("celery") or "Cannot connect" in system.log("celery"), timeout=30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    del system.processes["celery"]


def test_a_worker_starts_its_loops_before_the_broker_is_there(broken_up: tuple[System, embedded.EmbeddedRedis]) -> None:
    system, broker = broken_up
    broker.stop()
    system.start("web", "answer", "deliver")
    system.wait_delivered(system.post("hello")[1].json()["id"])


def test_a_dead_loop_ends_the_process_with_a_status_of_its_own(broken_up: tuple[System, embedded.EmbeddedRedis]) -> None:
    """What a script cannot bear is a key of the wrong type, as a foreign program may leave it."""
    system, _ = broken_up
    process = start_celery(system)
    with redis.Redis.from_url(system.redis_url) as client:
        client.set("rm:{0}:in:ring", "not a sorted set")
    assert process.wait(20) == EXIT_LOOP_DIED
    del system.processes["celery"]
    assert "a loop died" in system.log("celery")


@pytest.mark.parametrize("hasten", [False, True], ids=["cold at once", "cold after warm"])
def test_a_cold_shutdown_gives_back_at_once_what_the_model_is_at(
    broken_up: tuple[System, embedded.EmbeddedRedis], hasten: bool
) -> None:
    system, _ = broken_up
    default = Settings()
    system.extra |= {"MODEL": default.model, "COMPUTE_TYPE": "int8", "MAX_TOKENS": "900", "DRAIN_TIMEOUT": "120", "LEASE": "60"}
    system.extra["SEND_TIMEOUT"] = "10"
    system.start("web")
    process = start_celery(system, "--loops", "answer")
    sent = [system.post(f"Tell a very long story about {n} lighthouses.", conversation=f"{n}")[1].json()["id"] for n in range(24)]
    with redis.Redis.from_url(system.redis_url) as client:
        wait_for(lambda: sum(system.message(one)["state"] == "answering" for one in sent) >= 20)
        if hasten:
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: "Warm shutdown" in system.log("celery"))
        process.send_signal(signal.SIGQUIT)
        process.wait(15)
        del system.processes["celery"]
        assert client.zcard("rm:{0}:in:leased") == 0
        states = Counter(system.message(one)["state"] for one in sent)
        assert states["waiting"] + states["answered"] == len(sent)
        assert states["waiting"] >= 12
        assert client.keys("rm:worker:*") == []


def test_ctrl_c_of_an_answering_worker_is_an_interruption_and_no_failure(
    broken_up: tuple[System, embedded.EmbeddedRedis],
) -> None:
    system, _ = broken_up
    system.start("answer")
    wait_for(lambda: "ready." in system.log("answer"), timeout=30)
    pid = system.processes["answer"].pid
    assert system.stop("answer", by=signal.SIGINT) == 130
    assert gone(pid)
    assert "ended with status" not in system.log("answer")
