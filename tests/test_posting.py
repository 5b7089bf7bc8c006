"""A client of one registered address reaches that address alone, and never one inside unless the operator said so."""

import asyncio
import email.utils
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.posting import guarded_client, judge, post, wait_asked
from engine.addresses import is_public
from engine.errors import DeliveryRefused, RetryLater
from tests.doors import Receiver


def send(url: str, *, private: bool, to: str = "", times: int = 1) -> None:
    """Post with the client made for `url`, to `to` if that is another address."""

    async def sending() -> None:
        async with guarded_client(url, private=private, connections=4) as client:
            for _ in range(times):
                await post(client, to or url, body=b"{}", headers={})

    asyncio.run(sending())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "224.0.0.1",
        "255.255.255.255",
        "[::7f00:1]",
    ],
)
def test_an_address_inside_is_never_posted_to(host: str) -> None:
    with Receiver() as receiver:
        with pytest.raises(DeliveryRefused, match="inside"):
            send(f"http://{host}:{receiver.port}/", private=False)

        assert receiver.received == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "0", "[::1]"])
def test_an_address_inside_is_not_even_connected_to(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with pytest.raises(DeliveryRefused, match="inside"):
            send(f"http://{host}:{listening.getsockname()[1]}/", private=False)

        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("host", ["localhost", "127.1", "[::1]"])
def test_a_closed_port_inside_is_refused_for_good(host: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(DeliveryRefused, match="inside"):
            send(f"http://{host}:{nobody.getsockname()[1]}/", private=False)


def test_one_address_inside_among_others_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a name server of others answers cannot be had for real here.
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 443)) for text in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    with pytest.raises(DeliveryRefused, match="inside"):
        send("https://callback.example/", private=False)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid"])
def test_a_name_that_leads_nowhere_is_tried_later(host: str) -> None:
    with pytest.raises(RetryLater, match="cannot be resolved") as caught:
        send(f"https://{host}/", private=False)

    assert caught.value.after == 0


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_an_address_of_the_open_internet_may_be_posted_to(text: str) -> None:
    assert is_public(ip_address(text))


@given(st.ip_addresses(network="127.0.0.0/8") | st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="169.254.0.0/16"))
def test_an_address_inside_stays_inside_whatever_it_is_wrapped_in(address: object) -> None:
    packed = int(address).to_bytes(4, "big")  # type: ignore[call-overload]
    wrapped = [
        address,
        ip_address(b"\x00" * 10 + b"\xff\xff" + packed),
        ip_address(b"\x00" * 12 + packed),
        ip_address(b"\x20\x02" + packed + b"\x00" * 10),
        ip_address(bytes.fromhex("0064ff9b") + b"\x00" * 8 + packed),
        ip_address(bytes.fromhex("0064ff9b0001") + b"\x00" * 6 + packed),
    ]

    assert not any(is_public(inner) for inner in wrapped)  # type: ignore[arg-type]


def test_the_operator_may_allow_one_address_inside_and_only_that() -> None:
    with Receiver() as allowed, Receiver() as other:
        send(allowed.url, private=True)
        with pytest.raises(DeliveryRefused, match="inside"):
            send(allowed.url, private=True, to=other.url)
        with pytest.raises(DeliveryRefused, match="inside"):
            send(allowed.url, private=True, to=f"http://localhost:{allowed.port}/")

        assert (len(allowed.received), other.received) == (1, [])


def test_a_redirect_is_not_followed() -> None:
    with Receiver() as receiver, Receiver() as inside:
        receiver.answers = [(307, {"location": inside.url}, b"")]
        with pytest.raises(DeliveryRefused, match="redirects are not followed"):
            send(receiver.url, private=True)

        assert inside.received == []


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Receiver() as receiver:
        send(receiver.url, private=True)

        assert len(receiver.received) == 1


def test_a_connection_serves_many_posts() -> None:
    with Receiver() as receiver:
        send(receiver.url, private=True, times=20)

        assert (len(receiver.received), len(receiver.connections)) == (20, 1)


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    with Receiver() as receiver:
        receiver.answers = [(200, {"content-length": str(10**9)}, b"x" * 200_000)]
        begun = time.monotonic()
        send(receiver.url, private=True)

        assert time.monotonic() - begun < 8


@contextmanager
def silent(first: bytes = b"") -> Iterator[str]:
    """A server that says `first` to whoever connects, and then nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                connection.recv(65_536)
                connection.sendall(first)

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()


def test_an_answer_that_does_not_end_counts_by_its_status() -> None:
    with silent(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc") as url:
        send(url, private=True)


def test_a_receiver_that_hangs_up_is_tried_later() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(RetryLater) as caught:
            send(f"http://127.0.0.1:{nobody.getsockname()[1]}/", private=True)

    assert caught.value.after == 0


def test_junk_instead_of_http_is_tried_later() -> None:
    with silent(b"220 smtp.example ready\r\n\r\n") as url, pytest.raises(RetryLater):
        send(url, private=True)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_success(status: int) -> None:
    judge(status, "")


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_later(status: int) -> None:
    with pytest.raises(RetryLater) as caught:
        judge(status, "7")

    assert caught.value.after == 7


@pytest.mark.parametrize("status", [101, 300, 301, 302, 307, 400, 401, 403, 404, 410, 413, 422, 451])
def test_what_will_not_pass_is_refused_for_good(status: int) -> None:
    with pytest.raises(DeliveryRefused, match=str(status)):
        judge(status, "7")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 1),
        ("1", 1),
        (" 30 ", 30),
        ("3600", 3600),
        ("999999", 3600),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("1.5", 0),
        ("٣", 0),
        ("9" * 20, 0),
    ],
)
def test_a_wait_in_seconds_is_honoured_within_bounds(header: str, seconds: float) -> None:
    assert wait_asked(header) == seconds


def test_a_wait_until_a_date_is_honoured_within_bounds() -> None:
    assert wait_asked(email.utils.formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=2)
    assert wait_asked(email.utils.formatdate(time.time() - 60, usegmt=True)) == 1
    assert wait_asked(email.utils.formatdate(time.time() + 10**7, usegmt=True)) == 3600


@given(st.text(st.characters()))
def test_a_junk_wait_is_ignored(header: str) -> None:
    assert 0 <= wait_asked(header) <= 3600
