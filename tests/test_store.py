"""Every kind of Redis that can hold the lanes, and what is said when it cannot."""

import asyncio
import dataclasses
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis

from engine import durability, store
from engine.errors import SettingsError, StoreMismatch, StoreUnavailable
from engine.keys import Direction, Shard
from engine.lanes import Lanes
from engine.messages import Delivery, Role, Turn
from engine.moves import Accepted, Settled, Verdict
from engine.scripts import Call
from engine.settings import Settings
from tests import lane_probe
from tests.conftest import missing, redis_binary, wait_for
from tests.desk import Desk, address, message, reply
from workers.embedded import free_port

Start = Callable[..., "Server"]


class Server:
    """A server with options of the test's own, started; `port` answers."""

    def __init__(self, binary: Path, folder: Path, *options: str, tls: bool = False, sentinel: bool = False) -> None:
        self.port = free_port()
        self.folder = folder
        folder.mkdir()
        config = folder / "redis.conf"
        port = f"port 0\ntls-port {self.port}" if tls else f"port {self.port}"
        config.write_text(
            "\n".join([f"bind 127.0.0.1\n{port}\ndir {folder}\nappendonly no", *(() if sentinel else ('save ""',)), *options])
        )
        command = [str(binary), str(config), *(["--sentinel"] if sentinel else [])]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def ready(self) -> bool:
        """True when it takes connections."""
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return b"Ready to accept connections" in (log := (self.folder / "log").read_bytes()) or b"Sentinel ID is" in log

    def stop(self) -> None:
        """Nothing of it is left."""
        self.process.kill()
        self.process.wait()


