"""Calls to a platform's API: what is answered, and what every way of going wrong means for a delivery."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from aiohttp import web

from connectors import api
from connectors.api import Api
from connectors.simulators.server import Fault, Simulator
from engine.errors import DeliveryError, DeliveryRefused, RetryLater, Unclear

TOKEN = "a-secret-token-of-the-tests"
HTML = {"content-type": "text/html; charset=utf-8"}


class Board(Simulator):
    """Takes notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Any] = []

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post("/v1/notes", self._post), web.get("/v1/notes", self._list), web.get("/v1/long", self._long)]

    async def _post(self, request: web.Request) -> web.Response:
        self.notes.append(self.calls[-1].body)
        return web.json_response({"id": f"n{len(self.notes)}"})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(self.notes)

    async def _long(self, request: web.Request) -> web.Response:
        return web.json_response(["x" * 1024] * 9000)


@pytest.fixture
def board() -> Iterator[Board]:
    with Board() as board:
        yield board


def asked(url: str, *calls: tuple[Any, ...], timeout: float | None = None) -> list[Any]:
    """What each call gives, one after another: an answer, or the error it raised."""

    async def asking() -> list[Any]:
        client = Api(
            "Board", f"{url}/v1/", headers={"Authorization": f"Bearer {TOKEN}", "accept": "application/json"}, connections=2
        )
        found: list[Any] = []
        try:
            for call in calls:
                try:
                    async with asyncio.timeout(timeout):
                        found.append(await client.call(*call))
                except (DeliveryError, TimeoutError) as error:
                    found.append(error)
        finally:
            await client.close()
        return found

    return asyncio.run(asking())


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"x-ratelimit-reset": "{now+20}"}, 18, 21),
        ({"x-ratelimit-reset": "{now-20}"}, 1, 1),
        ({"x-ratelimit-reset": "{now+99999}"}, 3600, 3600),
        ({"x-ratelimit-reset": "{now+20}", "retry-after": "7"}, 7, 7),
        ({"x-ratelimit-reset": "20"}, 0, 0),
        ({"x-ratelimit-reset": "soon"}, 0, 0),
        ({"x-ratelimit-reset": ""}, 0, 0),
    ],
)
def test_the_time_at_which_a_limit_ends_is_kept_where_no_pause_is_named(
    board: Board, headers: dict[str, str], least: float, most: float
) -> None:
    now = int(time.time())
    times = {"{now+20}": now + 20, "{now-20}": now - 20, "{now+99999}": now + 99_999}
    found = {name: str(times.get(text, text)) for name, text in headers.items()}
    board.go_wrong("/notes", Fault(status=429, headers=found))
    (raised,) = asked(board.url, ("GET", "/notes"))

    assert isinstance(raised, RetryLater)
    assert least <= raised.after <= most


def test_a_call_bears_the_headers_and_gives_what_is_answered(board: Board) -> None:
    answers = asked(board.url, ("POST", "/notes", {"text": "ü"}), ("GET", "/notes"))

    assert answers == [{"id": "n1"}, [{"text": "ü"}]]
    assert {call.headers["authorization"] for call in board.calls} == {f"Bearer {TOKEN}"}
    assert (board.calls[0].headers["content-type"], board.calls[1].raw) == ("application/json", b"")


PASSING = [408, 409, 423, 425, 429, 503]


@pytest.mark.parametrize("status", PASSING)
@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "-1"}, 0),
        ({"retry-after": "99999"}, 3600),
    ],
)
def test_a_refusal_that_passes_is_tried_again_when_the_platform_says(
    board: Board, status: int, headers: dict[str, str], after: float
) -> None:
    board.go_wrong("/notes", Fault(status=status, headers=headers | HTML, body="<html>slow down</html>"))
    (raised,) = asked(board.url, ("POST", "/notes", {}))

    assert isinstance(raised, RetryLater)
    assert (str(raised), raised.after) == (f"Board answered {status}", after)
    assert board.notes == []


@pytest.mark.parametrize("status", [500, 502, 504, 599])
@pytest.mark.parametrize("after_effect", [False, True])
def test_a_failure_of_the_platform_leaves_it_unclear(board: Board, status: int, after_effect: bool) -> None:
    board.go_wrong("/notes", Fault(status=status, body="<html>insides of it</html>", after_effect=after_effect))
    (raised,) = asked(board.url, ("POST", "/notes", {}))

    assert isinstance(raised, Unclear)
    assert str(raised) == f"Board answered {status}"


