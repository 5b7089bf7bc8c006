"""Connections to the Redis that holds the lanes: one server, Sentinel or Cluster, synchronous and asynchronous."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from engine.crypto import Digests
from engine.errors import SettingsError, StoreMismatch, StoreUnavailable
from engine.keys import META
from engine.settings import Settings

#: A socket that answers nothing for this long is taken for dead; longer than the longest blocking wait.
SOCKET_TIMEOUT = 5.0
CONNECT_TIMEOUT = 3.0
#: The same where a platform waits, which gives up after three seconds; longer than the wait for the disk.
QUICK_TIMEOUT, QUICK_CONNECT = 2.4, 1.0
#: One more try on a fresh connection, after 50 ms: a pooled one may have died while idle. All scripts bear repetition.
_BACKOFF = ConstantBackoff(0.05)

#: Replies of a server that is up but cannot take writes now. For some redis-py has classes, without the code in their text.
#: Redis 6.2 wraps the reply to a command inside a script: `Error running script (...): ... -OOM command not allowed`.
_REFUSED = (exceptions.OutOfMemoryError, exceptions.ReadOnlyError, exceptions.TryAgainError)
_REFUSALS = re.compile(r"(?:^|: -)(MISCONF|OOM|READONLY|NOREPLICAS|BUSY)\b")
_NOT_ALLOWED = re.compile(r": -NOPERM\b")
_AWAY = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterError, exceptions.RedisClusterException)
_LOGIN = "Redis refuses the login: {}; check the user, its rights and the password in REPLYMILL_REDIS_URL"

Client = Any
AsyncClient = Any


class _AsyncSentinelPool(SentinelConnectionPool):
    """Closes the idle connections to the Sentinels with those to the master."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.connection_pool.disconnect(inuse_connections=False)


def _options(*, quick: bool = False) -> dict[str, Any]:
    return {
        "socket_timeout": QUICK_TIMEOUT if quick else SOCKET_TIMEOUT,
        "socket_connect_timeout": QUICK_CONNECT if quick else CONNECT_TIMEOUT,
        "health_check_interval": 30,
        "protocol": 2,
    }


def _sentinel(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """Hosts, master's name and login from `sentinel://user:password@h1:26379,h2:26379/NAME`."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    name = parts.path.strip("/")
    places = [re.fullmatch(r"([^:]+)(?::(\d{1,5}))?", host) for host in hosts.split(",")]
    nodes = [(place[1], int(place[2] or 26379)) for place in places if place]
    if not name or len(nodes) < len(places):
        raise SettingsError("REPLYMILL_REDIS_URL names no Sentinel service: it must be sentinel://host:26379,host:26379/NAME")
    return nodes, name, {"username": unquote(user) or None, "password": unquote(password) or None}


def is_cluster(url: str) -> bool:
    """Whether the server behind `url` belongs to a Redis Cluster.

    :raises StoreUnavailable: if it cannot be reached.
    """
    if url.startswith("sentinel://"):
        return False
    with reachable(), redis.Redis.from_url(url, **_options()) as probe:
        return bool(probe.info("cluster").get("cluster_enabled"))


def connect(settings: Settings) -> Client:
    """A synchronous client.

    :raises StoreUnavailable: if Redis cannot be reached.
    """
    url = settings.redis_url
    retry = Retry(_BACKOFF, 1)
    if url.startswith("sentinel://"):
        nodes, name, login = _sentinel(url)
        # A Sentinel that is away is not tried twice: the next one in the list is asked.
        sentinel = Sentinel(nodes, sentinel_kwargs={"retry": Retry(_BACKOFF, 0), **_options()})  # type: ignore[no-untyped-call]
        return sentinel.master_for(name, retry=retry, **login, **_options())  # type: ignore[no-untyped-call]
    if is_cluster(url):
        return redis.RedisCluster.from_url(url, **_options())
    return redis.Redis.from_url(url, retry=retry, **_options())


async def connect_async(settings: Settings, *, quick: bool = False) -> AsyncClient:
    """The asynchronous twin of `connect`; a `quick` one gives up before a platform does, and so tries a silent server once only."""
    url, options = settings.redis_url, _options(quick=quick)
    retry = AsyncRetry(_BACKOFF, 1, (exceptions.ConnectionError,)) if quick else AsyncRetry(_BACKOFF, 1)
    if url.startswith("sentinel://"):
        nodes, name, login = _sentinel(url)
        sentinel = AsyncSentinel(nodes, sentinel_kwargs={"retry": AsyncRetry(_BACKOFF, 0), **options})  # type: ignore[no-untyped-call]
        return sentinel.master_for(name, connection_pool_class=_AsyncSentinelPool, retry=retry, **login, **options)
    with reachable():
        async with asyncio.timeout(QUICK_TIMEOUT if quick else None):
            clustered = await asyncio.to_thread(is_cluster, url)
    if clustered:
        return redis.asyncio.RedisCluster.from_url(url, **options)
    return redis.asyncio.Redis.from_url(url, retry=retry, **options)


def adopt(client: Client, settings: Settings) -> None:
    """Record on first start what can never change, and refuse a Redis that was first used otherwise.

    :raises StoreMismatch: other shards or another secret key.
    """
    ours = {"shards": str(settings.shards), "key": Digests(settings.secret_key).fingerprint()}
    with reachable():
        for field, value in ours.items():
            client.hsetnx(META, field, value)
        theirs = {name.decode(): value.decode() for name, value in client.hgetall(META).items()}
    if theirs["shards"] != ours["shards"]:
        raise StoreMismatch(
            f"this Redis was first used with REPLYMILL_SHARDS={theirs['shards']}, not {ours['shards']}: "
            "a conversation would be looked for in the wrong shard; set it back"
        )
    if theirs["key"] != ours["key"]:
        raise StoreMismatch(
            "this Redis was first used with another REPLYMILL_SECRET_KEY: give every process the same key "
            "(without the variable it is `secret.key` in the data folder)"
        )


@contextmanager
def reachable() -> Iterator[None]:
    """Turn what redis-py raises when the server is away, or cannot write, into `StoreUnavailable`."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise StoreUnavailable(_LOGIN.format(error)) from error
    except (*_AWAY, OSError) as error:
        raise StoreUnavailable(f"Redis cannot be reached: {error}; is it running, and is REPLYMILL_REDIS_URL right?") from error
    except exceptions.ResponseError as error:
        if _NOT_ALLOWED.search(str(error)):
            raise StoreUnavailable(_LOGIN.format(error)) from error
        if not isinstance(error, _REFUSED) and not _REFUSALS.search(str(error)):
            raise
        raise StoreUnavailable(f"Redis cannot take this now: {error}") from error
