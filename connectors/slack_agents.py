"""What people behind the bridge write in Slack: in a thread of its channel, below a hand-over."""

from collections.abc import Mapping
from typing import Any

from connectors.people import AgentWord
from connectors.slack_events import NAME, WRITTEN, Envelope, Message, Said, by_machine, id_of, place_of, shaped, time_of
from connectors.slack_text import readable

_KINDS = ("message", "app_mention", "agent_session_stopped")


def words(name: str, tenant: str, body: Mapping[str, Any], *, channel: str) -> tuple[Said, ...] | None:
    """What an event says in the channel of the bridge, where nobody asks the bot; None: it happened elsewhere.

    Edits and deletions change nothing: what was passed on has arrived.

    :raises UnparseableMessage: it is not of the shape that Slack documents.
    """
    envelope = shaped(body, Envelope)
    found = envelope.event or {}
    if not channel or found.get("type") not in _KINDS or found.get("channel") != channel:
        return None
    message = shaped(found, Message)
    place = place_of(name, tenant, envelope)
    if found.get("type") == _KINDS[2] or message.subtype not in WRITTEN or by_machine(place, message):
        return ()
    ts, root = time_of(message.ts), time_of(message.thread_ts or message.ts)
    text = readable(message.text or "", bot=place.bot)
    if root == ts or not (text or message.files):
        return ()
    # Two events may tell of one message: the message is what both name.
    logical = place.logical(place.id, id_of("channel", message.channel), ts)
    return (Said(AgentWord(NAME, name, channel, (root,), (logical,), text, bool(message.files))),)
