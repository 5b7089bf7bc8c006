"""What `up` promises of its processes: restarted when they crash, stopped in order, and none left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StartError
from engine.settings import Settings
from tests.conftest import gone, wait_for
from workers import home, supervisor
from workers.crew import backoff
from workers.processes import Child

ROOT = Path(__file__).parents[1]

#: Obeys SIGTERM at once, and says so.
POLITE = "trap 'echo {name} >> stopped; exit 0' TERM; echo $$ > {name}.pid; touch {name}.ready; while :; do sleep 0.05; done"
#: Does not hear SIGTERM, and has a child of its own.
DEAF = "trap '' TERM; sleep 600 & echo $! > {name}.child; echo $$ > {name}.pid; touch {name}.ready; while :; do sleep 0.05; done"
#: Is refused its settings, once its neighbour is up.
WRONG = "until [ -e steady.ready ]; do sleep 0.02; done; echo x >> starts; echo 'replymill: REPLYMILL_PORT is wrong'; exit 2"

Crew = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    """Starts a supervisor over stages of (name, script) or (name, script, grace)."""
    running: list[subprocess.Popen[str]] = []

    def start(*described: list[tuple[str, str] | tuple[str, str, float]]) -> subprocess.Popen[str]:
        named = [
            [(row[0], row[2] if len(row) > 2 else 5.0, row[1].replace("{name}", row[0])) for row in stage] for stage in described
        ]
        running.append(spawn("stages", str(tmp_path), json.dumps(named)))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def spawn(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.crew", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def pid_in(path: Path) -> int:
    return int(wait_for(lambda: path.exists() and path.read_text().strip()))


@given(st.integers(1, 10_000))
def test_the_wait_doubles_with_each_crash_up_to_half_a_minute(failures: int) -> None:
    wait, next_wait = backoff(failures), backoff(failures + 1)

    assert 0.5 <= wait <= 30
    assert next_wait == min(30, 2 * wait)


def test_a_killed_process_is_started_again(crew: Crew, tmp_path: Path) -> None:
    crew([("worker", POLITE)])
    wait_for((tmp_path / "up").exists)
    first = pid_in(tmp_path / "worker.pid")

    os.kill(first, signal.SIGKILL)

    assert wait_for(lambda: pid_in(tmp_path / "worker.pid") != first)


def test_a_process_that_ends_without_a_fault_is_started_again_too(crew: Crew, tmp_path: Path) -> None:
    crew([("worker", "echo x >> worker.starts; touch worker.ready; [ -e up ] || sleep 0.5; exit 0")])

    wait_for(lambda: (tmp_path / "worker.starts").exists() and len((tmp_path / "worker.starts").read_text().split()) >= 3)


def test_the_others_run_on_while_one_crashes(crew: Crew, tmp_path: Path) -> None:
    crew([("steady", POLITE), ("crashing", "[ -e up ] || { touch crashing.ready; sleep 0.3; }; echo x >> starts; exit 1")])
    wait_for((tmp_path / "up").exists)
    steady = pid_in(tmp_path / "steady.pid")

    wait_for(lambda: (tmp_path / "starts").exists() and len((tmp_path / "starts").read_text().split()) >= 3)
    assert pid_in(tmp_path / "steady.pid") == steady
    assert not gone(steady)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_stages_in_order_and_ends_well(crew: Crew, tmp_path: Path, stop: signal.Signals) -> None:
    process = crew([("web", POLITE)], [("answer", POLITE)], [("deliver", POLITE)], [("redis", POLITE)])
    wait_for((tmp_path / "up").exists)

    process.send_signal(stop)

    assert process.wait(30) == 0
    assert (tmp_path / "stopped").read_text().split() == ["web", "answer", "deliver", "redis"]


def test_a_process_that_does_not_stop_is_killed_with_all_that_it_started(crew: Crew, tmp_path: Path) -> None:
    process = crew([("deaf", DEAF, 0.3)], [("redis", POLITE)])
    wait_for((tmp_path / "up").exists)

    process.send_signal(signal.SIGINT)

    assert process.wait(30) == 0
    assert gone(pid_in(tmp_path / "deaf.pid"))
    wait_for(lambda: gone(pid_in(tmp_path / "deaf.child")))
    assert (tmp_path / "stopped").read_text().split() == ["redis"]


def test_a_second_signal_hastens_the_end(crew: Crew, tmp_path: Path) -> None:
    process = crew([("deaf", DEAF, 600.0)])
    wait_for((tmp_path / "up").exists)

    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.send_signal(signal.SIGINT)

    assert process.wait(30) == 0
    assert gone(pid_in(tmp_path / "deaf.pid"))


def test_nothing_outlives_a_supervisor_killed_with_9(crew: Crew, tmp_path: Path) -> None:
    process = crew([("polite", POLITE), ("deaf", DEAF)])
    wait_for((tmp_path / "up").exists)

    process.kill()

    for name in ("polite", "deaf"):
        wait_for(lambda name=name: gone(pid_in(tmp_path / f"{name}.pid")))
    os.kill(pid_in(tmp_path / "deaf.child"), signal.SIGKILL)


def test_the_terminals_ctrl_c_reaches_the_supervisor_alone(crew: Crew, tmp_path: Path) -> None:
    process = crew([("worker", POLITE)])
    pid = pid_in(tmp_path / "worker.pid")

    assert os.getsid(pid) == pid
    assert os.getpgid(pid) != os.getpgid(process.pid)


def test_ctrl_c_stops_a_supervisor_that_a_shell_started_in_the_background(tmp_path: Path) -> None:
    described = json.dumps([[("worker", 5.0, POLITE.replace("{name}", "worker"))]])
    asked = "trap '' INT; exec \"$@\""
    command = ["/bin/sh", "-c", asked, "sh", sys.executable, "-m", "tests.crew", "stages", str(tmp_path), described]
    with subprocess.Popen(command, cwd=ROOT) as process:
        wait_for((tmp_path / "up").exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_a_hang_up_ignored_from_the_start_stays_ignored(tmp_path: Path) -> None:
    described = json.dumps([[("worker", 5.0, POLITE.replace("{name}", "worker"))]])
    command = [
        "/bin/sh",
        "-c",
        "trap '' HUP; exec \"$@\"",
        "sh",
        sys.executable,
        "-m",
        "tests.crew",
        "stages",
        str(tmp_path),
        described,
    ]
    with subprocess.Popen(command, cwd=ROOT) as process:
        wait_for((tmp_path / "up").exists)

        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGTERM)

        assert process.wait(30) == 0


def test_wrong_settings_of_a_process_end_the_start_at_once(crew: Crew, tmp_path: Path) -> None:
    process = crew([("steady", POLITE)], [("wrong", WRONG)])

    assert process.wait(30) == 1
    assert "refused: wrong cannot run (exit status 2): REPLYMILL_PORT is wrong (log: " in process.communicate()[1]
    assert (tmp_path / "starts").read_text().split() == ["x"]
    assert (tmp_path / "stopped").read_text().split() == ["steady"]


def test_a_process_that_crashes_three_times_ends_the_start(crew: Crew, tmp_path: Path) -> None:
    process = crew([("crashing", "echo x >> starts; echo 'the reason'; kill -SEGV $$")])

    assert process.wait(20) == 1
    assert "refused: crashing cannot run (signal SIGSEGV): the reason" in process.communicate()[1]
    assert (tmp_path / "starts").read_text().split() == ["x"] * 3


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    child = Child("ghost", [str(tmp_path / "no-such-program")], log=tmp_path / "log")
    child.spawn()

    assert child.wait(10)
    assert child.last_words() == f"cannot run {tmp_path}/no-such-program: No such file or directory"
    child.sweep()


class TestTheWhole:
    """The order of `up`, with the real embedded Redis and sleeping workers."""

    @pytest.fixture
    def whole(self, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[subprocess.Popen[str]]:
        process = spawn("run", str(tmp_path), str(free_port()))
        yield process
        process.kill()
        process.communicate()

    def line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout
        return process.stdout.readline()

    def test_one_line_tells_the_address_and_ctrl_c_leaves_nothing(self, whole: subprocess.Popen[str], tmp_path: Path) -> None:
        assert self.line(whole).startswith("Replymill answers at http://127.0.0.1:")
        children = psutil.Process(whole.pid).children(recursive=True)
        assert len(children) == 5
        with redis.Redis.from_url(home.running_redis(tmp_path / "data")) as client:
            client.set("key", "kept")

        whole.send_signal(signal.SIGINT)

        assert whole.wait(30) == 0
        assert all(gone(child.pid) for child in children)
        with pytest.raises(StartError):
            home.running_redis(tmp_path / "data")

    def test_a_killed_redis_comes_back_at_the_same_address_with_its_data(
        self, whole: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        self.line(whole)
        url = home.running_redis(tmp_path / "data")
        with redis.Redis.from_url(url) as client:
            client.set("key", "kept")
            os.kill(client.info("server")["process_id"], signal.SIGKILL)

        def found() -> bytes | None:
            with suppress(redis.ConnectionError), redis.Redis.from_url(url) as client:
                return client.get("key")  # type: ignore[return-value]
            return None

        assert wait_for(found) == b"kept"
        assert home.running_redis(tmp_path / "data") == url

    def test_a_second_one_on_the_same_folder_is_refused(self, whole: subprocess.Popen[str], tmp_path: Path) -> None:
        self.line(whole)

        second = spawn("run", str(tmp_path), "1")

        assert "refused: another Replymill (process " in second.communicate(timeout=20)[1]
        assert second.returncode == 1


def test_a_port_in_use_says_what_to_do() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(StartError, match=r"Address already in use.*REPLYMILL_PORT"),
    ):
        supervisor.check_port("127.0.0.1", taken.getsockname()[1])


def test_a_free_port_is_fine_and_stays_free(free_port: Callable[[], int]) -> None:
    port = free_port()

    supervisor.check_port("127.0.0.1", port)
    supervisor.check_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_refused(host: str, free_port: Callable[[], int]) -> None:
    with pytest.raises(StartError, match=r"REPLYMILL_HOST"):
        supervisor.check_port(host, free_port())


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080/"),
        ("0.0.0.0", "http://127.0.0.1:8080/"),
        ("::", "http://[::1]:8080/"),
        ("localhost", "http://localhost:8080/"),
    ],
)
def test_the_address_is_one_that_a_browser_here_can_open(host: str, shown: str) -> None:
    assert supervisor.address(Settings(host=host)) == shown


def test_a_web_process_that_is_not_there_is_not_ready(free_port: Callable[[], int]) -> None:
    assert not supervisor.ready(Settings(port=free_port()))
