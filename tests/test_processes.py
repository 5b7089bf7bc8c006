"""Real processes that are told to end, lose Redis for longer than their leases, or meet a message that kills them."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from engine.settings import Settings
from tests.conftest import wait_for
from tests.system import ROOT, Receiver, System
from workers import console, deadletters, embedded

pytestmark = pytest.mark.slow

#: See `tests.fragile`, which only a process of its own can import.
DEADLY, HUGE = "deadly", "huge"
#: Longest that an end may take beyond the time to drain, seconds; the machine of a test may be busy.
MARGIN = 15.0
#: What a process may take more of during an outage, bytes: a second's worth of refused requests is far below.
GROWTH = 24_000_000
#: Lines that a process may log about one outage.
LINES = 30


@contextmanager
def whole(folder: Path, model: Path, **extra: str) -> Iterator[tuple[System, embedded.EmbeddedRedis]]:
    """A system with a tiny model on a Redis of its own; nothing of it runs yet but that."""
    receiver = Receiver()
    settings = {"MODEL": f"path:{model}", "COMPUTE_TYPE": "float32", "CACHE": "false", "MAX_TOKENS": "4", "DRAIN_TIMEOUT": "10"}
    with embedded.serving(folder / "redis", log=folder / "redis.log") as server:
        system = System(server.url, embedded.free_port(), folder, receiver, settings | extra)
        try:
            yield system, server
        finally:
            system.stop_all()
            receiver.close()


def insist(system: System, text: str, conversation: str) -> tuple[str, str]:
    """Send a message as a platform does, until it is acknowledged; its webhook id and its id."""
    webhook_id = f"msg_{conversation}"

    def sent() -> str:
        try:
            _, response = system.post(text, conversation=conversation, webhook_id=webhook_id)
        except httpx.TransportError:
            return ""
        return str(response.json()["id"]) if response.status_code == 202 else ""

    return webhook_id, wait_for(sent, timeout=60)


def test_an_end_that_is_asked_for_under_load_loses_and_doubles_nothing_and_others_take_over(
    tmp_path: Path, tiny_model: Path
) -> None:
    with whole(tmp_path, tiny_model) as (system, _):
        system.start("web", "answer", "deliver", "answer-2", "deliver-2", "jobs")
        wait_for(lambda: at_work(system) == 4 and "ready." in system.log("jobs"), timeout=60)
        sent: list[tuple[str, str]] = []
        enough = threading.Event()

        def load() -> None:
            while not enough.wait(0.03):
                sent.append(insist(system, f"Question {len(sent)}?", f"c{len(sent)}"))

        sender = threading.Thread(target=load)
        sender.start()
        for role in ("answer", "deliver", "jobs", "web"):
            so_far = len(system.receiver.posted)
            wait_for(lambda known=so_far: len(system.receiver.posted) > known, timeout=60)
            begun = time.monotonic()
            assert system.stop(role) == 0, system.log(role)[-2000:]
            assert time.monotonic() - begun < 10 + MARGIN
        system.start("web")
        enough.set()
        sender.join(60)
        assert len(sent) > 50
        for webhook_id, message_id in sent:
            system.wait_delivered(message_id)
            assert len(system.receiver.answers_to(webhook_id)) == 1


def test_redis_away_for_longer_than_leases_and_deadlines_leaves_everything_as_it_was(tmp_path: Path, tiny_model: Path) -> None:
    with whole(tmp_path, tiny_model) as (system, server):
        system.start("web", "answer", "deliver")
        system.wait_delivered(insist(system, "Warm up?", "warm")[1])
        answered = []
        for number, away in enumerate((frozen, killed)):
            sent = [insist(system, f"Question {n}?", f"{away.__name__}-{n}") for n in range(20)]
            with unchanged(system), away(server):
                until = time.monotonic() + 6.0
                while time.monotonic() < until:
                    assert system.post("Refused?", conversation="away", webhook_id=f"msg_away-{number}")[1].status_code == 503
            answered += sent
            wait_for(system.ready, timeout=20)
            answered.append(insist(system, "Refused?", f"away-{number}"))
        for webhook_id, message_id in answered:
            system.wait_delivered(message_id)
            assert len(system.receiver.answers_to(webhook_id)) == 1


def test_what_became_overdue_during_an_outage_gets_one_apology_after_it(tmp_path: Path, tiny_model: Path) -> None:
    with whole(tmp_path, tiny_model, DEADLINE_WEBHOOK="3", APOLOGY="Sorry, too late.") as (system, server):
        system.start("web", "deliver", "deliver-2")
        wait_for(lambda: at_work(system) == 2, timeout=60)
        sent = [insist(system, f"Question {n}?", f"c{n}") for n in range(10)]
        overdue = time.monotonic() + 4
        with killed(server):
            wait_for(lambda: time.monotonic() > overdue)
        for webhook_id, _ in sent:
            wait_for(lambda wanted=webhook_id: system.receiver.answers_to(wanted), timeout=30)
        system.start("answer")
        later = insist(system, "And now?", "later")
        wait_for(lambda: system.receiver.answers_to(later[0]), timeout=30)
        for webhook_id, _ in sent:
            assert [posted.data["text"] for posted in system.receiver.answers_to(webhook_id)] == ["Sorry, too late."]


@pytest.mark.parametrize("word", [DEADLY, HUGE])
def test_a_message_that_kills_its_worker_or_fills_its_memory_is_given_up_and_its_neighbours_are_answered(
    word: str, tmp_path: Path, tiny_model: Path
) -> None:
    with whole(tmp_path, tiny_model, ATTEMPTS="3", APOLOGY="Sorry.") as (system, _):
        system.start("web", "deliver")
        sent = {text: insist(system, text, f"c{n}") for n, text in enumerate(("One?", f"A {word} question?", "Two?", "Three?"))}
        deaths = 0
        worker = start_fragile(system)
        _, poison = sent[f"A {word} question?"]

        def settled() -> bool:
            nonlocal worker, deaths
            if worker.poll() is not None:
                deaths, worker = deaths + 1, start_fragile(system)
            return all(system.receiver.answers_to(found) for found, _ in sent.values())

        try:
            wait_for(settled, timeout=90)
            # Three tries, the last alone; a fault that Python can catch ends no worker.
            assert deaths == (3 if word == DEADLY else 0)
            assert worker.poll() is None
        finally:
            worker.kill()
            worker.wait()
        texts = {text: system.receiver.answers_to(found)[0].data["text"] for text, (found, _) in sent.items()}
        assert [text for text, said in texts.items() if said == "Sorry."] == [f"A {word} question?"], texts
        letters = deadletters.dead_letters(Settings.load(system.environ))
        assert [letter["id"] for letter in letters] == [poison]
        assert all(len(system.receiver.answers_to(found)) == 1 for found, _ in sent.values())


def start_fragile(system: System) -> subprocess.Popen[bytes]:
    with (system.folder / "fragile.log").open("ab") as log:
        command = [sys.executable, "-m", "tests.fragile", "16"]
        return subprocess.Popen(command, env=system.environ, cwd=ROOT, stdout=log, stderr=log)


def at_work(system: System) -> int:
    """How many loops run."""
    return len(console.status(Settings.load(system.environ))["workers"])


@contextmanager
def frozen(server: embedded.EmbeddedRedis) -> Iterator[None]:
    """Connections stay, and nothing is answered."""
    process = psutil.Process(server.child.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@contextmanager
def killed(server: embedded.EmbeddedRedis) -> Iterator[None]:
    psutil.Process(server.child.pid).kill()
    server.child.wait(10)
    server.child.sweep()
    try:
        yield
    finally:
        server.start()


@contextmanager
def unchanged(system: System) -> Iterator[None]:
    """The processes neither grow nor flood their logs meanwhile, nor end."""
    processes = {role: psutil.Process(process.pid) for role, process in system.processes.items()}
    before = {role: (process.memory_info().rss, system.log(role).count("\n")) for role, process in processes.items()}
    yield
    system.check_alive()
    for role, process in processes.items():
        memory, lines = before[role]
        assert process.memory_info().rss - memory < GROWTH, role
        told = system.log(role).splitlines()[lines:]
        assert len([line for line in told if "POST" not in line]) < LINES, (role, told[:LINES])