@pytest.mark.parametrize("status", [300, 301, 307, 400, 401, 403, 404, 410, 422])
def test_any_other_refusal_is_for_ever(board: Board, status: int) -> None:
    fault = Fault(status=status, headers={"location": f"{board.url}/v1/notes"}, body={"error": "it\nis\n" + "long " * 99})
    board.go_wrong("/notes", fault)
    (raised,) = asked(board.url, ("POST", "/notes", {}))

    assert isinstance(raised, DeliveryRefused)
    assert str(raised).startswith(f"Board answered {status}: ")
    assert "long long" in str(raised)
    assert len(str(raised)) < 300
    assert str(raised).isprintable()
    assert len(board.calls) == 1


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_dropped_connection_leaves_it_unclear(board: Board, after_effect: bool) -> None:
    board.go_wrong("/notes", Fault(drop=True, after_effect=after_effect))
    raised, answered = asked(board.url, ("POST", "/notes", {}), ("POST", "/notes", {}))

    assert isinstance(raised, Unclear)
    assert "the connection to Board broke" in str(raised)
    assert answered == {"id": f"n{1 + after_effect}"}
    assert len(board.calls) == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(cut=True, status=200), Unclear),
        (Fault(cut=True, status=500), Unclear),
        (Fault(cut=True, status=429, headers={"retry-after": "7"}), RetryLater),
        (Fault(cut=True, status=403), DeliveryRefused),
    ],
)
def test_a_status_stands_even_if_its_answer_breaks_off(board: Board, fault: Fault, kind: type[Exception]) -> None:
    board.go_wrong("/notes", fault)
    (raised,) = asked(board.url, ("POST", "/notes", {}))

    assert type(raised) is kind
    assert getattr(raised, "after", 7) == 7


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(drop=True), Fault(cut=True), Fault(status=200, headers=HTML, body="<html>log in</html>")]
)
def test_what_only_reads_is_never_unclear(board: Board, fault: Fault) -> None:
    board.go_wrong("/notes", fault)
    raised, answered = asked(board.url, ("GET", "/notes"), ("GET", "/notes"))

    assert isinstance(raised, RetryLater)
    assert raised.after == 0
    assert answered == []


def test_a_page_in_place_of_an_answer_is_no_success(board: Board) -> None:
    board.go_wrong("/notes", Fault(status=200, headers=HTML, body="<html>log in</html>"))
    (raised,) = asked(board.url, ("POST", "/notes", {}))

    assert isinstance(raised, Unclear)
    assert "a page of HTML: check its address" in str(raised)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=200, body="OK"),
        Fault(status=200, body=""),
        Fault(status=204),
        Fault(status=200, headers=HTML, body=""),
        Fault(status=200, body="null"),
        Fault(status=200, body="17"),
        Fault(status=200, body='{"broken'),
        Fault(status=200, body="[" * 100_000),
    ],
)
def test_a_success_without_an_object_is_an_empty_one(board: Board, fault: Fault) -> None:
    board.go_wrong("/notes", fault)

    assert asked(board.url, ("POST", "/notes", {})) == [{}]


def test_nobody_there_is_tried_again(free_port: Callable[[], int]) -> None:
    (raised,) = asked(f"http://127.0.0.1:{free_port()}", ("POST", "/notes", {}))

    assert isinstance(raised, RetryLater)
    assert str(raised) == "Board cannot be reached (ConnectError)"


def test_a_slow_answer_ends_with_the_time_of_the_delivery(board: Board) -> None:
    board.go_wrong("/notes", Fault(delay=30), None)
    raised, answered = asked(board.url, ("POST", "/notes", {}), ("POST", "/notes", {}), timeout=0.5)

    assert isinstance(raised, TimeoutError)
    assert answered == {"id": "n1"}


def test_an_answer_without_end_is_given_up(board: Board) -> None:
    (raised,) = asked(board.url, ("GET", "/long"))

    assert isinstance(raised, RetryLater)
    assert f"more than {api.MOST_ANSWER} bytes" in str(raised)


def test_what_cannot_be_asked_is_refused(board: Board) -> None:
    (raised,) = asked(board.url, ("POST", "/notes/\x00", {}))

    assert isinstance(raised, DeliveryRefused)
    assert board.calls == []


def test_a_platform_that_repeats_our_secret_does_not_make_us_tell_it(board: Board) -> None:
    board.go_wrong("/notes", Fault(status=401, body=f"the token {TOKEN} is unknown"))
    (raised,) = asked(board.url, ("POST", "/notes", {}))

    assert str(raised) == "Board answered 401: 'the token (hidden) is unknown'"
