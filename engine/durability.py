"""With `REPLYMILL_DURABILITY=fsync` a move that is acknowledged to a platform ends only when the server has it on its disk.

The script, a write to the shard's mark and WAITAOF go over one connection, in this order. The connection, because a server that was
restarted in between knows nothing of the script. The mark, because WAITAOF waits for the last write of its own connection, and the
repeat of a message writes nothing although the first may not be on the disk yet. Servers older than Redis 7.2 have no WAITAOF;
with `appendfsync always` they reply only after the disk has it, and the setting is asked for with every move, since it can be
changed while the server runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.cluster import PipelineCommand

from engine import store
from engine.errors import StoreUnavailable, StoreUnsafe
from engine.keys import Shard
from engine.settings import Settings
from engine.store import AsyncClient, Client, reachable

#: Longest wait for the disk, seconds: with `appendfsync everysec` it takes up to one, and a platform waits for three.
DISK_TIMEOUT = 2.0
#: Whatever a server is asked to do: a command with its arguments.
Command = tuple[str | bytes | int, ...]

#: What CONFIG tells of the append-only file, and what it must be where there is no WAITAOF.
_CONFIG = "*append*"
_ALWAYS = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
#: A cluster has moved the shard, or the connection was an old one: asked once more.
_ONCE_MORE = (exceptions.MovedError, exceptions.AskError, exceptions.ConnectionError)


def proven(command: Command, mark: str) -> list[Command]:
    """A command and what proves that it is on the disk."""
    return [command, ("SET", mark, b""), ("WAITAOF", 1, 0, round(DISK_TIMEOUT * 1000)), ("CONFIG GET", _CONFIG)]


def run(client: Client, command: Command, mark: str) -> Any:
    """The reply to a command, once what it wrote is on the disk.

    :raises StoreUnavailable: Redis is away, or its disk takes too long.
    :raises StoreUnsafe: the server cannot tell when something is on its disk.
    """
    commands = proven(command, mark)
    with reachable():
        replies = _send(client, commands, mark)
        if _moved(client, replies):
            client.set(mark, b"")  # follows the move, and so learns of it
            replies = _send(client, commands, mark)
        return judged(replies)


async def run_async(client: AsyncClient, command: Command, mark: str) -> Any:
    """The asynchronous twin of `run`."""
    commands = proven(command, mark)
    with reachable():
        replies = await _send_async(client, commands, mark)
        if _moved(client, replies):
            await client.set(mark, b"")
            replies = await _send_async(client, commands, mark)
        return judged(replies)


def adopt(client: Client, settings: Settings) -> None:
    """`engine.store.adopt`, and `require`."""
    store.adopt(client, settings)
    require(client, settings)


def require(client: Client, settings: Settings) -> None:
    """Make sure that every server of the lanes can do what `REPLYMILL_DURABILITY` asks for.

    :raises StoreUnavailable: Redis is away, or its disk takes too long.
    :raises StoreUnsafe: one of them cannot.
    """
    for number in range(settings.shards) if settings.durability == "fsync" else ():
        mark = Shard(number, durable=True).mark
        run(client, ("SET", mark, b""), mark)


def judged(replies: Sequence[Any]) -> Any:
    """The first of the replies, if the others prove that it is on the disk."""
    reply, marked, waited, config = replies
    for one in (reply, marked):
        if isinstance(one, Exception):
            raise one
    if isinstance(waited, exceptions.ResponseError):
        _check_always(waited, config)
    elif isinstance(waited, Exception):
        raise waited
    elif int(waited[0]) < 1:
        raise StoreUnavailable(f"Redis did not write to its disk within {DISK_TIMEOUT:g} s: see its log and its disk")
    return reply


def _check_always(refusal: exceptions.ResponseError, config: Any) -> None:
    if "unknown command" not in str(refusal).lower():
        raise StoreUnsafe(
            f"REPLYMILL_DURABILITY is fsync, but Redis cannot wait for its disk ({refusal}): set appendonly yes in its "
            "configuration, and let its user run WAITAOF"
        )
    found = config if isinstance(config, Mapping) else {}
    # Redis 6.2 and older replies are bytes, or text where redis-py reads them.
    read = {_text(name): _text(value) for name, value in found.items()}
    wrong = [f"{name} {value}" for name, value in _ALWAYS.items() if read.get(name) != value]
    if wrong:
        raise StoreUnsafe(
            "REPLYMILL_DURABILITY is fsync, but this Redis has no WAITAOF (7.2 has) and would acknowledge what is not on its disk: "
            f"set {', '.join(wrong)} in its configuration, or use a newer Redis"
        )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _moved(client: Any, replies: Sequence[Any]) -> bool:
    clustered = isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster)
    return clustered and any(isinstance(reply, _ONCE_MORE) for reply in replies)


def _send(client: Client, commands: Sequence[Command], mark: str) -> list[Any]:
    """All commands over one connection, of a cluster to the node that has the mark; errors are among the replies."""
    if isinstance(client, redis.RedisCluster):
        node: Any = client.get_node_from_key(mark)  # type: ignore[no-untyped-call]
        client = client.get_redis_connection(node)
    pipe = client.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    return list(pipe.execute(raise_on_error=False))


async def _send_async(client: AsyncClient, commands: Sequence[Command], mark: str) -> list[Any]:
    if isinstance(client, redis.asyncio.RedisCluster):
        await client.initialize()
        asked = [PipelineCommand(position, *command) for position, command in enumerate(commands)]
        node: Any = client.get_node_from_key(mark)
        await node.execute_pipeline(asked)
        return [command.result for command in asked]
    pipe = client.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    return list(await pipe.execute(raise_on_error=False))