def binary_of(version: str) -> Path:
    if (binary := redis_binary(version)) is None:
        missing(f"Redis {version}")
    assert binary is not None
    return binary


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers, of Redis 7 unless asked otherwise."""
    with ExitStack() as stack:

        def begin(*options: str, version: str = "7", tls: bool = False, sentinel: bool = False) -> Server:
            binary = binary_of(version)
            folder = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
            server = Server(binary, folder, *options, tls=tls, sentinel=sentinel)
            stack.callback(server.stop)
            wait_for(server.ready)
            return server

        yield begin


def on(url: str, **changes: object) -> Settings:
    """Settings for that Redis."""
    return dataclasses.replace(Settings(redis_url=url, secret_key="a secret key of the tests"), **changes)  # type: ignore[arg-type]


def journey(settings: Settings) -> None:
    """A question is accepted by the asynchronous client, answered by the synchronous one, and delivered, on every shard."""
    lanes = Lanes(settings)
    channels = [address(channel=f"{number}") for number in range(8 * settings.shards)]
    notice = Delivery(id="notice", reply=reply(address(), "full"))

    async def accept() -> list[Verdict]:
        client = await store.connect_async(settings)
        try:
            calls = [lanes.accept(message("one", to.channel, to=to), deadline=60, quiet=(0, 0), notice=notice) for to in channels]
            return [(await call.run_async(client)).verdict for call in calls]
        finally:
            await client.aclose()

    assert set(asyncio.run(accept())) == {Verdict.ACCEPTED}
    with store.connect(settings) as client:
        store.adopt(client, settings)
        desk = Desk(client, lanes)
        for shard in lanes.shards:
            assert client.blpop(shard.bell(Direction.IN), timeout=1)
            claim = desk.claim(shard=shard.number, items=100)
            assert claim.lanes
            for lane in claim.lanes:
                assert desk.commit(lane, replies=1) is Settled.COMMITTED
            for lane in desk.claim(Direction.OUT, shard=shard.number, items=100).lanes:
                assert desk.commit(lane) is Settled.COMMITTED
            assert [(b.messages, b.leased) for b in lanes.backlog(shard).run(client)] == [(0, 0)] * 2


# -- kinds of Redis -------------------------------------------------------------------------------------------------------------


def test_a_single_server_holds_the_lanes(settings: Settings) -> None:
    journey(settings)


_CERTIFY = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


def certificates(folder: Path) -> None:
    """An authority, and a certificate of 127.0.0.1 by it."""
    if not shutil.which("openssl"):
        missing("openssl")
    for name, extra in (
        ("ca", ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]),
        ("server", ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"]),
    ):
        subprocess.run(
            [*_CERTIFY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt", *extra],
            cwd=folder,
            check=True,
            capture_output=True,
        )


def test_tls_with_an_authority_of_its_own_holds_the_lanes_and_a_stranger_is_refused(start: Start, tmp_path: Path) -> None:
    certificates(tmp_path)
    files = [f"tls-cert-file {tmp_path}/server.crt", f"tls-key-file {tmp_path}/server.key", f"tls-ca-cert-file {tmp_path}/ca.crt"]
    server = start(*files, "tls-auth-clients no", "requirepass word", tls=True)
    url = f"rediss://:word@127.0.0.1:{server.port}/0"

    journey(on(f"{url}?ssl_ca_certs={tmp_path}/ca.crt"))

    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        store.connect(on(url))


#: What the lanes need of an ACL user.
RIGHTS = (
    "~rm:* resetchannels &rm:* -@all +@read +@write +@transaction +@scripting +@connection +@pubsub +info +time -flushall -flushdb"
)


@pytest.mark.parametrize("version", ["6.2", "7"])
def test_a_user_with_few_rights_is_enough(start: Start, version: str) -> None:
    server = start(f"user mill on >word {RIGHTS}", "user default off", version=version)

    journey(on(f"redis://mill:word@127.0.0.1:{server.port}/0"))


@pytest.mark.parametrize("version", ["6.2", "7"])
def test_a_user_with_too_few_rights_is_told_so(start: Start, version: str) -> None:
    server = start("user mill on >word ~other:* +@all", version=version)

    settings = on(f"redis://mill:word@127.0.0.1:{server.port}/0")
    with store.connect(settings) as client, pytest.raises(StoreUnavailable, match="refuses the login"):
        store.adopt(client, settings)
    with store.connect(settings) as client, pytest.raises(StoreUnavailable, match="refuses the login"):
        Desk(client, Lanes(settings)).accept()


def _came_through(desk: Desk) -> bool:
    try:
        return desk.accept("after", "after", to=address("after")).verdict in {Verdict.ACCEPTED, Verdict.REPEAT}
    except StoreUnavailable:
        return False


def test_sentinel_names_the_master_and_the_next_one_after_a_failover(start: Start) -> None:
    master = start("requirepass w@rd", "masterauth w@rd", "repl-diskless-sync-delay 0")
    replica = start("requirepass w@rd", "masterauth w@rd", f"replicaof 127.0.0.1 {master.port}")
    sentinel = start(
        f"sentinel monitor mill 127.0.0.1 {master.port} 1",
        "sentinel auth-pass mill w@rd",
        "sentinel down-after-milliseconds mill 1000",
        "sentinel failover-timeout mill 5000",
        sentinel=True,
    )
    settings = on(f"sentinel://:w%40rd@127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/mill")
    with redis.Redis(port=sentinel.port) as watch, redis.Redis(port=replica.port, password="w@rd") as following:
        wait_for(lambda: watch.sentinel_slaves("mill"))
        journey(settings)
        wait_for(lambda: following.dbsize() > 0)

        with store.connect(settings) as client:
            desk = Desk(client, Lanes(settings))
            desk.accept("before")
            wait_for(lambda: following.llen(f"rm:{{0}}:in:q:{desk.lanes.digests.lane(address())}"))
            master.stop()
            wait_for(lambda: following.info("replication")["role"] == "master", timeout=30)
            wait_for(lambda: watch.sentinel_get_master_addr_by_name("mill")[1] == replica.port, timeout=30)

            # Callers come again until the Sentinel has seen the new master up; the repeat of what got through is none.
            wait_for(lambda: _came_through(desk), timeout=30)
            assert len(desk.claim().lanes) == 2


@contextmanager
def cluster_of_three(start: Start, *options: str, version: str = "7") -> Iterator[tuple[list[Server], list[redis.Redis]]]:
    """Its nodes, which share the slots, and a client of each."""
    buses = [free_port() for _ in range(3)]
    common = ("cluster-enabled yes", "cluster-node-timeout 2000", *options)
    nodes = [start(*common, f"cluster-port {bus}", version=version) for bus in buses]
    bounds = [0, 5461, 10923, 16384]
    with ExitStack() as stack:
        clients = [stack.enter_context(redis.Redis(port=node.port)) for node in nodes]
        for client, first, end in zip(clients, bounds, bounds[1:], strict=False):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
            client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, buses[0])
        wait_for(lambda: all(client.cluster("info")["cluster_state"] == "ok" for client in clients))
        wait_for(lambda: all(client.cluster("info")["cluster_known_nodes"] == "3" for client in clients))
        yield nodes, clients


@pytest.mark.parametrize("version", ["7", "8.2"])
def test_each_node_of_a_cluster_is_waited_for_and_a_moved_shard_found(start: Start, version: str) -> None:
    with cluster_of_three(start, "appendonly yes", "appendfsync always", version=version) as (nodes, clients):
        settings = on(nodes[1].url, shards=8, durability="fsync")
        journey(settings)

        async def moved() -> None:
            """Both clients learn of the move by a message that they take."""
            client = await store.connect_async(settings)
            with store.connect(settings) as synchronous:
                for where in ("before", "after"):
                    calls = {name: _call(settings, f"{name} {where}") for name in ("async", "sync")}
                    assert (await calls["async"].run_async(client)).verdict is Verdict.ACCEPTED
                    assert calls["sync"].run(synchronous).verdict is Verdict.ACCEPTED
                    if where == "before":
                        slot = clients[0].cluster("keyslot", Shard(0).prefix)
                        moves.append(_move_slot(clients, slot))
                        assert clients[moves[0][0]].cluster("countkeysinslot", slot) == 0
            await client.aclose()

        moves: list[tuple[int, int]] = []
        asyncio.run(moved())
        clients[moves[0][1]].config_set("appendonly", "no")
        with pytest.raises(StoreUnavailable), store.connect(settings) as client:
            durability.require(client, settings)


def _call(settings: Settings, id_: str) -> Call[Accepted]:
    """A message for the first shard."""
    lanes = Lanes(settings)
    to = next(to for to in (address(channel=f"{number}") for number in range(1000)) if lanes.shard_of(to).number == 0)
    notice = Delivery(id="notice", reply=reply(address(), "full"))
    return lanes.accept(message("one", id_, to=to), deadline=60, quiet=(0, 0), notice=notice)


def _move_slot(clients: Sequence[redis.Redis], slot: int) -> tuple[int, int]:
    """Give the keys of a slot to another node; says which had it and which has it."""
    ids = [client.cluster("myid") for client in clients]
    owner = next(number for number, client in enumerate(clients) if client.cluster("countkeysinslot", slot))
    other = (owner + 1) % len(clients)
    clients[other].cluster("setslot", slot, "importing", ids[owner])
    clients[owner].cluster("setslot", slot, "migrating", ids[other])
    port = clients[other].connection_pool.connection_kwargs["port"]
    while keys := clients[owner].cluster("getkeysinslot", slot, 100):
        clients[owner].execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
    for client in clients:
        client.cluster("setslot", slot, "node", ids[other])
    return owner, other


def test_a_cluster_of_three_holds_the_lanes_of_every_shard(start: Start) -> None:
    with cluster_of_three(start) as (nodes, clients):
        settings = on(nodes[1].url, shards=8)

        journey(settings)

        assert store.is_cluster(settings.redis_url)
        assert all(client.dbsize() > 0 for client in clients)
        nodes[0].stop()
        wait_for(lambda: clients[1].cluster("info")["cluster_state"] == "fail", timeout=30)
        with pytest.raises(StoreUnavailable), store.connect(settings) as cluster:
            Lanes(settings).backlog(Lanes(settings).shards[0]).run(cluster)


def test_a_single_server_is_no_cluster(redis_url: str) -> None:
    assert not store.is_cluster(redis_url)
    assert not store.is_cluster("sentinel://localhost:1/mill")


@pytest.mark.parametrize(
    "bad", ["sentinel://localhost:26379", "sentinel://localhost:26379/", "sentinel://localhost:x/mill", "sentinel:///mill"]
)
def test_a_bad_sentinel_url_says_what_is_accepted(bad: str) -> None:
    with pytest.raises(SettingsError, match=r"sentinel://host:26379,host:26379/NAME"):
        store.connect(on(bad))


# -- what can never change ------------------------------------------------------------------------------------------------------


def test_a_redis_is_adopted_once_and_again_by_the_same_settings(settings: Settings, redis_client: redis.Redis) -> None:
    store.adopt(redis_client, settings)
    store.adopt(redis_client, settings)


def test_other_shards_are_refused_naming_both(settings: Settings, redis_client: redis.Redis) -> None:
    store.adopt(redis_client, dataclasses.replace(settings, shards=4))

    with pytest.raises(StoreMismatch, match=r"REPLYMILL_SHARDS=4, not 1"):
        store.adopt(redis_client, settings)


def test_another_secret_key_is_refused_without_showing_either(settings: Settings, redis_client: redis.Redis) -> None:
    store.adopt(redis_client, settings)

    with pytest.raises(StoreMismatch, match="another REPLYMILL_SECRET_KEY") as caught:
        store.adopt(redis_client, dataclasses.replace(settings, secret_key="quite another key"))
    assert settings.secret_key not in str(caught.value)
    assert "quite another key" not in str(caught.value)


# -- away, or unable ------------------------------------------------------------------------------------------------------------


def accept_both(settings: Settings) -> list[StoreUnavailable]:
    """What both clients raise when a message is accepted."""
    lanes = Lanes(settings)
    call = lanes.accept(
        message("one", "one"), deadline=60, quiet=(0, 0), notice=Delivery(id="notice", reply=reply(address(), "full"))
    )

    async def accept() -> None:
        client = await store.connect_async(settings)
        try:
            await call.run_async(client)
        finally:
            await client.aclose()

    raised = []
    with store.connect(settings) as client:
        for attempt in (lambda: call.run(client), lambda: asyncio.run(accept())):
            with pytest.raises(StoreUnavailable) as caught:
                attempt()
            raised.append(caught.value)
    return raised


def test_a_server_that_is_not_there_is_unavailable() -> None:
    settings = on(f"redis://127.0.0.1:{free_port()}/0")

    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store.connect(settings)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        asyncio.run(store.connect_async(settings))


def test_a_sentinel_that_is_not_there_is_unavailable() -> None:
    for error in accept_both(on(f"sentinel://127.0.0.1:{free_port()}/mill")):
        assert "cannot be reached" in str(error)


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
def test_a_wrong_login_says_so_and_hides_the_password(start: Start, login: str) -> None:
    server = start("requirepass right")

    with pytest.raises(StoreUnavailable, match="refuses the login") as caught:
        store.connect(on(f"redis://{login}127.0.0.1:{server.port}/0"))
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [("maxmemory", "1"), ("min-replicas-to-write", "1")],
)
def test_a_server_that_takes_no_writes_is_unavailable_and_nothing_is_half_written(
    settings: Settings, redis_client: redis.Redis, name: str, value: str
) -> None:
    before = str(redis_client.config_get(name)[name])
    redis_client.config_set(name, value)
    try:
        for error in accept_both(settings):
            assert "cannot take this now" in str(error)
        assert redis_client.dbsize() == 0
    finally:
        redis_client.config_set(name, before)


@pytest.mark.parametrize("version", ["6.2", "7"])
def test_a_server_that_cannot_save_is_unavailable(start: Start, version: str) -> None:
    server = start("save 3600 1", version=version)
    with redis.Redis(port=server.port) as client:
        shutil.rmtree(server.folder)
        client.set("changed", 1)
        client.bgsave()
        wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")

        for error in accept_both(on(server.url)):
            assert "cannot take this now" in str(error)
        assert client.dbsize() == 1


@pytest.mark.parametrize("version", ["6.2", "7"])
def test_a_replica_is_unavailable(start: Start, version: str) -> None:
    master = start("repl-diskless-sync-delay 0", version=version)
    replica = start(f"replicaof 127.0.0.1 {master.port}", version=version)
    with redis.Redis(port=replica.port) as client:
        wait_for(lambda: client.info("replication")["master_link_status"] == "up")

    for error in accept_both(on(replica.url)):
        assert "cannot take this now" in str(error)


def test_a_server_held_up_by_a_script_of_somebody_else_is_unavailable(start: Start) -> None:
    server = start("lua-time-limit 10")

    def spin() -> None:
        with suppress(redis.ResponseError), redis.Redis(port=server.port) as client:
            client.eval("while true do end", 0)

    thread = threading.Thread(target=spin)
    settings = on(server.url)
    with store.connect(settings) as client, redis.Redis(port=server.port) as other:
        thread.start()
        try:
            wait_for(lambda: _busy(other))
            with pytest.raises(StoreUnavailable, match="cannot take this now"):
                Desk(client, Lanes(settings)).accept()
        finally:
            other.script_kill()
            thread.join()


def _busy(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def test_a_server_that_hangs_is_unavailable_after_the_time_out(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SOCKET_TIMEOUT", 0.2)
    server = start()
    settings = on(server.url)
    with store.connect(settings) as client:
        desk = Desk(client, Lanes(settings))
        desk.accept()
        os.kill(server.process.pid, 19)
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            desk.accept()
        assert time.monotonic() - before < 5
        os.kill(server.process.pid, 18)
        assert desk.claim().lanes


def test_cut_connections_and_a_forgotten_script_cost_one_retry_and_nothing_else(
    settings: Settings, redis_client: redis.Redis
) -> None:
    with store.connect(settings) as client:
        desk = Desk(client, Lanes(settings))
        desk.accept("one")
        redis_client.client_kill_filter(_type="normal", skipme=True)
        redis_client.script_flush()

        assert desk.accept("two").verdict is Verdict.ACCEPTED


def test_a_fault_of_ours_is_not_taken_for_an_outage(settings: Settings, redis_client: redis.Redis) -> None:
    lanes = Lanes(settings)
    redis_client.set(f"{lanes.shards[0].prefix}in:heads", "no sorted set")

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        lanes.backlog(lanes.shards[0]).run(redis_client)


def test_an_answer_is_committed_whole_even_when_memory_has_run_out_for_it_frees_some(
    settings: Settings, redis_client: redis.Redis
) -> None:
    desk = Desk(redis_client, Lanes(settings))
    desk.accept()
    lane = desk.take()
    redis_client.config_set("maxmemory", "1")
    try:
        assert desk.commit(lane, replies=2, turns=(Turn(role=Role.USER, text="hello", at=1),)) is Settled.COMMITTED
    finally:
        redis_client.config_set("maxmemory", "0")
    assert (desk.backlog()[0].messages, desk.backlog()[1].messages, len(desk.history())) == (0, 2, 1)
    assert desk.lanes.look(lane.entries[0].id).run(redis_client).state == "answered"
    lane_probe.audit(redis_client, desk.lanes)
