"""What both loops share: the thread a worker starts and stops, its watchdog, and the options of the command line."""

import subprocess
import sys
import threading
from collections.abc import Sequence

import click
import pytest
from structlog.testing import capture_logs

from engine.errors import StoreUnavailable
from tests.system import ROOT
from workers.loop import EXIT_LOOP_DIED, Away, LoopThread, chosen

#: Runs a loop whose body is in the place of %s and waits for it; a process of its own, since a dead loop ends its process.
PROCESS = """
import threading
from workers.loop import LoopThread

def body(thread):
    %s

thread = LoopThread("answer", body, patience=0.3)
thread.start()
threading.Event().wait(30)
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROCESS % body], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_a_loop_that_died_ends_its_process_with_a_status_of_its_own() -> None:
    ended = run("raise KeyError('a fault of ours')")
    assert ended.returncode == EXIT_LOOP_DIED == 70
    assert "a loop died" in ended.stdout + ended.stderr
    assert "a fault of ours" in ended.stdout + ended.stderr


def test_a_loop_that_hangs_ends_its_process_with_the_same_status() -> None:
    ended = run("threading.Event().wait()")
    assert ended.returncode == EXIT_LOOP_DIED
    assert "a loop hangs" in ended.stdout + ended.stderr


def test_a_loop_that_beats_is_left_alone() -> None:
    ended = run("[(thread.beat(), thread.stopping.wait(0.05)) for _ in range(40)]; import os; os._exit(3)")
    assert ended.returncode == 3


def test_a_thread_that_is_asked_to_stop_wakes_its_body() -> None:
    woken = []

    def body(thread: LoopThread) -> None:
        thread.wake = lambda: woken.append(True)
        ready.set()
        assert thread.stopping.wait(10)

    ready = threading.Event()
    thread = LoopThread("answer", body, patience=60)
    thread.start()
    assert ready.wait(10)
    thread.stop()
    thread.join(10)
    assert woken == [True]
    assert not thread.is_alive()


def test_redis_going_away_is_said_once_and_so_is_its_return() -> None:
    away = Away("answer")

    def fail() -> None:
        raise StoreUnavailable("Redis cannot be reached")

    with capture_logs() as logs:
        assert [away.bears(step) for step in (fail, fail, lambda: None, lambda: None, fail)] == [False, False, True, True, False]
    assert [line["action"] for line in logs] == ["redis.away", "redis.back", "redis.away"]


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("answer,deliver", {"answer", "deliver"}),
        ("answer", {"answer"}),
        ("none", {"none"}),
        ("deliver, answer", {"answer", "deliver"}),
    ],
)
def test_the_loops_option_names_loops(option: str, names: Sequence[str]) -> None:
    assert chosen(option) == names


@pytest.mark.parametrize("option", ["anser", "answer,delivery", "answer,deliver,jobs"])
def test_a_misspelt_loop_is_refused_naming_it(option: str) -> None:
    with pytest.raises(click.ClickException, match=r"there is no loop '(anser|delivery|jobs)': --loops takes answer, deliver"):
        chosen(option)
