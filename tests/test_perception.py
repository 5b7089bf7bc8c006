"""What reads voice notes and images: a real server that goes wrong as it is told, and programs of this machine."""

import asyncio
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.simulators.readers import SimulatedReaders
from connectors.simulators.server import Fault
from engine.errors import RetryLater, SettingsError, Unreadable
from engine.messages import MediaKind
from engine.perceived import MOST_ANSWER, MOST_TEXT, kind_of
from engine.perception import readers
from engine.settings import Settings
from tests.conftest import wait_for
from workers import doctor_media

KEY = "sk-a-key-of-the-tests"
OGG, PNG = b"OggS\x00\x02 a voice note", b"\x89PNG\r\n\x1a\n a picture"


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatedReaders]:
    with SimulatedReaders(KEY) as server:
        yield server


@pytest.fixture
def server(running: SimulatedReaders) -> SimulatedReaders:
    running.calls.clear()
    running.words = {OGG: "Where is my order?", PNG: "A broken lamp."}
    return running


def configured(server: SimulatedReaders, **changes: Any) -> Settings:
    return dataclasses.replace(
        Settings(transcribe=server.base_url, transcribe_key=KEY, describe=server.base_url, describe_key=KEY), **changes
    )


def read(settings: Settings, kind: MediaKind, content: bytes, *, within: float = 10.0) -> str:
    """What one reader says of a file."""

    async def main() -> str:
        reader = readers(settings)[kind]
        try:
            return await asyncio.wait_for(reader.read(content), within)
        finally:
            await reader.close()

    return asyncio.run(main())


def hear(settings: Settings, content: bytes = OGG, **how: Any) -> str:
    return read(settings, MediaKind.VOICE, content, **how)


# -- a server -------------------------------------------------------------------------------------------------------------------


def test_nothing_is_read_unless_it_is_configured() -> None:
    assert readers(Settings()) == {}
    assert Settings().media == frozenset()


def test_a_voice_note_is_transcribed_with_the_key_and_the_model(server: SimulatedReaders) -> None:
    assert hear(configured(server, transcribe_model="whisper-large")) == "Where is my order?"

    (call,) = server.calls
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert (call.body["model"], call.body["response_format"]) == ("whisper-large", "json")
    assert server.names[-1] == ("voice.ogg", "audio/ogg")


def test_an_image_is_described_as_the_setting_asks(server: SimulatedReaders) -> None:
    settings = configured(server, describe_model="llava", describe_prompt="Was ist das?")

    assert read(settings, MediaKind.IMAGE, PNG) == "A broken lamp."
    (asked,) = server.asked[-1:]
    text, image = asked["messages"][0]["content"]
    assert (asked["model"], text["text"]) == ("llava", "Was ist das?")
    assert image["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("fault", "after"),
    [
        (Fault(status=500), 0),
        (Fault(status=503, headers={"retry-after": "7"}), 7),
        (Fault(status=429, headers={"retry-after": "2"}), 2),
        (Fault(status=429, headers={"retry-after": "Wed, 21 Oct 2065 07:28:00 GMT"}), 0),
        (Fault(drop=True), 0),
        (Fault(cut=True), 0),
    ],
    ids=["500", "503", "429", "429-date", "dropped", "cut"],
)
def test_what_may_be_well_later_says_when(server: SimulatedReaders, fault: Fault, after: float) -> None:
    server.go_wrong("/transcriptions", fault)

    with pytest.raises(RetryLater) as caught:
        hear(configured(server))
    assert caught.value.after == after


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=401, body={"error": {"message": f"Incorrect API key provided: {KEY}"}}),
        Fault(status=302, headers={"location": "http://127.0.0.1:1/v1"}),
        Fault(status=200, body="<html>a proxy</html>"),
        Fault(status=200, body="[" * 100_000),
        Fault(status=200, body={"txt": "x"}),
        Fault(status=200, body={"text": 5}),
        Fault(status=200, body=["x"]),
        Fault(status=200, body="x" * (MOST_ANSWER + 1)),
    ],
    ids=["401", "redirect", "html", "deep", "no-text", "number", "list", "huge"],
)
def test_what_never_will_be_well_is_an_error_without_the_key(server: SimulatedReaders, fault: Fault) -> None:
    server.go_wrong("/transcriptions", fault)

    with pytest.raises(Unreadable) as caught:
        hear(configured(server))
    assert KEY not in str(caught.value)
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": [5]}, {"choices": [{"message": None}]}, {"choices": [{"message": {"content": None}}]}]
)
def test_a_chat_completion_without_a_text_is_an_error(server: SimulatedReaders, body: Any) -> None:
    server.go_wrong("/completions", Fault(status=200, body=body))

    with pytest.raises(Unreadable, match="without a text"):
        read(configured(server), MediaKind.IMAGE, PNG)


def test_a_description_in_parts_is_put_together(server: SimulatedReaders) -> None:
    content = [{"type": "text", "text": "A lamp."}, {"type": "text", "text": "It is broken."}]
    server.go_wrong("/completions", Fault(status=200, body={"choices": [{"message": {"content": content}}]}))

    assert read(configured(server), MediaKind.IMAGE, PNG) == "A lamp.\nIt is broken."


def test_a_slow_server_is_left_when_the_time_is_over(server: SimulatedReaders) -> None:
    server.go_wrong("/transcriptions", Fault(delay=30))
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        hear(configured(server), within=0.3)
    assert time.monotonic() - started < 5


