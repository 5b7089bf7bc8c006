"""Installing a Slack app in many workspaces: the pages, the sealed tokens, their refreshing, and their end."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import redis
import redis.asyncio
import yaml  # type: ignore[import-untyped]
from slack_sdk.oauth.installation_store.models.installation import Installation

from connectors.simulators.server import Fault
from connectors.simulators.slack import Slack as SlackServer
from connectors.slack import Slack
from connectors.slack_manifest import EVENTS, SCOPES, manifest
from engine.accounts import SlackApp
from engine.errors import DeliveryRefused, RetryLater, SettingsError
from engine.settings import Settings
from tests.conftest import wait_for
from tests.doors import Door, opened, ready
from tests.test_slack import BOT, CHANNEL, SECRET, delivery, direct, event, post, with_app

pytestmark = [
    pytest.mark.one_redis,
    # slack_sdk signs oauth.v2.access with a class that aiohttp will take away in its next major version.
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning"),
]

KEYS = ("a sealing key of tests",)
OAUTH: dict[str, Any] = {
    "bot_token": "",
    "client_id": "1.2",
    "client_secret": "a client secret",
    "redirect_url": "https://bot.example/slack/acme/oauth_redirect",
}
#: What `oauth.v2.access` answers.
GRANT = {
    "access_token": "xoxb-first",
    "token_type": "bot",
    "app_id": "A1",
    "bot_user_id": "UBOT",
    "scope": "chat:write",
    "team": {"id": "T1", "name": "Acme"},
    "enterprise": None,
    "authed_user": {"id": "UANNA"},
    "is_enterprise_install": False,
}
ROTATED = {"access_token": "xoxb-second", "refresh_token": "xoxe-2", "expires_in": 43_200, "token_type": "bot"}


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


@pytest.fixture
def app(settings: Settings, slack: SlackServer) -> Settings:
    return with_app(dataclasses.replace(settings, sealing_keys=KEYS), slack.api, **OAUTH)


@pytest.fixture
def door(app: Settings) -> Iterator[Door]:
    with opened(app) as door:
        wait_for(lambda: ready(door))
        yield door


def begin(door: Door) -> tuple[str, dict[str, str]]:
    """(state, what the browser sends with it)."""
    page = door.http.get("/slack/acme/install")
    state = page.headers["set-cookie"].partition("=")[2].partition(";")[0]
    return state, {"cookie": f"slack-app-oauth-state={state}"}


def install(door: Door, slack: SlackServer, code: str = "code-1", **grant: Any) -> int:
    slack.grants[code] = {**GRANT, **grant}
    state, cookie = begin(door)
    return door.http.get("/slack/acme/oauth_redirect", params={"code": code, "state": state}, headers=cookie).status_code


def use(app: Settings, body: Callable[[Slack], Awaitable[Any]]) -> Any:
    """Run `body` with a platform as a worker has it."""

    async def main() -> Any:
        client = redis.asyncio.Redis.from_url(app.redis_url, protocol=2)
        platform = Slack(app, client)
        try:
            return await body(platform)
        finally:
            await platform.close()
            await client.aclose()

    return asyncio.run(main())


def send(app: Settings) -> Any:
    return use(app, lambda platform: platform.send(delivery()))


def used(slack: SlackServer) -> list[str]:
    """The tokens that posted."""
    return [call.headers["authorization"].removeprefix("Bearer ") for call in slack.to("/chat.postMessage")]


def keep(app: Settings, place: str = "T1", **fields: Any) -> None:
    """An installation as it was kept earlier."""
    installation = Installation(**{"user_id": "U", "team_id": place, "bot_token": "xoxb-first", "bot_id": "B", **fields})
    use(app, lambda platform: platform._apps["acme"].installations.async_save(installation))


def test_an_installation_begins_with_a_state_of_its_own(door: Door) -> None:
    page = door.http.get("/slack/acme/install?team=%22%3E%3Cscript%3E")
    href = page.text.partition('href="https')[2].partition('"')[0].replace("&amp;", "&")
    query = parse_qs(urlsplit("https" + href).query)

    assert page.status_code == 200
    assert query["client_id"] == ["1.2"]
    assert set(query["scope"][0].split(",")) == set(SCOPES)
    assert query["redirect_uri"] == [OAUTH["redirect_url"]]
    assert query["state"] == [page.headers["set-cookie"].partition("=")[2].partition(";")[0]]
    assert "<script>" not in page.text
    assert {"secure", "httponly"} <= {part.strip().lower() for part in page.headers["set-cookie"].split(";")}


def test_an_installation_is_kept_sealed_and_used_for_replies(
    door: Door, app: Settings, slack: SlackServer, redis_client: redis.Redis
) -> None:
    status = install(door, slack)
    send(app)
    kept = [redis_client.get(name) for name in redis_client.scan_iter(match="rm:slack:installed:*")]

    assert status == 200
    assert used(slack) == ["xoxb-first"]
    assert len(kept) == 1
    assert "xoxb" not in repr(kept)
    assert slack.to("/oauth.v2.access")[0].body["redirect_uri"] == OAUTH["redirect_url"]


def test_a_state_is_good_once_and_in_its_own_browser_alone(door: Door, slack: SlackServer) -> None:
    slack.grants |= {code: dict(GRANT) for code in ("a", "b", "c", "d")}
    state, cookie = begin(door)
    ask = "/slack/acme/oauth_redirect"
    elsewhere = door.http.get(ask, params={"code": "a", "state": state})
    unknown = door.http.get(ask, params={"code": "b", "state": "x"}, headers={"cookie": "slack-app-oauth-state=x"})
    first = door.http.get(ask, params={"code": "c", "state": state}, headers=cookie)
    again = door.http.get(ask, params={"code": "d", "state": state}, headers=cookie)

    assert (elsewhere.status_code, unknown.status_code, first.status_code, again.status_code) == (400, 401, 200, 401)
    assert len(slack.to("/oauth.v2.access")) == 1


def test_a_slack_that_is_away_or_refuses_installs_nothing(door: Door, app: Settings, slack: SlackServer) -> None:
    state, cookie = begin(door)
    slack.go_wrong("/oauth.v2.access", Fault(drop=True))
    away = door.http.get("/slack/acme/oauth_redirect", params={"code": "x", "state": state}, headers=cookie)
    state, cookie = begin(door)
    refused = door.http.get("/slack/acme/oauth_redirect", params={"code": "x", "state": state}, headers=cookie)

    assert (away.status_code, refused.status_code) == (503, 401)
    with pytest.raises(DeliveryRefused, match="not installed"):
        send(app)


def test_what_the_address_says_went_wrong_is_shown_as_text(door: Door) -> None:
    answer = door.http.get("/slack/acme/oauth_redirect", params={"error": "<script>alert(1)</script>"})

    assert answer.status_code == 200
    assert "<script>alert" not in answer.text


def test_an_account_without_oauth_has_no_pages(settings: Settings, slack: SlackServer) -> None:
    with opened(with_app(settings, slack.api)) as door:
        wait_for(lambda: ready(door))

        assert door.http.get("/slack/acme/install").status_code == 404
        assert door.http.get("/slack/nobody/install").status_code == 404
        assert door.http.get("/slack/acme/oauth_redirect?code=1").status_code == 404


def test_each_workspace_is_answered_with_its_own_token(door: Door, app: Settings, slack: SlackServer) -> None:
    install(door, slack)
    install(door, slack, "code-2", access_token="xoxb-other", team={"id": "T2", "name": "Other"})  # of the test
    other = delivery()
    there = msgspec.structs.replace(other.reply.address, channel=f"acme/T2/{CHANNEL}")
    reply = msgspec.structs.replace(other.reply, address=there)
    send(app)
    use(app, lambda platform: platform.send(msgspec.structs.replace(other, reply=reply)))

    assert used(slack) == ["xoxb-first", "xoxb-other"]


@pytest.mark.parametrize(
    "fields",
    [{"type": "app_uninstalled"}, {"type": "tokens_revoked", "tokens": {"oauth": [], "bot": ["UBOT"]}}],
)
def test_an_uninstalled_app_forgets_its_tokens(
    door: Door, app: Settings, slack: SlackServer, redis_client: redis.Redis, fields: dict[str, Any]
) -> None:
    install(door, slack)

    assert post(door, event("Ev1", **fields)).status_code == 200
    assert list(redis_client.scan_iter(match="rm:slack:installed:*")) == []
    with pytest.raises(DeliveryRefused, match="not installed"):
        send(app)


def test_an_uninstallation_that_is_told_again_takes_no_newer_installation(door: Door, app: Settings, slack: SlackServer) -> None:
    install(door, slack)
    gone = event("Ev1", type="app_uninstalled")
    post(door, gone)
    install(door, slack, "code-2", access_token="xoxb-anew")  # of the test

    assert post(door, gone, **{"x-slack-retry-num": "3"}).status_code == 200
    send(app)
    assert used(slack) == ["xoxb-anew"]
    post(door, event("Ev2", type="app_uninstalled"))
    with pytest.raises(DeliveryRefused, match="not installed"):
        send(app)


def test_the_end_of_a_persons_token_is_not_that_of_the_app(door: Door, app: Settings, slack: SlackServer) -> None:
    install(door, slack)

    assert post(door, event("Ev1", type="tokens_revoked", tokens={"oauth": ["UANNA"], "bot": []})).status_code == 200
    assert send(app).platform_id


def test_a_token_that_slack_calls_revoked_is_dropped(app: Settings, slack: SlackServer, redis_client: redis.Redis) -> None:
    keep(app)
    slack.refused["xoxb-first"] = "token_revoked"
    with pytest.raises(DeliveryRefused, match="token_revoked"):
        send(app)

    assert list(redis_client.scan_iter(match="rm:slack:installed:*")) == []


def test_a_token_near_its_end_is_refreshed_once_and_kept(app: Settings, slack: SlackServer) -> None:
    keep(app, bot_refresh_token="xoxe-1", bot_token_expires_at=int(time.time()) + 60)  # of the test
    slack.grants["xoxe-1"] = dict(ROTATED)

    async def both(platform: Slack) -> None:
        await asyncio.gather(*(platform.send(delivery()) for _ in range(4)))

    use(app, both)
    send(app)

    assert len(slack.to("/oauth.v2.access")) == 1
    assert set(used(slack)) <= {"xoxb-first", "xoxb-second"}
    assert used(slack)[-1] == "xoxb-second"


def test_a_token_that_cannot_be_refreshed_serves_while_it_lives(app: Settings, slack: SlackServer) -> None:
    keep(app, bot_refresh_token="xoxe-1", bot_token_expires_at=int(time.time()) + 60)  # of the test
    slack.go_wrong("/oauth.v2.access", Fault(status=500, body="<html>"), Fault(drop=True))

    assert send(app).platform_id
    assert send(app).platform_id
    keep(app, bot_refresh_token="xoxe-1", bot_token_expires_at=int(time.time()) - 1)  # of the test
    slack.go_wrong("/oauth.v2.access", Fault(drop=True))
    with pytest.raises(RetryLater):
        send(app)


def test_an_installation_sealed_with_a_key_that_is_gone_waits_for_it(app: Settings, slack: SlackServer) -> None:
    keep(app)
    with pytest.raises(RetryLater, match="SEALING_KEYS"):
        send(dataclasses.replace(app, sealing_keys=("another key of tests",)))

    assert send(dataclasses.replace(app, sealing_keys=("another key of tests", *KEYS))).platform_id


def test_an_installation_of_a_whole_organisation_is_found_by_it(app: Settings, slack: SlackServer) -> None:
    keep(app, enterprise_id="E1", team_id=None, is_enterprise_install=True, bot_token="xoxb-whole")  # of the test
    what = delivery()
    there = msgspec.structs.replace(what.reply.address, channel=f"acme/E1/{CHANNEL}")
    reply = msgspec.structs.replace(what.reply, address=there)
    use(app, lambda platform: platform.send(msgspec.structs.replace(what, reply=reply)))

    assert used(slack) == ["xoxb-whole"]


def test_a_message_of_a_workspace_is_taken_before_anything_is_asked(door: Door, slack: SlackServer) -> None:
    assert post(door, direct()).status_code == 200
    assert slack.calls == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"bot_token": ""}, "REPLYMILL_SLACK_ACME_BOT_TOKEN"),
        ({**OAUTH, "client_secret": ""}, "REPLYMILL_SLACK_ACME_CLIENT_SECRET"),
        (OAUTH, "REPLYMILL_SEALING_KEYS"),
    ],
)
def test_settings_by_halves_are_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Slack(with_app(Settings(), **fields), None)


# -- the manifest --------------------------------------------------------------------------------------------------------------


def account(**fields: Any) -> SlackApp:
    return SlackApp(**{"name": "acme", "tenant": "acme", "signing_secret": SECRET, "bot_token": BOT, **fields})


def test_the_manifest_holds_every_scope_and_event_that_is_used() -> None:
    found = yaml.safe_load(manifest(account(), url="https://bot.example"))
    address = "https://bot.example/slack/acme/events"

    assert found["oauth_config"]["scopes"]["bot"] == list(SCOPES)
    assert found["settings"]["event_subscriptions"] == {"request_url": address, "bot_events": list(EVENTS)}
    assert found["settings"]["interactivity"] == {"is_enabled": True, "request_url": address}
    assert found["features"]["slash_commands"][0]["command"] == "/ask"
    assert found["features"]["slash_commands"][0]["url"] == address
    assert found["features"]["app_home"]["messages_tab_enabled"] is True
    assert found["settings"]["socket_mode_enabled"] is False
    assert {"app_mention", "message.im", "app_uninstalled", "tokens_revoked", "agent_session_stopped"} <= set(EVENTS)
    assert {"app_mentions:read", "im:history", "channels:history", "chat:write", "commands"} <= set(SCOPES)


def test_the_manifest_of_socket_mode_names_no_address_and_that_of_oauth_its_redirect() -> None:
    sockets = yaml.safe_load(manifest(account(app_token="xapp-1")))  # of the test
    oauth = yaml.safe_load(manifest(account(**OAUTH)))

    assert sockets["settings"]["socket_mode_enabled"] is True
    assert "request_url" not in str(sockets)
    assert oauth["oauth_config"]["redirect_urls"] == [OAUTH["redirect_url"]]
    assert oauth["settings"]["event_subscriptions"]["request_url"] == "https://bot.example/slack/acme/events"
    assert oauth["settings"]["token_rotation_enabled"] is True


def test_a_title_that_yaml_would_misread_is_quoted() -> None:
    found = yaml.safe_load(manifest(account(), title='no: "yes" # ö'))

    assert found["display_information"]["name"] == 'no: "yes" # ö'
