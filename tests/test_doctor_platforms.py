"""`doctor` at the platforms: signed requests to a running service, and calls to simulated platforms that say who we are."""

import dataclasses
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
import redis
from aiohttp import web

from connectors.contract import Check, Checkable, Probing
from connectors.freshchat import Freshchat
from connectors.signatures import secret_bytes, sign
from connectors.simulators import freshchat, intercom
from connectors.simulators.freshchat import FreshchatSimulator
from connectors.simulators.intercom import IntercomSimulator
from connectors.simulators.server import Fault
from connectors.webhook import Webhook
from engine.accounts import FreshchatBot, IntercomApp
from engine.endpoints import conditions
from engine.settings import Settings
from tests.conftest import wait_for
from tests.doors import OTHER_SECRET, SECRET, opened, ready, with_endpoint
from workers.doctor_platforms import look
from workers.embedded import free_port

pytestmark = pytest.mark.one_redis

CLIENT_SECRET, TOKEN = "a-client-secret-of-the-tests", "an-access-token-of-the-tests"


class Workspace(IntercomSimulator):
    """Intercom that says who asks, and who its admins are."""

    def routes(self) -> list[web.RouteDef]:
        return [*super().routes(), web.get("/me", self._me), web.get("/admins/{id}", self._admin)]

    async def _me(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"type": "error.list", "errors": [{"code": "unauthorized"}]}, status=401)
        app = {"type": "app", "id_code": "a86dr8yl", "name": "Acme shop"}
        return web.json_response({"type": "admin", "id": intercom.TEAMMATE, "name": "Ann", "app": app})

    async def _admin(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != intercom.BOT:
            return web.json_response({"type": "error.list", "errors": [{"code": "admin_not_found"}]}, status=404)
        return web.json_response({"type": "admin", "id": intercom.BOT, "name": "Acme Assistant"})


class Account(FreshchatSimulator):
    """Freshchat that shows its agents."""

    def routes(self) -> list[web.RouteDef]:
        return [*super().routes(), web.get("/v2/agents/{id}", self._agent)]

    async def _agent(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"success": False, "errorMessage": "Authentication failed"}, status=401)
        if request.match_info["id"] != freshchat.BOT:
            return web.json_response({"code": 404, "status": "NOT_FOUND"}, status=404)
        return web.json_response({"id": freshchat.BOT, "first_name": "Acme", "last_name": "Assistant", "email": "bot@acme.example"})


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with Workspace(client_secret=CLIENT_SECRET, token=TOKEN) as running:
        yield running


@pytest.fixture
def account() -> Iterator[Account]:
    with Account(token=TOKEN) as running:
        yield running


def with_intercom(settings: Settings, url: str, **fields: Any) -> Settings:
    known = {"base_url": url, "access_token": TOKEN, "client_secret": CLIENT_SECRET, "admin_id": intercom.BOT}
    app = IntercomApp(**{"name": "acme", "tenant": "acme", **known, **fields})
    return dataclasses.replace(settings, port=free_port(), accounts={**settings.accounts, "intercom": {"acme": app}})


def with_freshchat(settings: Settings, at: FreshchatSimulator, **fields: Any) -> Settings:
    known = {"base_url": at.url, "token": TOKEN, "public_key": at.public_key, "actor_id": freshchat.BOT}
    bot = FreshchatBot(**{"name": "acme", "tenant": "acme", **known, **fields})
    return dataclasses.replace(settings, port=free_port(), accounts={**settings.accounts, "freshchat": {"acme": bot}})


def looked(settings: Settings) -> dict[str, Check]:
    """The checks by what they are of; none says what must stay secret."""
    found = look(settings)
    said = repr(found)
    assert not [secret for secret in (TOKEN, CLIENT_SECRET, SECRET, OTHER_SECRET) if secret in said]
    return {check.what: check for check in found}


def started(client: redis.Redis) -> list[bytes]:
    """What is in the lanes, but for the note that a message was taken back, which ends by itself."""
    return [key for key in client.keys("rm:{*") if b":x:" not in key or client.ttl(key) < 0]


# -- the running service -----------------------------------------------------------------------------------------------------------


