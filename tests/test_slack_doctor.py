"""`doctor` at a Slack: tokens, scopes, the socket, the clocks and the running service, each told with what to do."""

import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest

from connectors.contract import Check
from connectors.simulators.server import Fault
from connectors.simulators.slack import Slack as SlackServer
from connectors.slack_manifest import SCOPES
from engine.errors import RetryLater
from engine.settings import Settings
from tests.conftest import wait_for
from tests.doors import opened, ready
from tests.test_slack import BOT, SECRET, use, with_app
from workers.doctor_platforms import look

pytestmark = pytest.mark.one_redis

SOCKET = "xapp-1-A1-1234-of-the-tests"


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


def told(settings: Settings, slack: SlackServer, **fields: Any) -> dict[str, Check]:
    found: list[Check] = use(settings, slack, lambda platform: platform.check(), **fields)
    assert BOT not in repr(found)
    assert SOCKET not in repr(found)
    return {check.what: check for check in found}


@pytest.mark.parametrize("missing", sorted(SCOPES))
def test_every_scope_that_is_missing_is_named_with_what_needs_it(settings: Settings, slack: SlackServer, missing: str) -> None:
    granted = ", ".join(scope for scope in SCOPES if scope != missing)
    slack.go_wrong("/auth.test", Fault(status=200, headers={"x-oauth-scopes": granted}, body={"ok": True}))
    (check,) = told(settings, slack).values()

    assert not check.ok
    assert check.found == f"the token lacks {missing} ({SCOPES[missing]})"
    assert "slack manifest" in check.advice


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("token_revoked", "uninstalled"),
        ("account_inactive", "no more"),
        ("invalid_auth", "install the app again"),
        ("token_expired", "OAuth"),
        ("not_allowed_token_type", "xoxb"),
    ],
)
def test_a_token_that_does_not_work_is_told_with_what_to_do(settings: Settings, slack: SlackServer, code: str, advice: str) -> None:
    slack.refused[BOT] = code
    (check,) = told(settings, slack).values()

    assert (check.ok, check.fatal) == (False, True)
    assert code in check.found
    assert advice in check.advice


def test_a_token_for_sockets_that_works_is_told(settings: Settings, slack: SlackServer) -> None:
    found = told(settings, slack, app_token=SOCKET)

    assert found["slack acme"].ok
    assert found["slack acme Socket Mode"].ok
    assert slack.sockets == []


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("missing_scope", "connections:write"),
        ("invalid_auth", "connections:write"),
        ("not_allowed_token_type", "xapp"),
        ("token_revoked", "App-Level Tokens"),
    ],
)
def test_a_token_for_sockets_that_is_refused_is_told(settings: Settings, slack: SlackServer, code: str, advice: str) -> None:
    slack.refused[SOCKET] = code
    check = told(settings, slack, app_token=SOCKET)["slack acme Socket Mode"]

    assert (check.ok, check.fatal) == (False, True)
    assert code in check.found
    assert advice in check.advice


def test_a_token_for_sockets_of_another_app_is_told(settings: Settings, slack: SlackServer) -> None:
    check = told(settings, slack, app_token="xapp-1-A2-1234-x")["slack acme Socket Mode"]  # of the test

    assert not check.ok
    assert "A2" in check.found
    assert "A1" in check.found


def test_where_slack_does_not_name_the_app_of_a_bot_nothing_is_said_about_it(settings: Settings, slack: SlackServer) -> None:
    slack.go_wrong("/bots.info", Fault(status=200, body={"ok": False, "error": "missing_scope"}))

    assert told(settings, slack, app_token="xapp-1-A2-1234-x")["slack acme Socket Mode"].ok  # of the test


@pytest.mark.parametrize(("ahead", "fatal"), [(90, False), (-90, False), (400, True), (-3600, True)])
@pytest.mark.parametrize("refused", [False, True])
def test_a_clock_that_is_off_is_told_though_the_token_is_refused(
    settings: Settings, slack: SlackServer, ahead: int, fatal: bool, refused: bool
) -> None:
    body = {"ok": False, "error": "invalid_auth"} if refused else {"ok": True, "user": "bot", "team": "Acme"}
    slack.go_wrong("/auth.test", Fault(status=200, headers={"date": formatdate(time.time() + ahead, usegmt=True)}, body=body))
    check = told(settings, slack)["slack acme clock"]

    assert (check.ok, check.fatal) == (False, fatal)
    assert "NTP" in check.advice


def test_a_slack_that_is_busy_is_no_wrong_token(settings: Settings, slack: SlackServer) -> None:
    slack.go_wrong("/auth.test", Fault(status=429, headers={"retry-after": "9"}, body={"ok": False, "error": "ratelimited"}))
    with pytest.raises(RetryLater):
        told(settings, slack)


def test_a_running_service_with_another_signing_secret_or_none_is_told(settings: Settings, slack: SlackServer) -> None:
    mine = with_app(settings, slack.api)
    with opened(with_app(settings, slack.api, signing_secret=f"another {SECRET}")) as door:
        wait_for(lambda: ready(door))
        other = {check.what: check for check in look(mine)}["/slack/acme/events"]
    away = {check.what: check for check in look(mine)}["/slack/acme/events"]

    assert (other.ok, other.found) == (False, "answered 401")
    assert "another secret" in other.advice
    assert not away.ok
    assert "replymill up" in away.advice