def test_a_server_that_is_not_there_may_be_there_later(free_port: Any) -> None:
    with pytest.raises(RetryLater):
        hear(Settings(transcribe=f"http://127.0.0.1:{free_port()}/v1"))


def test_a_long_text_is_cut_and_its_blanks_are_tidied(server: SimulatedReaders) -> None:
    server.words[OGG] = "  a \r\n\r\n\t b  \n" + "c" * 10_000
    assert hear(configured(server)) == "a\nb\n" + "c" * (MOST_TEXT - 4)


@given(st.binary(max_size=64), st.sampled_from(MediaKind))
def test_whatever_a_file_holds_it_has_a_type_and_an_ending(content: bytes, kind: MediaKind) -> None:
    mime, ending = kind_of(content, kind)

    assert "/" in mime
    assert ending.isalnum()


# -- a command ------------------------------------------------------------------------------------------------------------------


def program(folder: Path, text: str, *, words: str = "{file}") -> Settings:
    """Settings with a Python script as the transcriber."""
    script = folder / "reads it.py"
    script.write_text(text)
    return Settings(transcribe=f"command: {sys.executable} '{script}' {words}")


def test_what_a_command_prints_is_the_text(tmp_path: Path) -> None:
    settings = program(tmp_path, "import sys; print(open(sys.argv[1], 'rb').read()[-12:].decode(), sys.argv[1][-4:], sys.argv[2:])")

    assert hear(settings) == "a voice note .ogg []"


def test_a_command_is_run_without_a_shell_and_without_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLYMILL_SECRET_KEY", "a secret of the tests")
    monkeypatch.setenv("LANGUAGE_OF_THE_TESTS", "de")
    ours = "[name for name in os.environ if name.startswith('REPLYMILL')]"
    text = f"import os, sys; print(sys.argv[2:], {ours}, os.environ['LANGUAGE_OF_THE_TESTS'])"

    assert hear(program(tmp_path, text, words="{file} '; rm -rf $HOME' $(id)")) == "['; rm -rf $HOME', '$(id)'] [] de"


def test_the_file_of_a_command_is_gone_afterwards(tmp_path: Path) -> None:
    place = Path(hear(program(tmp_path, "import sys; print(sys.argv[1])")))

    assert place.name == "voice.ogg"
    assert not place.parent.exists()


def test_a_command_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    settings = program(tmp_path, "import sys; print('no such model', file=sys.stderr); sys.exit(3)")

    with pytest.raises(Unreadable, match="status 3: 'no such model'"):
        hear(settings)


def test_a_command_that_never_ends_is_ended_with_all_it_has_started(tmp_path: Path) -> None:
    child = f"import subprocess, sys, time; p = subprocess.Popen([{sys.executable!r}, '-c', 'import time; time.sleep(60)'])"
    note = f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{p.pid}}')"
    settings = program(tmp_path, f"import os; {child}; {note}; time.sleep(60)")

    with pytest.raises(TimeoutError):
        hear(settings, within=1.5)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    wait_for(lambda: not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids))


def test_a_command_that_floods_its_output_is_heard_up_to_the_bound(tmp_path: Path) -> None:
    settings = program(tmp_path, "import sys; sys.stdout.write('x' * 5_000_000); sys.stderr.write('y' * 5_000_000)")

    assert hear(settings) == "x" * MOST_TEXT


def test_a_program_that_does_not_exist_is_refused_naming_the_variable() -> None:
    with pytest.raises(SettingsError, match=r"REPLYMILL_DESCRIBE runs 'no-such-program'.*install it"):
        readers(Settings(describe="command: no-such-program {file}"))


def test_a_program_that_is_taken_away_later_is_an_error(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)

    async def main() -> None:
        (reader,) = readers(Settings(transcribe=f"command: {tool} {{file}}")).values()
        tool.unlink()
        with pytest.raises(Unreadable, match="cannot be run"):
            await reader.read(OGG)

    asyncio.run(main())


# -- the doctor -----------------------------------------------------------------------------------------------------------------


def test_the_doctor_asks_the_servers_and_looks_at_the_commands(server: SimulatedReaders, tmp_path: Path) -> None:
    checks = doctor_media.look(configured(server, describe=f"command: {sys.executable} {{file}}", transcribe_model="other"))

    assert [(check.what, check.ok) for check in checks] == [("voice notes", True), ("images", True)]
    assert checks[0].found == "answers, 2 models, 'other' is not among them"
    assert checks[1].found == f"runs {sys.executable}"


@pytest.mark.parametrize(
    ("fault", "ok"),
    [(Fault(status=404), True), (Fault(status=401), False), (Fault(status=500), False), (Fault(body="<html>", status=200), False)],
)
def test_the_doctor_tells_a_server_without_a_list_from_one_that_refuses(server: SimulatedReaders, fault: Fault, ok: bool) -> None:
    server.go_wrong("/models", fault)

    (check,) = doctor_media.look(configured(server, describe=""))
    assert check.ok is ok
    assert ok or "REPLYMILL_TRANSCRIBE_KEY" in check.advice


def test_the_doctor_says_what_to_do_about_a_missing_program() -> None:
    (check,) = doctor_media.look(Settings(describe="command: no-such-program {file}"))

    assert (check.ok, "install it" in check.advice) == (False, True)