def test_where_all_is_well_every_check_says_so(
    settings: Settings, redis_client: redis.Redis, workspace: Workspace, account: Account
) -> None:
    settings = with_endpoint(with_freshchat(with_intercom(settings, workspace.url), account))
    with opened(settings) as door:
        wait_for(lambda: ready(door))
        found = looked(settings)

    assert {what for what, check in found.items() if check.ok} == {
        "/webhooks/shop",
        "/intercom/acme",
        "intercom acme",
        "intercom acme admin",
        "freshchat acme",
    }
    assert len(found) == 5
    assert "Acme shop" in found["intercom acme"].found
    assert "Acme Assistant" in found["intercom acme admin"].found
    assert "Acme Assistant" in found["freshchat acme"].found
    assert started(redis_client) == []


def test_a_service_that_does_not_run_is_told_from_a_platform_that_answers(settings: Settings, workspace: Workspace) -> None:
    found = looked(with_endpoint(with_intercom(settings, workspace.url)))

    assert "replymill up" in found["/webhooks/shop"].advice
    assert not found["/webhooks/shop"].ok
    assert not found["/intercom/acme"].ok
    assert found["intercom acme"].ok


def test_a_service_with_another_secret_is_told_by_its_401(settings: Settings, workspace: Workspace) -> None:
    running = with_endpoint(
        with_intercom(settings, workspace.url, client_secret="the secret of yesterday"), secrets=(OTHER_SECRET,)
    )
    asking = dataclasses.replace(with_endpoint(with_intercom(settings, workspace.url)), port=running.port)
    with opened(running) as door:
        wait_for(lambda: ready(door))
        found = looked(asking)

    for path in ("/webhooks/shop", "/intercom/acme"):
        assert (found[path].ok, found[path].found) == (False, "answered 401")
        assert "another secret" in found[path].advice


def test_an_account_that_is_refused_when_it_is_made_is_one_clear_check(settings: Settings, account: Account) -> None:
    (check,) = look(with_freshchat(settings, account, public_key="no key"))

    assert (check.what, check.ok, check.found) == ("platforms", False, "refused")
    assert "REPLYMILL_FRESHCHAT_ACME_PUBLIC_KEY" in check.advice


@pytest.mark.parametrize(
    "fields",
    [
        {"signature_header": "x-signature", "timestamp_header": "x-time", "id_header": "x-id"},
        {"only": conditions("event=message_created"), "text_field": ("body",)},
    ],
)
def test_a_standard_endpoint_with_names_of_its_own_is_tried_too(
    settings: Settings, redis_client: redis.Redis, fields: dict[str, Any]
) -> None:
    settings = with_endpoint(settings, **fields)
    with opened(settings) as door:
        wait_for(lambda: ready(door))
        found = looked(settings)

    assert found["/webhooks/shop"].ok
    assert started(redis_client) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"scheme": "hmac", "secrets": ("a secret of sixteen or more",), "signature_header": "x-signature"},
        {"text_field": ("body",)},
    ],
)
def test_an_endpoint_where_a_request_of_ours_would_start_something_is_not_tried(fields: dict[str, Any]) -> None:
    assert Webhook(with_endpoint(Settings(), **fields)).probes() == {}


def test_a_probe_of_a_webhook_is_signed_by_standard_webhooks() -> None:
    platform = Webhook(with_endpoint(Settings()))
    ((path, request),) = platform.probes().items()
    moment = int(request.headers["webhook-timestamp"])
    again = sign(secret_bytes(SECRET), request.headers["webhook-id"], timestamp=moment, body=request.body)

    assert isinstance(platform, Probing)
    assert path == "/webhooks/shop"
    assert request.headers["webhook-signature"] == again["webhook-signature"]
    assert abs(moment - time.time()) < 60


def test_freshchat_alone_can_sign_for_freshchat(account: Account) -> None:
    platform = Freshchat(with_freshchat(Settings(), account), None)

    assert isinstance(platform, Checkable)
    assert not isinstance(platform, Probing)


# -- the platforms -----------------------------------------------------------------------------------------------------------------


