"""`replymill dead` as a person types it and as a script calls it."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest
import redis

from engine.lanes import Lanes
from engine.settings import Settings
from tests.desk import Desk, address, texts
from tests.test_cli import ROOT, environ, replymill  # noqa: F401 - fixtures

pytestmark = pytest.mark.one_redis

Dead = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def desk(settings: Settings, redis_client: redis.Redis) -> Desk:
    return Desk(redis_client, Lanes(settings))


@pytest.fixture
def variables(settings: Settings) -> dict[str, str]:
    """The same Redis and secret key as the desk's."""
    return {"REPLYMILL_REDIS_URL": settings.redis_url, "REPLYMILL_SECRET_KEY": settings.secret_key, "COLUMNS": "160"}


@pytest.fixture
def dead(replymill: Dead, variables: dict[str, str]) -> Dead:  # noqa: F811 - a fixture
    """Runs `replymill dead ...` on the desk's Redis."""
    return lambda *arguments: replymill("dead", *arguments, **variables)


def give_up(desk: Desk, text: str) -> str:
    accepted = desk.accept(text)
    desk.release(desk.take(), failed=True, reason="the model broke")
    desk.commit(desk.take(), dead="2 attempts failed", tried="the model broke again")
    return accepted.id


def test_letters_are_listed_shown_edited_replayed_and_dropped_by_the_beginning_of_their_ids(dead: Dead, desk: Desk) -> None:
    first, second = give_up(desk, "helo"), give_up(desk, "never mind")
    listed = dead("list").stdout
    assert first in listed
    assert "2 attempts failed (webhook, inbound, 2 failed" in listed
    assert [row["text"] for row in json.loads(dead("list", "--json").stdout)] == ["never mind", "helo"]
    assert json.loads(dead("list", "--platform", "slack", "--json").stdout) == []

    whole = dead("show", first[:10]).stdout
    assert all(part in whole for part in ("helo", "the model broke again", "from a person", "webhook / support / thread"))
    assert json.loads(dead("show", first, "--json").stdout)[0]["tried"][0]["reason"] == "the model broke"

    assert dead("edit", first[:10], "--text", "hello").stdout == f"{first} edited\n"
    assert dead("replay", first[:10]).stdout == f"{first} replayed\n"
    assert texts(desk.take()) == ["hello"]
    assert json.loads(dead("drop", second, "--yes", "--json").stdout) == [{"id": second, "result": "dropped"}]
    assert json.loads(dead("list", "--json").stdout) == []


def test_a_terminal_obeys_nothing_of_what_a_person_wrote(dead: Dead, desk: Desk) -> None:
    wrote = "a\x1b[2J\x1b]52;c;YQ==\x07 b\x9b31m c\u202ed\n\te"
    letter = give_up(desk, wrote)
    assert r"a\x1b[2J\x1b]52;c;YQ==\x07 b\x9b31m c\u202ed" in dead("show", letter).stdout
    assert json.loads(dead("show", letter, "--json").stdout)[0]["text"] == wrote


def test_all_that_are_messages_are_replayed_at_once_and_the_others_named(dead: Dead, desk: Desk) -> None:
    ids = [give_up(desk, text) for text in ("one", "two", "three")]
    desk.lanes.bury(address(), "m1", b"junk", reason="no message we know").run(desk.client)
    done = dead("replay", "--all", "--yes")
    assert done.stdout == "".join(f"{one} replayed\n" for one in ids)
    assert done.stderr == "1 are no messages and stay: `replymill dead list` shows why\n"
    assert texts(desk.take()) == ["one", "two", "three"]


@pytest.mark.parametrize("verb", ["show", "replay"])
def test_an_unknown_id_is_one_line_and_status_1(dead: Dead, desk: Desk, verb: str) -> None:
    refused = dead(verb, "nobody")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "replymill: there is no dead letter 'nobody': `replymill dead list` names them all\n"


def test_bytes_that_are_no_message_are_refused_with_the_reason_and_status_1(dead: Dead, desk: Desk) -> None:
    desk.lanes.bury(address(), "m1", b"junk", reason="no message we know").run(desk.client)
    name = desk.lanes.message_id(address(), "m1")
    for command in (("replay", name), ("edit", name, "--text", "more junk")):
        refused = dead(*command)
        assert refused.returncode == 1
        assert len(refused.stderr.splitlines()) == 1
        assert "no message" in refused.stderr
    assert "junk" in dead("show", name).stdout


@pytest.mark.parametrize("wrong", [("drop",), ("list", "--older", "yesterday")], ids=str)
def test_what_names_nothing_or_too_much_is_wrong_usage(dead: Dead, desk: Desk, wrong: tuple[str, ...]) -> None:
    assert dead(*wrong).returncode == 2


def on_terminal(arguments: tuple[str, ...], environment: dict[str, str], typed: bytes = b"") -> tuple[int, str]:
    """A command line whose stdin is a terminal at which somebody types; its status and stdout."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "workers.cli", *arguments]
    running = subprocess.Popen(command, env=environment, cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
    os.write(ours, typed)
    out, _ = running.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return running.returncode, out.decode().strip()


def test_on_a_terminal_a_person_is_asked_before_letters_are_dropped(
    desk: Desk,
    environ: dict[str, str],  # noqa: F811 - a fixture
    variables: dict[str, str],
) -> None:
    name = give_up(desk, "keep me")
    assert on_terminal(("dead", "drop", name), environ | variables, b"n\n")[0] == 1
    assert desk.client.exists(desk.shard.dead(name))
    assert on_terminal(("dead", "drop", name), environ | variables, b"y\n") == (0, f"{name} dropped")
    assert not desk.client.exists(desk.shard.dead(name))


def test_the_editor_of_the_person_opens_on_the_text(
    desk: Desk,
    environ: dict[str, str],  # noqa: F811 - a fixture
    variables: dict[str, str],
) -> None:
    name = give_up(desk, "Where is my oder?")
    editor = {"EDITOR": "sed -i s/oder/order/", "VISUAL": ""}
    assert on_terminal(("dead", "edit", name), environ | variables | editor) == (0, f"{name} edited")
    assert on_terminal(("dead", "edit", name), environ | variables | editor | {"EDITOR": "true"}) == (0, f"{name} unchanged")
    assert on_terminal(("dead", "replay", name), environ | variables) == (0, f"{name} replayed")
    assert texts(desk.take()) == ["Where is my order?"]
