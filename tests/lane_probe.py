"""Looks at the lanes behind the scripts' back: what must be true after every move, and a clock that can be put forward."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from engine import keys
from engine.keys import Direction, Shard
from engine.lanes import Lanes
from engine.messages import Entry
from engine.moves import Backlog, read_entry

#: Everything in one shard, in one reply: {key, type, PTTL, content}.
_SNAPSHOT = """
local read = {
  string = function(key) return redis.call('GET', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  hash = function(key) return redis.call('HGETALL', key) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
}
local all = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local kind = redis.call('TYPE', key).ok
  all[#all + 1] = { key, kind, redis.call('PTTL', key), read[kind](key) }
end
return all
"""

#: Moves every time that is kept in a shard into the past, which is the same as moving the clock into the future.
_ADVANCE = """
local prefix, ms = ARGV[1], tonumber(ARGV[2])
local timed = { due = true, leased = true, heads = true, soonest = true, suspect = true, spent = true }
for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do
  local ttl = redis.call('PTTL', key)
  if ttl >= 0 and ttl <= ms then
    redis.call('DEL', key)
  elseif ttl >= 0 then
    redis.call('PEXPIRE', key, ttl - ms)
  end
  local dir, name = string.match(string.sub(key, #prefix + 1), '^(%w+):?(%w*)')
  if redis.call('EXISTS', key) == 0 then
    name = nil
  elseif timed[name] or name == 'ready' or string.sub(key, #prefix + 1) == 'dead' or string.sub(key, #prefix + 1) == 'handed' then
    local members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #members, 2 do
      redis.call('ZADD', key, members[i + 1] - ms, members[i])
    end
  elseif name == 'l' then
    for _, field in ipairs({ 'x', 'c', 'q', 'f' }) do
      local time = redis.call('HGET', key, field)
      if time then
        redis.call('HSET', key, field, time - ms)
      end
    end
  elseif name == 'q' and (dir == 'in' or dir == 'out') then
    for i, raw in ipairs(redis.call('LRANGE', key, 0, -1)) do
      local id, revision, received, deadline, rest = string.match(raw, '^(%S+) (%d+) (%d+) (%d+) (.*)$')
      raw = id .. ' ' .. revision .. ' ' .. (received - ms) .. ' ' .. (deadline - ms) .. ' ' .. rest
      redis.call('LSET', key, i - 1, raw)
    end
  end
end
"""

#: Sorted sets of lanes other than those named by a tenant.
_ASIDE = ("suspect", "spent")

_PARTS = {
    "<d>": "(in|out)",
    "<ref>": r"[a-z2-7]{13}\.[a-z2-7]{26}",
    "<tenant>": "[a-z2-7]{13}",
    "<digest>": "[a-z2-7]{26}",
    "<id>": r"[a-z2-7]{26}-\d+[a-z0-9-]*",
}


@dataclass(frozen=True)
class Kept:
    """One key of a shard."""

    kind: str
    #: Milliseconds to live, -1 for ever.
    ttl: int
    content: Any


@dataclass(frozen=True)
class Legend:
    """One line of the table in `engine.keys`."""

    pattern: re.Pattern[str]
    kind: str
    lives: str


def legend() -> list[Legend]:
    """The lines about keys of a shard."""
    table = (keys.__doc__ or "").split("| other key |")[0]
    lines = []
    for name, kind, lives in re.findall(r"^\| `([^`]+)` \| (\w+)[^|]* \| ([^|]+) \|", table, re.MULTILINE):
        pattern = re.escape(name)
        for part, form in _PARTS.items():
            pattern = pattern.replace(re.escape(part), form)
        lines.append(Legend(re.compile(pattern + "$"), kind, lives))
    return lines


_LEGEND = legend()


def snapshot(client: redis.Redis, shard: Shard) -> dict[str, Kept]:
    """Every key of a shard by its name without the prefix."""
    raw = client.eval(_SNAPSHOT, 1, shard.prefix, shard.prefix)
    return {key.decode().removeprefix(shard.prefix): Kept(kind.decode(), ttl, content) for key, kind, ttl, content in raw}


def advance(client: redis.Redis, lanes: Lanes, seconds: float) -> None:
    """Put the clock of every shard forward. Real time passes too, so two times that are equal by this clock count as passed."""
    for shard in lanes.shards:
        client.eval(_ADVANCE, 1, shard.prefix, shard.prefix, round(seconds * 1000))


def scores(kept: Mapping[str, Kept], name: str) -> dict[str, float]:
    """A sorted set."""
    flat = kept[name].content if name in kept else []
    return {member.decode(): float(score) for member, score in zip(flat[::2], flat[1::2], strict=True)}


def fields(kept: Mapping[str, Kept], name: str) -> dict[str, str]:
    """A hash."""
    flat = [text.decode() for text in kept[name].content] if name in kept else []
    return dict(zip(flat[::2], flat[1::2], strict=True))


def queues(kept: Mapping[str, Kept], direction: Direction) -> dict[str, list[Entry]]:
    """What waits, by lane."""
    start = f"{direction}:q:"
    return {name.removeprefix(start): [read_entry(raw) for raw in k.content] for name, k in kept.items() if name.startswith(start)}


def audit(client: redis.Redis, lanes: Lanes) -> dict[Shard, dict[str, Kept]]:
    """Everything that holds between any two moves; gives what each shard keeps."""
    found = {shard: snapshot(client, shard) for shard in lanes.shards}
    for shard, kept in found.items():
        for name, value in kept.items():
            _check_legend(name, value)
        figures = lanes.backlog(shard).run(client)
        for direction, backlog in zip(Direction, figures, strict=True):
            _check_places(kept, direction)
            _check_figures(kept, direction, backlog)
    return found


def _check_legend(name: str, kept: Kept) -> None:
    line = next((line for line in _LEGEND if line.pattern.match(name)), None)
    assert line is not None, f"{name} is not in the legend of engine/keys.py"
    assert kept.kind == line.kind, f"{name} is a {kept.kind}, the legend says {line.kind}"
    lasting = any(word in line.lives for word in ("while", "until", "always", "at most"))
    assert lasting == (kept.ttl == -1), f"{name} lives {kept.ttl} ms, the legend says {line.lives}"


def places(kept: Mapping[str, Kept], direction: Direction) -> dict[str, list[str]]:
    """For each lane the places it stands in: `ready`, `suspect`, `spent`, `due`, `leased`."""
    found: dict[str, list[str]] = {}
    for name in kept:
        place = name.removeprefix(f"{direction}:").partition(":")[0]
        if name.startswith(f"{direction}:") and place in {"ready", "due", "leased", *_ASIDE}:
            for ref in scores(kept, name):
                found.setdefault(ref, []).append(place)
    return found


def _check_places(kept: Mapping[str, Kept], direction: Direction) -> None:
    lanes, stands = queues(kept, direction), places(kept, direction)
    for ref in {*lanes, *stands}:
        assert len(stands.get(ref, [])) == 1, f"{ref} stands in {stands.get(ref)}"
        assert ref in lanes or stands[ref] == ["leased"], f"{ref} is empty and stands in {stands[ref]}"
    for name, value in kept.items():
        if name.startswith(f"{direction}:l:"):
            ref = name.removeprefix(f"{direction}:l:")
            assert ref in stands, f"{ref} has no place but {value.content}"
            assert ("t" in fields(kept, name)) == (stands[ref] == ["leased"])
    _check_ready(kept, direction, lanes)
    heads = {ref: float(queue[0].received_at) for ref, queue in lanes.items() if stands[ref] != ["due"]}
    assert scores(kept, f"{direction}:heads") == heads


def _check_ready(kept: Mapping[str, Kept], direction: Direction, lanes: Mapping[str, list[Entry]]) -> None:
    start = f"{direction}:ready:"
    tenants = {name.removeprefix(start) for name in kept if name.startswith(start)}
    assert set(scores(kept, f"{direction}:ring")) == tenants
    soonest = scores(kept, f"{direction}:soonest")
    assert set(soonest) == tenants
    for tenant in tenants:
        marks = scores(kept, start + tenant)
        assert marks == {ref: float(lanes[ref][0].deadline) for ref in marks}
        assert all(ref.startswith(f"{tenant}.") for ref in marks)
        assert soonest[tenant] <= min(marks.values())
    assert not tenants & set(scores(kept, f"{direction}:paid"))


def _check_figures(kept: Mapping[str, Kept], direction: Direction, backlog: Backlog) -> None:
    lanes, stands = queues(kept, direction), places(kept, direction)
    assert backlog.messages == sum(map(len, lanes.values()))
    assert backlog.deferred == sum(len(queue) for ref, queue in lanes.items() if stands[ref] == ["due"])
    assert backlog.lanes == sum(stands[ref] != ["due"] for ref in lanes)
    assert backlog.leased == sum(place == ["leased"] for place in stands.values())
    assert (backlog.age_ms > 0) <= (backlog.lanes > 0)
    tenants: dict[str, int] = {}
    for ref, queue in lanes.items():
        tenants[ref.partition(".")[0]] = tenants.get(ref.partition(".")[0], 0) + len(queue)
    assert fields(kept, f"{direction}:tenants") == {tenant: str(number) for tenant, number in tenants.items()}
    bell = kept.get(f"{direction}:bell")
    assert bell is None or len(bell.content) <= 64


def remaining(client: redis.Redis, lanes: Lanes) -> set[str]:
    """Keys of the shards that have no end to their life."""
    return {name for shard in lanes.shards for name, kept in snapshot(client, shard).items() if kept.ttl == -1}
