"""What a press of the buttons below a reply says in Slack."""

from collections.abc import Mapping
from typing import Any

import msgspec

from connectors import wishes
from connectors.bodies import well_formed
from connectors.contract import Feedback
from connectors.slack_events import CHOICE, FEEDBACK, Place, Room, Said, id_of, shaped, time_of
from engine.choices import LONGEST_CHOICE
from engine.errors import UnparseableMessage
from engine.messages import InboundMessage


class Named(msgspec.Struct, frozen=True):
    id: str | None = None


class Pressed(msgspec.Struct, frozen=True):
    """The message whose button it was."""

    ts: str | None = None
    thread_ts: str | None = None


class Interaction(msgspec.Struct, frozen=True):
    """A payload of the type `block_actions`; unknown fields are left alone."""

    user: Named = Named()
    team: Named | None = None
    enterprise: Named | None = None
    is_enterprise_install: bool | None = None
    channel: Named | None = None
    message: Pressed | None = None
    actions: Any = None


def read(name: str, tenant: str, body: Mapping[str, Any]) -> tuple[Said, ...]:
    """A verdict about a reply, or a choice as what the person says; nothing where the buttons are not ours.

    :raises UnparseableMessage: they are, but the rest is not of the shape that Slack documents.
    """
    actions = body.get("actions")
    pressed = [one for one in actions if isinstance(one, dict)] if isinstance(actions, list) else []
    found: list[Said] = []
    for one in pressed:
        action, value = str(one.get("action_id", "")), str(one.get("value", ""))
        if action == FEEDBACK:
            found += _verdict(value)
        elif action.startswith(CHOICE) and value.strip():
            found.append(_chosen(name, tenant, shaped(body, Interaction), well_formed(value[:LONGEST_CHOICE])))
    return tuple(found)


def _verdict(value: str) -> tuple[Said, ...]:
    verdict, _, turn = value.partition(":")
    return (Said(Feedback(turn, verdict)),) if verdict in ("up", "down") and turn else ()


def _chosen(name: str, tenant: str, found: Interaction, words: str) -> Said:
    """Any member of a channel may choose; pressed twice it is one message. It is answered where the choices stand."""
    if found.message is None or found.channel is None:
        raise UnparseableMessage("a press without its message")
    whole = found.is_enterprise_install and found.enterprise
    place = Place(name, tenant, id_of("team", whole.id if whole else found.team and found.team.id))
    channel, user = id_of("channel", found.channel.id), id_of("user", found.user.id)
    ts, root = time_of(found.message.ts), time_of(found.message.thread_ts or found.message.ts)
    room = Room(place, channel, direct=channel.startswith("D"), kinds=())
    once = place.logical("choice", place.id, channel, ts, user, words)
    one = InboundMessage(address=room.address("" if room.direct else root), sender=user, text=words, dedupe_ids=(once,))
    return Said(wishes.read(one), below=root if room.direct else "")
