"""The base of the simulated platforms: it keeps what was asked, serves it, and goes wrong as it is told."""

import time
from collections.abc import Iterator, Sequence

import httpx
import pytest
from aiohttp import web

from connectors.simulators.server import Fault, Simulator


class Shelf(Simulator):
    """Keeps what is put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.things: list[object] = []

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.post("/things", self._add), web.get("/things", self._list)]

    async def _add(self, request: web.Request) -> web.Response:
        self.things.append(self.calls[-1].body)
        return web.json_response({"id": len(self.things)}, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(self.things)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with Shelf() as shelf:
        yield shelf


@pytest.fixture
def client(shelf: Shelf) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shelf.url, trust_env=False, timeout=5) as client:
        yield client


def test_what_was_asked_is_kept_in_order(shelf: Shelf, client: httpx.Client) -> None:
    before = time.monotonic()
    added = client.post("/things?at=1", json={"a": 1}, headers={"X-Token": "t"})
    client.get("/elsewhere")

    first, second = shelf.calls
    assert (added.status_code, added.json()) == (201, {"id": 1})
    assert (first.method, first.path, first.body, first.raw, first.query) == ("POST", "/things", {"a": 1}, b'{"a":1}', {"at": "1"})
    assert first.headers["x-token"] == "t"
    assert before <= first.at <= second.at <= time.monotonic()
    assert (shelf.to("/things"), shelf.to("where")) == ([first], [second])


def test_bodies_of_every_kind_are_read(shelf: Shelf, client: httpx.Client) -> None:
    client.post("/things", data={"a": "1", "b": "ü"})
    client.post("/things", data={"a": "1"}, files={"f": ("name.txt", b"text")})
    client.post("/things", content=b"plain")
    client.post("/things", content=b'{"broken', headers={"content-type": "application/json"})
    client.post("/things", content=b"", headers={"content-type": "application/json"})

    form, parts, plain, broken, empty = (call.body for call in shelf.calls)
    assert form == {"a": "1", "b": "ü"}
    assert parts == {"a": "1", "f": b"text"}
    assert (plain, broken, empty) == (b"plain", b'{"broken', {})


def test_faults_come_in_order_and_then_it_serves_again(shelf: Shelf, client: httpx.Client) -> None:
    shelf.go_wrong("/things", Fault(status=429, headers={"retry-after": "7"}), None, Fault(status=500, body={"error": "x"}))
    answers = [client.post("/things", json={}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [429, 201, 500, 201]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[2].json() == {"error": "x"}
    assert (len(shelf.things), len(shelf.calls)) == (2, 4)


def test_a_fault_concerns_its_path_alone(shelf: Shelf, client: httpx.Client) -> None:
    shelf.go_wrong("/others", Fault(status=500))

    assert client.get("/things").status_code == 200
    assert client.get("/others").status_code == 500


def test_a_fault_can_come_after_the_effect(shelf: Shelf, client: httpx.Client) -> None:
    shelf.go_wrong("/things", Fault(status=500, after_effect=True), Fault(status=500))

    assert [client.post("/things", json={"n": n}).status_code for n in range(2)] == [500, 500]
    assert shelf.things == [{"n": 0}]


@pytest.mark.parametrize(("after_effect", "things"), [(False, []), (True, [{}])])
def test_a_connection_can_be_dropped_before_and_after_the_effect(
    shelf: Shelf, client: httpx.Client, after_effect: bool, things: list[object]
) -> None:
    shelf.go_wrong("/things", Fault(drop=True, after_effect=after_effect))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.post("/things", json={})

    assert shelf.things == things
    assert client.get("/things").json() == things


def test_a_connection_can_be_dropped_in_the_midst_of_an_answer(shelf: Shelf, client: httpx.Client) -> None:
    shelf.go_wrong("/things", Fault(cut=True, status=429, headers={"retry-after": "7"}))
    with client.stream("POST", "/things", json={}) as answer:
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            answer.read()

    assert shelf.things == []


def test_an_answer_can_be_late(shelf: Shelf, client: httpx.Client) -> None:
    shelf.go_wrong("/things", Fault(delay=0.3), Fault(delay=30))
    began = time.monotonic()

    assert client.post("/things", json={}).status_code == 201
    assert time.monotonic() - began >= 0.3
    with pytest.raises(httpx.ReadTimeout):
        client.post("/things", json={}, timeout=0.2)


def test_it_answers_with_pages_as_it_is_told(shelf: Shelf, client: httpx.Client) -> None:
    page = Fault(status=200, headers={"content-type": "text/html; charset=utf-8"}, body="<html>ü</html>")
    shelf.go_wrong("/things", page, Fault(status=503, headers={"content-type": "application/problem+json"}, body={"a": 1}))
    first, second = client.get("/things"), client.get("/things")

    assert (first.headers["content-type"], first.text) == ("text/html; charset=utf-8", "<html>ü</html>")
    assert (second.headers["content-type"], second.json()) == ("application/problem+json", {"a": 1})


def test_its_port_is_closed_when_it_has_ended() -> None:
    with Shelf() as shelf:
        url = shelf.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
