"""Who answers a conversation, as one state machine for all platforms; and the policy that asks for a person. Pure.

    bot ----------> waiting -----------> human
     ^  asked, unsure,  |   agent           |
     |  anger, repeated,|                   | done, idle, tool
     |  error, busy     | nobody, failed    |
     +------------------+-------------------+

A change of owner revises what waits, so that no reply being made can be committed (see `engine/lua/common.lua`).
"""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from msgspec import structs

from engine import wordings
from engine.messages import Action, Address, Delivery, InboundMessage, Owner, Reply, Role, Source, Turn
from engine.settings import Settings
from engine.staffing import Staffing

#: The platform of what goes to the people behind the bridge; `connectors.bridge` posts it.
BRIDGE = "bridge"


class Reason(StrEnum):
    """Why the owner of a conversation changes."""

    #: The user asked for a person.
    ASKED = "asked"
    #: The confidence of the reply is below the setting.
    UNSURE = "unsure"
    #: The user is angry.
    ANGER = "anger"
    #: The user asked the same again and again.
    REPEATED = "repeated"
    #: No reply could be made.
    ERROR = "error"
    #: So much waits that a person is faster.
    BUSY = "busy"
    #: A person took it, or wrote.
    AGENT = "agent"
    #: The support tool says so.
    TOOL = "tool"
    #: A person gave it back.
    DONE = "done"
    #: Nobody picked it up.
    NOBODY = "nobody"
    #: The person has said nothing for long.
    IDLE = "idle"
    #: It could not be handed over.
    FAILED = "failed"


#: What an operator or an agent reads.
MEANINGS: Mapping[Reason, str] = {
    Reason.ASKED: "the user asked for a person",
    Reason.UNSURE: "the bot is not sure of its answer",
    Reason.ANGER: "the user is angry",
    Reason.REPEATED: "the user has asked the same several times",
    Reason.ERROR: "the bot could not make an answer",
    Reason.BUSY: "too much is waiting for the bot",
    Reason.AGENT: "a person has taken it",
    Reason.TOOL: "the support tool says so",
    Reason.DONE: "a person gave it back",
    Reason.NOBODY: "nobody picked it up in time",
    Reason.IDLE: "the person has said nothing for long",
    Reason.FAILED: "it could not be handed over",
}

_ASKING = (Reason.ASKED, Reason.UNSURE, Reason.ANGER, Reason.REPEATED, Reason.ERROR, Reason.BUSY)

#: Every allowed move: for a reason the owners it may lead from, and the one it leads to. From any other owner nothing changes.
MOVES: Mapping[Reason, tuple[frozenset[Owner], frozenset[Owner]]] = {
    **dict.fromkeys(_ASKING, (frozenset({Owner.BOT}), frozenset({Owner.WAITING}))),
    Reason.AGENT: (frozenset(Owner), frozenset({Owner.HUMAN})),
    Reason.TOOL: (frozenset(Owner), frozenset(Owner)),
    Reason.DONE: (frozenset({Owner.WAITING, Owner.HUMAN}), frozenset({Owner.BOT})),
    Reason.NOBODY: (frozenset({Owner.WAITING}), frozenset({Owner.BOT})),
    Reason.IDLE: (frozenset({Owner.HUMAN}), frozenset({Owner.BOT})),
    Reason.FAILED: (frozenset({Owner.WAITING, Owner.HUMAN}), frozenset({Owner.BOT})),
}


@dataclass(frozen=True, kw_only=True)
class Hand:
    """One move of a conversation to another owner, and what is said where it takes place."""

    address: Address
    owner: Owner
    reason: Reason
    deliveries: tuple[Delivery, ...] = ()
    #: Posted whatever becomes of the move, and what goes to history then; of `engine.handing.hand` alone.
    always: tuple[Delivery, ...] = ()
    turns: tuple[Turn, ...] = ()
    #: The user's, as a code; empty: unknown.
    language: str = ""
    #: People are reached by the bridge: then we see what they say, and when they fall silent.
    bridged: bool = False

    @property
    def taken_from(self) -> frozenset[Owner]:
        """From any other owner nothing changes, and nothing is said."""
        return MOVES[self.reason][0]


#: Said by people at their wits' end, and hardly ever otherwise: whole words, in lower case. What is merely negative is left out.
_ANGRY = re.compile(
    r"\b(wtf|f+u+c+k\w*|bullshit|useless bot"
    r"|(this|it|you)( is|'s| are|'re) (\w+ )?(ridiculous|outrageous|infuriating|useless|a joke|a disgrace)"
    r"|(fed up|sick and tired|had enough) (of|with)|worst (service|support|company)|stop wasting my time"
    r"|i('m| am) (so |really |very |absolutely )?(angry|furious|livid)|sue you|my lawyer"
    r"|unverschämt\w*|frechheit|sauladen|verarscht?|scheiß\w*|ich bin (so |sehr )?(wütend|sauer|stinksauer)|es reicht( mir)?!"
    r"|inacceptable|honteux|je suis (très )?(furieux|furieuse|énervée?)|putain|marre de"
    r"|inaceptable|una vergüenza|estoy (muy )?(furioso|furiosa|enojad[oa]|enfadad[oa])|estoy hart[oa]|mierda"
    r"|inaccettabile|è una vergogna|sono (molto )?(furioso|furiosa|arrabbiat[oa])"
    r"|inaceitável|uma vergonha|estou (muito )?(furioso|furiosa))\b",
    re.IGNORECASE,
)
#: A row of such marks.
_MARKS = re.compile(r"[!?\uff01\uff1f]{4,}|[😠😡🤬]")
#: A whole message of so many letters in capitals is shouting; shorter ones are names and abbreviations.
SHOUTED_LETTERS = 20


