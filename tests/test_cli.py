"""The `replymill` command for people and scripts: results on stdout, one clear line on stderr, a status that means something."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from dotenv import dotenv_values

from engine.settings import Settings, describe
from tests.conftest import gone, wait_for
from workers import home, shown

ROOT = Path(__file__).parents[1]

Replymill = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a newcomer whose data folder is the test's own."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "REPLYMILL_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def replymill(tmp_path: Path, environ: dict[str, str]) -> Replymill:
    """Runs one command line, with further variables, in an empty folder."""

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "workers.cli", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environ | variables, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_help_names_every_command_and_what_the_status_means(replymill: Replymill) -> None:
    helped = replymill("--help", COLUMNS="200")

    assert helped.returncode == 0
    for word in (
        "up",
        "web",
        "answer",
        "deliver",
        "jobs",
        "ask",
        "status",
        "doctor",
        "model",
        "cache",
        "dead",
        "version",
        "settings",
    ):
        assert f"│ {word} " in helped.stdout
    assert "0 done, 1 failed (one line on stderr says why), 2 wrong usage or settings, 130 interrupted" in helped.stdout


@pytest.mark.parametrize("arguments", [["web", "--help"], ["answer", "--help"], ["model", "--help"], ["up", "--help"]])
def test_every_command_explains_itself(replymill: Replymill, arguments: list[str]) -> None:
    helped = replymill(*arguments)

    assert helped.returncode == 0
    assert "Usage: replymill" in helped.stdout


@pytest.mark.parametrize("arguments", [["nonsense"], ["ask"], ["status", "--nonsense"], ["web", "extra"], ["model"]])
def test_wrong_usage_is_status_2(replymill: Replymill, arguments: list[str]) -> None:
    assert replymill(*arguments).returncode == 2


@pytest.mark.parametrize("command", ["up", "web", "answer", "deliver", "jobs", "status"])
def test_a_misspelt_variable_is_one_line_and_status_2(replymill: Replymill, command: str) -> None:
    refused = replymill(command, REPLYMILL_PROT="1")

    assert refused.returncode == 2
    assert refused.stderr == "replymill: unknown variable REPLYMILL_PROT: did you mean REPLYMILL_PORT?\n"
    assert refused.stdout == ""


@pytest.mark.parametrize(
    "command", ["web", "answer", "deliver", "jobs", "status", "cache purge", "cache stats", "dead list", "ask hello"]
)
def test_without_redis_a_command_says_what_to_do(replymill: Replymill, command: str) -> None:
    refused = replymill(*command.split())

    assert refused.returncode == 1
    assert refused.stderr == "replymill: no Redis is running here: run `replymill up`, or set REPLYMILL_REDIS_URL\n"


def test_a_redis_that_is_away_is_one_line(replymill: Replymill, free_port: Callable[[], int]) -> None:
    refused = replymill("status", REPLYMILL_REDIS_URL=f"redis://:hunter2@127.0.0.1:{free_port()}/0")

    assert refused.returncode == 1
    assert refused.stderr.startswith("replymill: Redis cannot be reached")
    assert len(refused.stderr.splitlines()) == 1
    assert "hunter2" not in refused.stderr


def test_up_on_a_port_in_use_is_one_line(replymill: Replymill) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = replymill("up", REPLYMILL_PORT=str(taken.getsockname()[1]))

    assert refused.returncode == 1
    assert refused.stderr.startswith("replymill: cannot listen on port")
    assert len(refused.stderr.splitlines()) == 1


def test_up_without_write_permission_is_one_line(replymill: Replymill, tmp_path: Path, free_port: Callable[[], int]) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = replymill("up", REPLYMILL_PORT=str(free_port()), REPLYMILL_DATA_DIR=str(tmp_path / "file" / "data"))

    assert refused.returncode == 1
    assert refused.stderr.startswith("replymill: cannot write to ")
    assert len(refused.stderr.splitlines()) == 1


def test_up_with_a_redis_that_is_away_is_one_line(replymill: Replymill, free_port: Callable[[], int]) -> None:
    refused = replymill("up", REPLYMILL_PORT=str(free_port()), REPLYMILL_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")

    assert refused.returncode == 1
    assert refused.stderr.startswith("replymill: Redis cannot be reached")
    assert len(refused.stderr.splitlines()) == 1


def test_up_with_a_model_that_does_not_exist_is_one_line_and_leaves_nothing(
    replymill: Replymill, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    refused = replymill("up", REPLYMILL_PORT=str(free_port()), REPLYMILL_MODEL="gguf:/no/such/file.gguf")

    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("replymill: gguf:/no/such/file.gguf")
    assert not (tmp_path / "data" / home.REDIS_URL).exists()


def test_version_tells_what_runs(replymill: Replymill) -> None:
    assert replymill("version").stdout.startswith("replymill ")
    assert {"replymill", "python", "celery", "redis", "ctranslate2"} <= json.loads(replymill("version", "--json").stdout).keys()


def test_serving_processes_load_nothing_that_only_people_need() -> None:
    script = "import sys, workers.cli; print({'typer', 'rich', 'celery', 'ctranslate2', 'structlog'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_doctor_fails_without_redis_and_says_so_in_both_forms(replymill: Replymill) -> None:
    for_people, for_scripts = replymill("doctor", COLUMNS="200"), replymill("doctor", "--json")

    assert for_people.returncode == for_scripts.returncode == 1
    assert "FAIL" in for_people.stdout
    found = {row["check"]: row for row in json.loads(for_scripts.stdout)}
    assert found["Redis"]["level"] == "fail"
    assert "replymill up" in found["Redis"]["advice"]


def test_doctor_is_content_with_a_good_redis(replymill: Replymill, redis_url: str) -> None:
    assert replymill("doctor", REPLYMILL_REDIS_URL=redis_url).returncode == 0


@pytest.mark.one_redis
def test_the_figures_of_an_empty_system_are_there_for_people_and_scripts(replymill: Replymill, redis_url: str) -> None:
    status = json.loads(replymill("status", "--json", REPLYMILL_REDIS_URL=redis_url).stdout)
    assert status["inbound"]["messages"] == 0

    assert "inbound" in replymill("status", REPLYMILL_REDIS_URL=redis_url).stdout
    assert json.loads(replymill("cache", "stats", "--json", REPLYMILL_REDIS_URL=redis_url).stdout)
    assert json.loads(replymill("cache", "purge", "--json", REPLYMILL_REDIS_URL=redis_url).stdout) == {"purged": 0}
    assert replymill("dead", "list", REPLYMILL_REDIS_URL=redis_url).stderr == "no dead letters\n"
    assert json.loads(replymill("dead", "list", "--json", REPLYMILL_REDIS_URL=redis_url).stdout) == []


def test_no_model_yet_says_what_to_do(replymill: Replymill, tmp_path: Path) -> None:
    nothing = replymill("model", "list", REPLYMILL_CACHE_DIR=str(tmp_path / "cache"))

    assert nothing.returncode == 0
    assert "replymill model convert" in nothing.stderr
    assert json.loads(replymill("model", "list", "--json", REPLYMILL_CACHE_DIR=str(tmp_path / "cache")).stdout) == []


@pytest.mark.parametrize("verb", ["fetch", "convert"])
def test_a_model_that_names_nothing_is_refused(replymill: Replymill, tmp_path: Path, verb: str) -> None:
    refused = replymill("model", verb, "gguf:/no/such/file.gguf", REPLYMILL_CACHE_DIR=str(tmp_path / "cache"))

    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("replymill: ")


def test_the_example_of_a_dotenv_file_is_up_to_date() -> None:
    """Made anew by `replymill settings > .env.example`."""
    assert (ROOT / ".env.example").read_text() == shown.example(describe())


def test_the_example_sets_nothing_and_its_defaults_are_the_defaults() -> None:
    text = (ROOT / ".env.example").read_text()
    assert dotenv_values(stream=io.StringIO(text)) == {}

    uncommented = "\n".join(
        line.removeprefix("# ") for line in text.splitlines() if line.startswith("# REPLYMILL_") and "<" not in line
    )
    values = {name: value or "" for name, value in dotenv_values(stream=io.StringIO(uncommented)).items()}
    assert Settings.load(values) == Settings.load({})


def test_settings_reach_child_processes_whole() -> None:
    changed = {"port": 1, "stop": ("a b", "c"), "api_keys": ("k" * 16, "l" * 16), "cache": False, "system_prompt": "Be  brief. "}

    received = Settings.load(Settings(**changed).to_environ())

    assert {name: getattr(received, name) for name in changed} == changed


class TestUp:
    """The whole of it, with the default model."""

    @pytest.fixture
    def running(self, tmp_path: Path, environ: dict[str, str], free_port: Callable[[], int]) -> Iterator["subprocess.Popen[str]"]:
        """`replymill up`, ready."""
        environ["REPLYMILL_PORT"] = str(free_port())
        command = [sys.executable, "-m", "workers.cli", "up"]
        with (tmp_path / "stderr").open("w") as said:
            process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=said, text=True)
        assert process.stdout
        line = process.stdout.readline()
        assert line == f"Replymill answers at http://127.0.0.1:{environ['REPLYMILL_PORT']}/ (Ctrl-C stops it)\n", (
            tmp_path / "stderr"
        ).read_text()
        yield process
        process.kill()
        process.communicate()

    @pytest.mark.slow
    def test_it_answers_shows_itself_and_leaves_nothing_behind(
        self, running: "subprocess.Popen[str]", replymill: Replymill, environ: dict[str, str], tmp_path: Path
    ) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{environ['REPLYMILL_PORT']}/", timeout=10) as page:
            assert page.status == 200

        asked = replymill("ask", "--json", "How do I reset my password?")
        assert asked.returncode == 0, asked.stderr
        assert json.loads(asked.stdout)["text"]
        assert json.loads(replymill("status", "--json").stdout)["workers"]
        assert replymill("doctor").returncode == 0

        children = psutil.Process(running.pid).children(recursive=True)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
        assert [child for child in children if not gone(child.pid)] == []
        assert not (tmp_path / "data" / home.REDIS_URL).exists()

    @pytest.mark.slow
    def test_a_killed_worker_comes_back_and_a_killed_supervisor_takes_all_with_it(
        self, running: "subprocess.Popen[str]", replymill: Replymill
    ) -> None:
        worker = wait_for(
            lambda: [child for child in psutil.Process(running.pid).children() if child.cmdline()[-1:] == ["answer"]]
        )[0]
        worker.kill()
        assert replymill("ask", "How do I reset my password?").returncode == 0

        children = psutil.Process(running.pid).children(recursive=True)
        running.kill()
        running.wait()
        wait_for(lambda: all(gone(child.pid) for child in children))
