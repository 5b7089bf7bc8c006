"""What is committed when a message gets no ordinary answer: pure, shared by both loops."""

from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from connectors.platforms import bridged, staffed
from engine import saying
from engine.choices import listed
from engine.errors import DecodeError, NewerSchema
from engine.handoff import Reason, relay
from engine.keys import Direction
from engine.messages import Action, Delivery, Entry, InboundMessage, Owner, Receipt, Reply, Role, Source, Turn
from engine.moves import Lane, Outcome, Overdue
from engine.settings import Settings
from engine.trace import answered_record
from engine.trail import answered_note, sent_note
from workers.handoffs import given_up, handed_over


def delivery_id(message_id: str, part: int = 0) -> str:
    """The same for every attempt to post one part of the answer to one message."""
    return f"{message_id}-{part}"


def answered(lane: Lane, reply: Reply, *, question: str, at: int, state: str = "answered") -> Outcome:
    """Commit a reply made `at` a time: both turns to history, the reply to the outbound lane, the record of the message."""
    first = lane.entries[0]
    return Outcome(
        owner="bot",
        turns=(
            Turn.kept(Role.USER, question, at=first.received_at),
            Turn.kept(Role.ASSISTANT, listed(reply.text, reply.choices), at=at),
        ),
        deliveries=(Delivery(id=delivery_id(first.id), reply=reply),),
        record=answered_record(reply, state=state, received_at=first.received_at, at=at),
        note=answered_note(reply, kind="p" if state == "apologised" else "a"),
    )


def kept_for_person(lane: Lane, messages: list[InboundMessage], settings: Settings) -> Outcome:
    """A person owns the conversation: the messages go to history, and to the people behind the bridge where they have it."""
    turns = tuple(Turn.kept(Role.USER, message.shown, at=message.received_at) for message in messages)
    record = {"state": "handed-over", "received_at": str(lane.entries[0].received_at)}
    posts = tuple(relay(message, message.id) for message in messages) if bridged(messages[0].address, settings) else ()
    return Outcome(owner="person", turns=turns, deliveries=posts, record=record, note="h")


def unreadable(error: str) -> Outcome:
    """Bytes that are no message: a dead letter; there is no address to apologise to."""
    return Outcome(owner="", record={"state": "dead", "reason": error}, dead=error)


def overdue(found: Overdue, settings: Settings, *, at: int) -> tuple[Lane, Outcome]:
    """The outcome of a lane whose head is past its deadline or out of attempts, and the lane cut to what it covers."""
    lane = found.lane
    exhausted = f"{lane.attempts} attempts failed" if found.reason == "exhausted" else ""
    if lane.direction is Direction.OUT:
        return lane, undelivered(lane, f"not delivered: {exhausted or 'its deadline is over'}", settings)
    messages, broken = read(lane.entries)
    if broken is not None:
        return _unread(lane, *broken, settings, at=at)
    lane = only(lane, *lane.entries[: len(messages)])
    if lane.owner is not Owner.BOT:
        return lane, kept_for_person(lane, messages, settings)
    question = "\n".join(message.shown for message in messages)
    language = saying.spoken((*(message.text for message in reversed(messages)), *saying.written(lane.history)))
    reply = apology(messages, settings, language)
    said = replace(answered(lane, reply, question=question, at=at, state="apologised"), dead=exhausted)
    if not staffed(reply.address, settings):
        return lane, said
    return lane, handed_over(said, Reason.ERROR, settings, sender=messages[0].sender, language=language)


def _unread(lane: Lane, entry: Entry, error: DecodeError, settings: Settings, *, at: int) -> tuple[Lane, Outcome]:
    """What nobody could read in time becomes a dead letter; who wrote to a newer version gets the apology too."""
    lane = only(lane, entry)
    outline = InboundMessage.outline(entry) if isinstance(error, NewerSchema) and lane.owner is Owner.BOT else None
    if outline is None:
        return lane, unreadable(str(error))
    reply = apology([outline], settings, saying.spoken(saying.written(lane.history)))
    said = answered(lane, reply, question="", at=at, state="apologised")
    return lane, replace(said, turns=(), dead=str(error))


def delivered(lane: Lane, delivery: Delivery, receipt: Receipt, *, at: int, seconds: float = 0) -> Outcome:
    """The platform took a delivery `at` a time, after so many seconds; the last part of a reply makes its message delivered."""
    state = "handed-over" if delivery.action is Action.HAND_OVER else "delivered"
    record = {"state": state, "delivered_at": str(at), "platform_id": receipt.platform_id} if delivery.last else {}
    note = sent_note(part=delivery.part, seconds=seconds, platform_id=receipt.platform_id)
    return Outcome(owner="", record=record, records=answered_by(lane.entries[0]), note=note)


def parts_of(delivery: Delivery, texts: Sequence[str]) -> list[Delivery]:
    """A delivery for each part of a reply; only the last has the choices, and does what the delivery asks for beside."""
    return [
        structs.replace(
            delivery,
            id=delivery_id(delivery.turn, part),
            reply=structs.replace(delivery.reply, text=text, choices=delivery.reply.choices if part == len(texts) - 1 else ()),
            part=part,
            parts=len(texts),
            action=delivery.action if part == len(texts) - 1 else Action.NONE,
        )
        for part, text in enumerate(texts)
    ]


def withdrawn(lane: Lane) -> Outcome:
    """A person took over before the reply was posted."""
    return Outcome(owner="", record={"state": "handed-over"}, records=answered_by(lane.entries[0]), note="w")


def undelivered(lane: Lane, reason: str, settings: Settings, *, tried: str = "") -> Outcome:
    """A delivery becomes a dead letter; the record of what it answers says so. `tried` is why the attempt that ended it failed."""
    record = {"state": "dead", "reason": reason}
    outcome = Outcome(owner="", record=record, records=answered_by(lane.entries[0]), dead=reason, tried=tried)
    return given_up(lane, outcome, reason, settings)


def answered_by(entry: Entry) -> tuple[str, ...]:
    """The message whose record a delivery updates: the first it answers."""
    return (entry.id.rpartition("-")[0],)


def apology(messages: list[InboundMessage], settings: Settings, language: str) -> Reply:
    """A fixed text instead of an answer."""
    return Reply(
        in_reply_to=tuple(message.id for message in messages),
        address=messages[0].address,
        text=saying.say(settings, messages[0].address.tenant, "apology", language),
        source=Source.FALLBACK,
        reference=messages[0].dedupe_ids[0],
    )


def read(entries: tuple[Entry, ...]) -> tuple[list[InboundMessage], tuple[Entry, DecodeError] | None]:
    """The messages before the first entry that cannot be read, and that entry with its error if it leads."""
    messages: list[InboundMessage] = []
    for entry in entries:
        try:
            messages.append(InboundMessage.from_entry(entry))
        except DecodeError as error:
            return messages, (entry, error) if not messages else None
    return messages, None


def only(lane: Lane, *entries: Entry) -> Lane:
    """The lane cut to some of its entries, for an outcome that answers no more."""
    return replace(lane, entries=entries)