def test_a_token_that_is_refused_names_its_variable(settings: Settings, workspace: Workspace, account: Account) -> None:
    workspace.go_wrong("/me", Fault(status=401, body={"errors": [{"message": f"unknown token {TOKEN}"}]}))
    account.go_wrong(freshchat.BOT, Fault(status=401, body={"errorMessage": f"unknown token {TOKEN}"}))
    found = looked(with_freshchat(with_intercom(settings, workspace.url), account))

    assert "REPLYMILL_INTERCOM_ACME_ACCESS_TOKEN" in found["intercom acme"].advice
    assert "REPLYMILL_FRESHCHAT_ACME_TOKEN" in found["freshchat acme"].advice
    assert "answered 401" in found["intercom acme"].found
    # Who is nobody need not be asked for more.
    assert "intercom acme admin" not in found


def test_an_id_of_nobody_names_its_variable(settings: Settings, workspace: Workspace, account: Account) -> None:
    found = looked(with_freshchat(with_intercom(settings, workspace.url, admin_id="1/../me"), account, actor_id="nobody"))

    assert found["intercom acme"].ok
    assert "REPLYMILL_INTERCOM_ACME_ADMIN_ID" in found["intercom acme admin"].advice
    assert "REPLYMILL_FRESHCHAT_ACME_ACTOR_ID" in found["freshchat acme"].advice


def test_missing_rights_are_told_from_a_wrong_token(settings: Settings, workspace: Workspace, account: Account) -> None:
    workspace.go_wrong(intercom.BOT, Fault(status=403))
    account.go_wrong(freshchat.BOT, Fault(status=403))
    found = looked(with_freshchat(with_intercom(settings, workspace.url), account))

    assert found["intercom acme"].ok
    assert "right to read admins" in found["intercom acme admin"].advice
    assert "role" in found["freshchat acme"].advice


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=429, headers={"retry-after": "30"}),
        Fault(status=302, headers={"location": "https://elsewhere.example/"}),
        Fault(status=200, headers={"content-type": "text/html"}, body="<html>Log in</html>"),
        Fault(status=200, body={"something": "else"}),
        Fault(status=200, body=[1]),
        Fault(drop=True),
        Fault(cut=True),
    ],
)
def test_whatever_a_platform_answers_is_a_check_with_advice(
    settings: Settings, workspace: Workspace, account: Account, fault: Fault
) -> None:
    workspace.go_wrong("/me", fault)
    account.go_wrong(freshchat.BOT, fault)
    found = looked(with_freshchat(with_intercom(settings, workspace.url), account))

    for what, variable in (("intercom acme", "INTERCOM"), ("freshchat acme", "FRESHCHAT")):
        assert not found[what].ok
        assert f"REPLYMILL_{variable}_ACME_BASE_URL" in found[what].advice


def test_a_platform_that_cannot_be_reached_is_a_check_too(settings: Settings) -> None:
    found = looked(with_intercom(settings, "http://127.0.0.1:9"))

    assert "cannot be reached" in found["intercom acme"].found


# -- the clocks --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-3600, 120])
def test_a_clock_that_is_far_from_the_platforms_is_told(
    settings: Settings, workspace: Workspace, account: Account, ahead: int
) -> None:
    date = {"date": formatdate(time.time() + ahead, usegmt=True)}
    workspace.go_wrong("/me", Fault(status=401, headers=date))
    account.go_wrong(freshchat.BOT, Fault(status=401, headers=date))
    found = looked(with_freshchat(with_intercom(settings, workspace.url), account))

    for what in ("intercom acme clock", "freshchat acme clock"):
        assert not found[what].ok
        assert f"{ahead:+d}"[:2] in found[what].found
        assert "NTP" in found[what].advice


@pytest.mark.parametrize("headers", [{"date": "yesterday"}, {"date": ""}, {"date": formatdate(0, usegmt=True), "age": "9"}])
def test_a_date_that_says_nothing_is_no_clock(settings: Settings, account: Account, headers: dict[str, str]) -> None:
    account.go_wrong(freshchat.BOT, Fault(status=401, headers=headers))

    assert "freshchat acme clock" not in looked(with_freshchat(settings, account))
