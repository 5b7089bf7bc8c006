"""What the command line asks of a running system."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from connectors.page import address, events_after, message, new_session
from engine import roster, saying
from engine.errors import Overloaded, ReplymillError
from engine.handing import Held
from engine.keys import FIGURES
from engine.lanes import Lanes
from engine.messages import Delivery, Reply, Source
from engine.moves import Backlog, Verdict
from engine.settings import Settings
from engine.store import adopt, connect, reachable
from workers.handoff_desk import waiting
from workers.newer import waiting_lanes

#: One blocking read, seconds; under the socket time-out.
SLICE = 2.0


def ask(settings: Settings, question: str) -> Reply:
    """Send a question through the queue and wait for its reply.

    :raises ReplymillError: if none comes before the deadline for chat.
    """
    lanes, session = Lanes(settings), new_session()
    with connect(settings) as client:
        adopt(client, settings)
        asked = message(session, question, message_id=secrets.token_hex(8))
        text = saying.say(settings, address(session).tenant, "lane_full", saying.spoken([question]))
        notice = Reply(in_reply_to=(), address=address(session), text=text, source=Source.FALLBACK)
        accepted = lanes.accept(
            asked, deadline=settings.deadline_chat, quiet=(0, 0), notice=Delivery(id=f"{session}-full", reply=notice)
        ).run(client)
        if accepted.verdict is not Verdict.ACCEPTED:
            raise Overloaded(f"the question was not taken ({accepted.verdict}): try again later")
        give_up = time.monotonic() + settings.deadline_chat + SLICE
        while time.monotonic() < give_up:
            for event in events_after(client, session, "0", wait=SLICE):
                return event.delivery.reply
    raise ReplymillError(f"no reply within {settings.deadline_chat:g} s: is a worker running? `replymill status` tells")


def status(settings: Settings) -> dict[str, Any]:
    """Backlog in both directions, its age, workers and their rates, and how the backlog went."""
    with connect(settings) as client, reachable():
        adopt(client, settings)
        pairs = [Lanes(settings).backlog(shard).run(client) for shard in Lanes(settings).shards]
        workers = roster.read(client)
        history = [msgspec.json.decode(sample) for sample in client.lrange(FIGURES, 0, -1)]
        newer = waiting_lanes(settings, client)
    return {
        "inbound": _sum([inbound for inbound, _ in pairs]),
        "outbound": _sum([outbound for _, outbound in pairs]),
        "workers": workers,
        "answered_per_s": sum(float(worker["rate"]) for worker in workers if worker.get("loop") == "answer"),
        "tokens_per_s": sum(float(worker["tokens_rate"]) for worker in workers if worker.get("loop") == "answer"),
        "history": history,
        "newer": newer,
        "people": _people(waiting(settings)),
    }


def _people(found: Sequence[Held]) -> dict[str, int]:
    """How many conversations wait for a person, and since when the first."""
    return {"waiting": len(found), "since": min((one.since for one in found), default=0)}


def _texts(raw: dict[bytes, bytes]) -> dict[str, str]:
    return {field.decode(): value.decode() for field, value in raw.items()}


def _sum(parts: list[Backlog]) -> dict[str, int]:
    return {
        "messages": sum(part.messages for part in parts),
        "deferred": sum(part.deferred for part in parts),
        "lanes": sum(part.lanes for part in parts),
        "leased": sum(part.leased for part in parts),
        "age_ms": max(part.age_ms for part in parts),
    }