def angry(text: str) -> bool:
    """Whether somebody has clearly lost patience; unclear cases are not anger."""
    letters = [character for character in text if character.isalpha()]
    cased = sum(character.isupper() or character.islower() for character in letters)
    shouted = cased >= SHOUTED_LETTERS and text.upper() == text and text.lower() != text
    return shouted or bool(_ANGRY.search(text) or _MARKS.search(text))


def normal(text: str) -> str:
    """The text as it is compared: without case, marks and width."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[^\w\s]", " ", folded).split())


def asked_again(question: str, history: Sequence[Turn], *, handing_over: Collection[str]) -> int:
    """How often the same was asked before, since a person last had to do with it; `handing_over`: what is said then."""
    asked, times = normal(question), 0
    for turn in reversed(history):
        if turn.role is Role.AGENT or (turn.role is Role.ASSISTANT and turn.text in handing_over):
            break
        times += turn.role is Role.USER and bool(asked) and normal(turn.text) == asked
    return times


def why(question: str, history: Sequence[Turn], reply: Reply | None, settings: Staffing) -> Reason | None:
    """Why a person should answer instead, or None. `reply` None: none is made yet; `settings` are the tenant's."""
    if settings.handover_anger and angry(question):
        return Reason.ANGER
    most = settings.handover_repeated
    if most and asked_again(question, history, handing_over=wordings.variants(settings, "handing_over")) >= most:
        return Reason.REPEATED
    if reply is None:
        return None
    if reply.source is Source.FALLBACK and reply.text in wordings.variants(settings, "apology"):
        return Reason.ERROR
    unsure = reply.confidence is not None and reply.confidence < settings.handover_confidence
    return Reason.UNSURE if unsure else None


def bridge_address(address: Address) -> Address:
    """Where what concerns a conversation goes to the people behind the bridge; its lane keeps the order there."""
    return Address(platform=BRIDGE, tenant=address.tenant, channel=f"{address.platform}/{address.channel}", thread=address.thread)


def behind(bridged: Address) -> Address:
    """The conversation that an address of the bridge is about."""
    platform, _, channel = bridged.channel.partition("/")
    return structs.replace(bridged, platform=platform, channel=channel)


def told(address: Address, delivery_id: str, text: str, *, source: Source = Source.FALLBACK) -> Delivery:
    """A text that answers no message, for the user."""
    reply = Reply(in_reply_to=(), address=address, text=text, source=source)
    return Delivery(id=f"{delivery_id}-0", reply=reply)


def noted(address: Address, delivery_id: str, text: str) -> Delivery:
    """A text about a conversation, for the people behind the bridge."""
    return told(bridge_address(address), f"bridge-{delivery_id}", text)


#: The owner of a conversation is kept longer than people are waited for, so that it never lapses without a word, seconds.
SPARE = 86_400.0


def spans(hand: Hand, settings: Settings) -> tuple[float, float]:
    """(Seconds until somebody must look whether a person cares, 0: never; seconds the new owner is kept)."""
    if hand.owner is Owner.WAITING:
        return settings.person_wait, 2 * settings.person_wait + SPARE
    if hand.bridged:
        return settings.person_idle * 3600, settings.person_idle * 3600 + SPARE
    return 0.0, settings.history_ttl


def opening(address: Address, delivery_id: str, reason: Reason, *, sender: str = "", draft: Reply | None = None) -> Delivery:
    """What opens a thread behind the bridge; the turns are added when it is posted. `draft` is what the bot would have said."""
    who = f", {literal(sender)}" if sender else ""
    place = " ".join(filter(None, (address.platform, address.channel, address.thread)))
    lines = [f"**A person is needed** ({MEANINGS[reason]}): {literal(place)}{who}"]
    if draft is not None and draft.source is not Source.FALLBACK:
        lines.append(f"The bot would have said: {literal(shortened(draft.text))}")
        lines += [f"It rests on: {literal(shortened(', '.join(draft.evidence)))}"] if draft.evidence else []
    delivery = noted(address, delivery_id, "\n\n".join(lines))
    return structs.replace(delivery, action=Action.HAND_OVER)


def relay(message: InboundMessage, message_id: str) -> Delivery:
    """What a user wrote, for the people behind the bridge."""
    words = "\n".join(literal(line) for line in message.shown.splitlines())
    return noted(message.address, message_id, f"**User:** {words}")


#: Characters of one turn, or of the evidence, that people are shown; and the turns.
SHOWN, SHOWN_TURNS = 400, 8


def shortened(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def literal(text: str) -> str:
    """Somebody's text as Markdown that shows it as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]()#+.!|<>~&-])", r"\\\1", " ".join(text.split()))


def summary(turns: Sequence[Turn], evidence: Sequence[str]) -> str:
    """The last turns of a conversation, for whoever takes it, and what the last reply rested on."""
    names = {Role.USER: "User", Role.ASSISTANT: "Bot", Role.AGENT: "Agent"}
    lines = [f"> **{names[turn.role]}:** {literal(shortened(turn.text))}" for turn in turns[-SHOWN_TURNS:]]
    if evidence:
        lines.append(f"The last answer rests on: {literal(shortened(', '.join(evidence)))}")
    return "\n\n".join(lines)
