"""Two versions side by side: what a newer one wrote waits for a process that knows it, and what an older one wrote is served."""

import dataclasses
from pathlib import Path

import msgspec
import pytest
import redis

from engine.keys import Direction
from engine.messages import Address, Delivery, InboundMessage
from engine.settings import Settings
from tests import lane_probe
from tests.desk import Desk, address, reply
from tests.loops import Mailbox, Post, delivering, mill, queue, small
from workers import console, doctor
from workers.newer import NEWER_WAIT

pytestmark = pytest.mark.one_redis


class Later(InboundMessage, frozen=True, array_like=True, kw_only=True):
    """As a version to come may write a message: only number, address and ids stand where they stood."""

    def encode(self) -> bytes:
        return msgspec.json.encode((2, self.address, {"id": self.sender}, [{"text": self.text}], self.dedupe_ids, "more"))


class Earlier(InboundMessage, frozen=True, array_like=True, kw_only=True):
    """As a version wrote it that knew less: an address without a thread."""

    def encode(self) -> bytes:
        place = self.address
        return msgspec.json.encode((1, (place.platform, place.tenant, place.channel), self.sender, self.text, self.dedupe_ids))


def accept(desk: Desk, kind: type[InboundMessage], text: str, *, to: Address, deadline: float = 300.0) -> str:
    """A message that another version wrote; its id."""
    message = kind(address=to, sender="ann", text=text, dedupe_ids=(text,))
    notice = Delivery(id=f"{text}-full", reply=reply(to, "full"))
    return desk.lanes.accept(message, deadline=deadline, quiet=(0, 0), notice=notice).run(desk.client).id


def dead(desk: Desk) -> dict[str, str]:
    names = [name.decode() for name in desk.client.zrange(desk.shard.dead_index, 0, -1)]
    return {name: desk.client.hget(desk.shard.dead(name), "reason").decode() for name in names}


def test_a_newer_message_waits_untouched_while_all_others_are_answered(
    settings: Settings, tiny_model: Path, redis_client: redis.Redis
) -> None:
    with mill(small(settings), tiny_model, redis_client) as running:
        newer = accept(running.desk, Later, "from the future", to=address("newer"))
        before = running.desk.accept("before", to=address("mixed"))
        accept(running.desk, Later, "behind it", to=address("mixed"))
        others = [running.desk.accept(f"question {number}", to=address(f"{number}")) for number in range(5)]

        running.until(lambda: running.settled(before, *others))
        running.until(lambda: running.desk.place(address("mixed")) == ["due"])

        # Again and again it is given back, which costs no attempt.
        for _ in range(5):
            running.desk.advance(NEWER_WAIT / 1000 + 0.1)
            assert all(running.step() for _ in range(3))
            assert running.desk.place(address("newer")) == running.desk.place(address("mixed")) == ["due"]
        assert console.status(running.loop.settings)["newer"] == 2
        warned = [found for found in doctor.examine(running.loop.settings) if found.check == "versions"]
        assert [found.level for found in warned] == [doctor.Level.WARN]
        lane_probe.audit(redis_client, running.desk.lanes)

        # A worker that knows it finds it as it was written.
        running.desk.advance(NEWER_WAIT / 1000 + 0.1)
        found = {lane.entries[0].id: lane for lane in running.desk.claim().lanes}
        assert len(found) == 2
        assert found[newer].attempts == 0
        assert b"from the future" in found[newer].entries[0].body
        assert dead(running.desk) == {}


def test_a_newer_message_that_nobody_reads_in_time_ends_in_an_apology_and_a_dead_letter(
    settings: Settings, tiny_model: Path, redis_client: redis.Redis
) -> None:
    with mill(small(settings), tiny_model, redis_client) as running:
        late = accept(running.desk, Later, "from the future", to=address("newer"), deadline=60)
        running.until(lambda: running.desk.place(address("newer")) == ["due"])
        running.desk.advance(61)

        running.until(lambda: running.record(late).get("state") == "apologised")

        (apology,) = running.posted()
        assert (apology.reply.address, apology.reply.text) == (address("newer"), settings.apology)
        assert apology.reply.reference == "from the future"
        assert list(dead(running.desk)) == [late]
        assert "schema 2" in dead(running.desk)[late]
        assert running.desk.history(address("newer")) == []
        assert running.desk.backlog()[0].messages == 0


def test_bytes_that_name_no_version_at_all_are_a_dead_letter_at_once(
    settings: Settings, tiny_model: Path, redis_client: redis.Redis
) -> None:
    class Broken(InboundMessage, frozen=True, array_like=True, kw_only=True):
        def encode(self) -> bytes:
            return b'["2", "not a message"]'

    with mill(small(settings), tiny_model, redis_client) as running:
        broken = accept(running.desk, Broken, "broken", to=address("broken"))
        running.until(lambda: dead(running.desk))
        assert list(dead(running.desk)) == [broken]


def test_what_an_older_version_wrote_is_answered(settings: Settings, tiny_model: Path, redis_client: redis.Redis) -> None:
    with mill(small(settings), tiny_model, redis_client) as running:
        older = accept(running.desk, Earlier, "from the past", to=address("", channel="old"))
        running.until(lambda: running.record(older).get("state") == "answered")
        assert running.posted()[0].reply.address == address("", channel="old")


def test_a_newer_delivery_waits_and_an_older_one_and_one_with_more_fields_are_posted(
    settings: Settings, redis_client: redis.Redis
) -> None:
    quick = dataclasses.replace(settings, lease=4.0, send_timeout=1.0)

    async def body(post: Post) -> None:
        ours = Delivery(id="x", reply=reply(address(), "ours"))
        bodies = {
            "newer": lambda id_: msgspec.json.encode((2, {"id": id_}, "all else has moved")),
            "older": lambda id_: msgspec.json.encode((1, id_, ours.reply)),
            "longer": lambda id_: msgspec.json.encode((1, id_, ours.reply, 0, 1, "", "a field to come")),
        }
        # While the loop has no room, what it will find is written as other versions write it.
        post.loop.draining = True
        ids = {}
        for name, make in bodies.items():
            (ids[name],) = queue(post.desk, address(name), "to be replaced")
            lane = f"{post.desk.shard.prefix}out:q:{post.desk.lanes.digests.lane(address(name))}"
            head, _, _ = redis_client.lindex(lane, 0).partition(b"\n")
            redis_client.lset(lane, 0, head + b"\n" + make(ids[name]))
        post.loop.draining = False

        await post.until(lambda: sorted(post.mailbox.posted) == sorted((ids["older"], ids["longer"])))
        await post.until(lambda: post.desk.place(address("newer"), Direction.OUT) == ["due"])
        assert console.status(quick)["newer"] == 1
        post.desk.advance(quick.deadline_delivery + 1)
        await post.until(lambda: ids["newer"] in dead(post.desk))

    delivering(quick, redis_client, Mailbox(), body)
