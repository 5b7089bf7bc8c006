"""Files of messages are fetched from where they may lie, and a token goes to its own platform alone."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.downloads import MOST_REDIRECTS, Home, download
from connectors.simulators.chatwoot import SimulatedChatwoot
from connectors.simulators.server import Fault, Simulator
from engine.errors import RetryLater, Unreadable

TOKEN = ("authorization", "Bearer xoxb-of-the-tests")
CONTENT = b"OggS" + bytes(range(256)) * 40


@pytest.fixture
def desk() -> Iterator[Simulator]:
    with SimulatedChatwoot("token", "secret") as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[Simulator]:
    with SimulatedChatwoot("token", "secret") as server:
        yield server


def home(server: Simulator, **how: Any) -> Home:
    return Home(platform="Acme", base_url=server.url, headers=dict([TOKEN]), **how)


def fetch(at: Home, address: str, *, most: int = 100_000) -> bytes:
    return asyncio.run(download(at, address, most=most))


def tokens(server: Simulator) -> list[str | None]:
    """What each request bore."""
    return [call.headers.get(TOKEN[0]) for call in server.calls]


def test_a_file_of_the_platform_comes_with_the_token_and_by_its_path_too(desk: Simulator) -> None:
    address = desk.keep("/files/a.ogg", CONTENT, opened_by=TOKEN)

    assert fetch(home(desk), address) == fetch(home(desk), "/files/a.ogg") == CONTENT


def test_the_token_stays_behind_where_the_file_is_kept_elsewhere(desk: Simulator, elsewhere: Simulator) -> None:
    stored = elsewhere.keep("/bucket/a.ogg", CONTENT)
    address = desk.keep("/files/a.ogg", b"", opened_by=TOKEN, moved_to=stored)

    assert fetch(home(desk, hosts=(f"127.0.0.1:{elsewhere.port}",)), address) == CONTENT
    assert (tokens(desk), tokens(elsewhere)) == ([TOKEN[1]], [None])


def test_a_token_is_not_sent_again_after_a_redirect_even_to_its_own_platform(desk: Simulator) -> None:
    desk.keep("/stored/a.ogg", CONTENT)
    address = desk.keep("/files/a.ogg", b"", moved_to="/stored/a.ogg")

    assert fetch(home(desk), address) == CONTENT
    assert tokens(desk) == [TOKEN[1], None]


def test_redirects_come_to_an_end(desk: Simulator) -> None:
    address = desk.keep("/files/a.ogg", b"", moved_to="/files/a.ogg")

    with pytest.raises(Unreadable, match="redirects"):
        fetch(home(desk), address)
    assert len(desk.calls) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}/a.ogg",
        "https://127.0.0.1/a.ogg",
        "https://localhost/a.ogg",
        "https://[::1]/a.ogg",
        "https://[::ffff:127.0.0.1]/a.ogg",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/a.ogg",
        "https://2130706433/a.ogg",
        "https://0x7f.1/a.ogg",
        "https://100.64.0.1/a.ogg",
        "https://203.0.113.7:8443/a.ogg",
        "http://203.0.113.7/a.ogg",
        "https://ann:secret@203.0.113.7/a.ogg",
        "ftp://203.0.113.7/a.ogg",
        "file:///etc/passwd",
        "data:text/plain,hello",
        "https:///a.ogg",
        "https://[/a.ogg",
        "https://exa mple.com\n/a.ogg",
    ],
)
@pytest.mark.parametrize("moved", [False, True], ids=["said", "moved"])
def test_what_leads_inside_or_nowhere_is_not_fetched(desk: Simulator, elsewhere: Simulator, address: str, moved: bool) -> None:
    elsewhere.keep("/a.ogg", CONTENT)
    address = address.format(port=elsewhere.port)
    if moved and "\n" not in address:
        address = desk.keep("/files/a.ogg", b"", moved_to=address)

    with pytest.raises((Unreadable, RetryLater)) as caught:
        fetch(home(desk), address)
    assert TOKEN[1] not in str(caught.value)
    assert elsewhere.calls == []


def test_a_file_that_lies_with_the_platform_alone_is_fetched_from_nowhere_else(desk: Simulator, elsewhere: Simulator) -> None:
    stored = elsewhere.keep("/a.ogg", CONTENT)
    moved = desk.keep("/files/moved.ogg", b"", moved_to="/files/a.ogg")
    alone = home(desk, alone=True, hosts=(f"127.0.0.1:{elsewhere.port}",))

    for address in (stored, moved, "https://files.example.com/a.ogg"):
        with pytest.raises(Unreadable):
            fetch(alone, address)
    assert elsewhere.calls == []
    assert len(desk.calls) == 1


@pytest.mark.parametrize(
    ("address", "owned"),
    [
        ("https://slack.com/a", True),
        ("https://slack.com:443/a", True),
        ("https://files.slack.com/files-pri/T1-F1/download/a.ogg", True),
        ("http://slack.com/a", False),
        ("http://files.slack.com/a", False),
        ("https://files.slack.com:8443/a", False),
        ("https://slack.com.evil.example/a", False),
        ("https://evilslack.com/a", False),
        ("https://evil.example/slack.com", False),
        ("https://slack.com@evil.example/a", False),
        ("https://evil.example#.slack.com", False),
    ],
)
def test_slack_owns_its_host_and_what_is_below_it(address: str, owned: bool) -> None:
    slack = Home(platform="Slack", base_url="https://slack.com/api/", alone=True)

    assert slack.owns(httpx.URL(address)) is owned


@given(host=st.from_regex(r"[a-w][a-z0-9]{0,20}(\.[a-w][a-z0-9]{0,20}){0,3}", fullmatch=True), port=st.integers(1, 65535))
def test_no_other_host_or_port_owns_a_token(host: str, port: int) -> None:
    shop = Home(platform="Acme", base_url="https://desk.example.com")

    assert shop.owns(httpx.URL(f"https://{host}:{port}/a")) is (host == "desk.example.com" and port == 443)


@pytest.mark.parametrize("said", [True, False], ids=["told", "found"])
def test_a_file_that_is_too_large_is_not_read_to_its_end(desk: Simulator, said: bool) -> None:
    address = desk.keep("/files/a.ogg", CONTENT)
    if not said:
        desk.go_wrong("/a.ogg", Fault(status=200, headers={"transfer-encoding": "chunked"}, body="x" * 20_000))

    with pytest.raises(Unreadable, match="larger than 9999 bytes"):
        fetch(home(desk), address, most=9_999)


def test_a_file_of_the_very_bound_is_read(desk: Simulator) -> None:
    assert fetch(home(desk), desk.keep("/files/a.ogg", CONTENT), most=len(CONTENT)) == CONTENT


@pytest.mark.parametrize(
    ("fault", "after"),
    [(Fault(status=503, headers={"retry-after": "3"}), 3), (Fault(status=500), 0), (Fault(status=429), 0), (Fault(drop=True), 0)],
)
def test_what_may_be_well_later_says_when(desk: Simulator, fault: Fault, after: float) -> None:
    desk.go_wrong("/a.ogg", fault)

    with pytest.raises(RetryLater) as caught:
        fetch(home(desk), desk.keep("/files/a.ogg", CONTENT))
    assert caught.value.after == after


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404),
        Fault(status=401),
        Fault(status=403),
        Fault(status=200, headers={"content-type": "text/html"}, body="<html>"),
        Fault(status=200, body={"users": []}),
    ],
    ids=["404", "401", "403", "html", "json"],
)
def test_what_is_gone_or_not_the_file_never_comes(desk: Simulator, fault: Fault) -> None:
    desk.go_wrong("/a.ogg", fault)

    with pytest.raises(Unreadable):
        fetch(home(desk), desk.keep("/files/a.ogg", CONTENT))
