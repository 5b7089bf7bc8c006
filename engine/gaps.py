"""What was not answered well: rows in Redis, redacted, for `replymill gaps`.

A row holds no more than is needed to write an answer: question and reply without personal data, why, and which message and
conversation it was, by digests. So nothing of who asked is kept, and an agent's answer is found while the history has it.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec
import structlog

from engine.crypto import Digests
from engine.errors import DecodeError
from engine.keys import GAPS, Shard, gaps
from engine.lanes import Lanes
from engine.messages import SCHEMA, Role, Turn, Wire
from engine.moves import read_history
from engine.redaction import redact
from engine.settings import Settings
from engine.store import AsyncClient, Client, reachable
from engine.trail import of_message

log = structlog.get_logger()

#: Characters of a question and of a reply that are kept.
LONGEST_QUESTION, LONGEST_REPLY = 500, 1_000


class Why(StrEnum):
    """Why a reply leaves something to be desired."""

    #: A fixed text was all there was to say.
    UNANSWERED = "unanswered"
    #: The confidence was below `answer_confidence`.
    UNSURE = "unsure"
    #: A person got the conversation.
    HANDED_OVER = "handed over"
    #: The same was asked before.
    REPEATED = "asked again"
    #: The person did not like the reply.
    DISLIKED = "thumbs down"


class Gap(Wire, frozen=True, array_like=True, kw_only=True):
    """One question that was not answered well."""

    schema: int = SCHEMA
    why: Why
    #: Without personal data, like the reply.
    question: str
    reply: str = ""
    #: Of a hand-over: one of `engine.handoff.Reason`.
    reason: str = ""
    #: The message; its end names the shard of the conversation.
    message: str
    #: The conversation, as its keys are named.
    ref: str
    #: Unix time in milliseconds.
    at: int


def redacted(row: Gap) -> Gap:
    """The row without personal data."""
    question, reply = redact(row.question[:LONGEST_QUESTION]), redact(row.reply[:LONGEST_REPLY])
    return msgspec.structs.replace(row, question=question, reply=reply)


def note_gap(client: Client, settings: Settings, tenant: str, row: Gap) -> None:
    """Keep a row; beyond `gaps_kept` of a tenant the oldest goes.

    :raises StoreUnavailable: if Redis is away.
    """
    key = _key(row.ref)
    with reachable():
        pipeline = client.pipeline(transaction=False)
        pipeline.hset(GAPS, key, tenant)
        pipeline.lpush(key, row.encode())
        pipeline.ltrim(key, 0, settings.gaps_kept - 1)
        pipeline.expire(key, int(settings.gaps_ttl))
        pipeline.execute()


async def note_dislike(client: AsyncClient, lanes: Lanes, message: str, *, at: int) -> bool:
    """Keep that somebody did not like the reply to a message; False: what was asked is no longer known.

    :raises ValueError: for an id that is none of ours.
    """
    settings = lanes.settings
    found = await of_message(lanes, message).run_async(client)
    known = await lanes.look(message).run_async(client)
    if not found.ref:
        return False
    shard = _shard(lanes, message)
    with reachable():
        kept = await client.lrange(shard.history(found.ref), 0, -1)
    reply = known.record.get("text", "")
    question = asked(read_history(found.ref, kept), reply)
    if not question:
        return False
    row = redacted(Gap(why=Why.DISLIKED, question=question, reply=reply, message=message, ref=found.ref, at=at))
    key = _key(found.ref)
    with reachable():
        pipeline = client.pipeline(transaction=False)
        pipeline.hsetnx(GAPS, key, "")
        pipeline.lpush(key, row.encode())
        pipeline.ltrim(key, 0, settings.gaps_kept - 1)
        pipeline.expire(key, int(settings.gaps_ttl))
        await pipeline.execute()
    return True


def asked(history: Sequence[Turn], reply: str) -> str:
    """The question that a reply answered, by the latest turn with its text; empty if it is not there."""
    for place in range(len(history) - 1, 0, -1):
        turn, before = history[place], history[place - 1]
        if turn.role is Role.ASSISTANT and before.role is Role.USER and reply and turn.text.strip() == reply.strip():
            return before.text
    return ""


def read_gaps(client: Client, settings: Settings, *, tenant: str | None = None, since: int = 0) -> list[tuple[str, Gap]]:
    """(Tenant, gap) of every row since then, the newest first; of one tenant alone where one is named."""
    digests = Digests(settings.secret_key)
    with reachable():
        known = {key.decode(): name.decode() for key, name in client.hgetall(GAPS).items()}
    configured = {gaps(digests.tenant(name)): name for name in _configured(settings)}
    known = {key: name or configured.get(key, "") for key, name in known.items()}
    if tenant is not None:
        known = {gaps(digests.tenant(tenant)): tenant}
    found = []
    for key, name in known.items():
        with reachable():
            rows = client.lrange(key, 0, -1)
        found += [(name, row) for raw in rows if (row := _read(raw)) and row.at >= since]
    return sorted(found, key=lambda one: -one[1].at)


def drop_gaps(client: Client, closed: Sequence[Gap]) -> None:
    """Forget rows that were dealt with."""
    with reachable():
        pipeline = client.pipeline(transaction=False)
        for gap in closed:
            pipeline.lrem(_key(gap.ref), 0, gap.encode())
        pipeline.execute()


def agent_said(client: Client, lanes: Lanes, gap: Gap) -> str:
    """What people answered after the question of a gap; empty while they have not, or the history is over."""
    shard = _shard(lanes, gap.message)
    with reachable():
        turns = read_history(gap.ref, client.lrange(shard.history(gap.ref), 0, -1))
    said: list[str] = []
    for turn in turns:
        if turn.role is Role.USER and said:
            break
        if turn.role is Role.AGENT and turn.at >= gap.at:
            said.append(turn.text)
    return "\n\n".join(said)


def belongs(gap: Gap, tenant: str, settings: Settings) -> bool:
    """Whether a gap is of that tenant: the name of one that is no longer set up is not known."""
    return _key(gap.ref) == gaps(Digests(settings.secret_key).tenant(tenant))


def _key(ref: str) -> str:
    """The digest of the tenant leads the name of a conversation."""
    return gaps(ref.partition(".")[0])


def _configured(settings: Settings) -> set[str]:
    """Every tenant that has a way in."""
    named = [one for known in settings.accounts.values() for one in known.values()]
    return {"default", *(one.tenant for one in settings.webhooks.values()), *(one.tenant for one in named)}


def _shard(lanes: Lanes, message: str) -> Shard:
    return lanes.shards[int(message.split("-")[1])]


def _read(raw: bytes) -> Gap | None:
    try:
        return Gap.decode(raw)
    except DecodeError as error:
        log.warning("A row of the gaps cannot be read", action="gaps.unreadable", error=str(error))
        return None
