"""What a hand-over adds to an outcome: pure, shared by both loops."""

from dataclasses import replace

from msgspec import structs

from connectors.platforms import bridged, staffed
from engine import saying
from engine.errors import DecodeError
from engine.handoff import BRIDGE, Hand, Reason, behind, noted, opening, told, why
from engine.messages import Action, Delivery, Owner, Reply, Role, Source, Turn
from engine.moves import Lane, Outcome
from engine.question import Question
from engine.settings import Settings
from engine.trail import handed_note


def reason_of(question: Question, reply: Reply | None, settings: Settings) -> Reason | None:
    """Why a person should answer a turn, where there is one; `reply` None: none is made yet."""
    if not staffed(question.address, settings):
        return None
    return why(question.text, question.conversation.turns, reply, settings.for_tenant(question.address.tenant))


def handed_over(outcome: Outcome, reason: Reason, settings: Settings, *, sender: str = "", language: str = "") -> Outcome:
    """Instead of its reply the outcome gives the conversation to a person, and says so in the person's language."""
    before = outcome.deliveries[0]
    draft, text = before.reply, saying.say(settings, before.reply.address.tenant, "handing_over", language)
    reply = structs.replace(draft, text=text, source=Source.FALLBACK, evidence=(), confidence=None)
    post = structs.replace(before, reply=reply, action=Action.HAND_OVER)
    with_bridge = bridged(draft.address, settings)
    shown = draft if reason is Reason.UNSURE else None
    head = (opening(draft.address, draft.in_reply_to[0], reason, sender=sender, draft=shown),) if with_bridge else ()
    hand = Hand(
        address=draft.address,
        owner=Owner.WAITING,
        reason=reason,
        deliveries=(post, *head),
        language=language,
        bridged=with_bridge,
    )
    said = tuple(Turn.kept(Role.ASSISTANT, text, at=turn.at) if turn.role is Role.ASSISTANT else turn for turn in outcome.turns)
    record = outcome.record | {"state": "handed-over", "reason": reason, "text": text, "source": reply.source}
    return replace(outcome, turns=said, deliveries=(), record=record, hand=hand, note=handed_note(outcome.note, reason))


def given_up(lane: Lane, outcome: Outcome, reason: str, settings: Settings) -> Outcome:
    """A delivery that becomes a dead letter leaves nobody waiting: not the user for a person, nor a person for the user."""
    try:
        delivery = Delivery.decode(lane.entries[0].body)
    except DecodeError:  # nobody can tell whose it was
        return outcome
    address = delivery.reply.address
    over_bridge = address.platform == BRIDGE
    conversation = behind(address) if over_bridge else address
    if over_bridge or (delivery.action is Action.HAND_OVER and not bridged(address, settings)):
        said = told(conversation, f"failed-{delivery.id}", saying.say(settings, conversation.tenant, "not_handed"))
        return replace(outcome, hand=Hand(address=conversation, owner=Owner.BOT, reason=Reason.FAILED, deliveries=(said,)))
    if delivery.reply.source is Source.AGENT:
        return replace(outcome, deliveries=(noted(conversation, f"failed-{delivery.id}", f"The user did not get this: {reason}"),))
    return outcome


def sorry(outcome: Outcome, settings: Settings, language: str) -> Outcome:
    """The same outcome of a hand-over that failed, which says so in a language."""
    hand = outcome.hand
    if hand is None:
        return outcome
    text = saying.say(settings, hand.address.tenant, "not_handed", language)
    said = tuple(structs.replace(one, reply=structs.replace(one.reply, text=text)) for one in hand.deliveries)
    return replace(outcome, hand=replace(hand, deliveries=said))
