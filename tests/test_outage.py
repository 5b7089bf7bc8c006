"""Redis stands still or is gone: platforms are told at once, nothing piles up, and what waited is as it was."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from connectors.link import IN_VAIN, LOOK_EVERY, LOOK_TIMEOUT
from engine.settings import Settings
from tests.conftest import wait_for
from tests.doors import Door, opened, ready, with_endpoint
from workers.embedded import EmbeddedRedis, serving

#: Slack waits so long for an acknowledgement, seconds.
PATIENCE = 3.0


def on(server: EmbeddedRedis, folder: Path) -> Settings:
    keys = {"secret_key": "a secret key of the tests", "api_keys": ("an-api-key-of-the-tests",)}
    return Settings(redis_url=server.url, broker_url=server.url, data_dir=folder / "data", **keys)  # type: ignore[arg-type]


@contextmanager
def standing_still(server: EmbeddedRedis) -> Iterator[None]:
    """The process is stopped: connections stay open, and nothing is answered."""
    process = psutil.Process(server.child.pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with serving(tmp_path / "redis", log=tmp_path / "redis.log") as server:
        yield server


def post(door: Door, number: int) -> tuple[int, float]:
    """The status of one message, and the seconds it took."""
    begun = time.monotonic()
    status = door.post({"conversation": f"c{number}", "text": "hello"}, message_id=f"msg_{number}").status_code
    return status, time.monotonic() - begun


def test_a_platform_is_told_in_time_that_redis_stands_still_and_nothing_piles_up(server: EmbeddedRedis, tmp_path: Path) -> None:
    with opened(with_endpoint(on(server, tmp_path))) as door, redis.Redis.from_url(server.url) as client:
        wait_for(lambda: ready(door))
        assert post(door, 0)[0] == 202
        before = len(client.client_list())

        with standing_still(server):
            status, seconds = post(door, 1)
            assert (status, seconds < PATIENCE) == (503, True), seconds
            wait_for(lambda: post(door, 2)[1] < 0.2, timeout=IN_VAIN * (LOOK_EVERY + LOOK_TIMEOUT) + PATIENCE)
            # By now it is known: a hundred more are refused in the time of one.
            begun = time.monotonic()
            assert {post(door, number)[0] for number in range(100, 200)} == {503}
            assert time.monotonic() - begun < PATIENCE
            assert door.http.get("/healthz").status_code == 200

        wait_for(lambda: post(door, 3)[0] == 202)
        assert len(client.client_list()) <= before + 2
