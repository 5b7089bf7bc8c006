"""What a body says: one of our two shapes, or a foreign one whose places are named by dotted paths.

A place that is absent holds null; a list is entered by the number of an element, an object by a name.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from connectors.bodies import read_as, well_formed
from connectors.webhook_schemes import Endpoint
from engine.endpoints import Condition, WebhookEndpoint
from engine.errors import MalformedRequest, UnparseableMessage

#: Characters of the id of a message, a conversation or a person; each waiting message carries them.
LONGEST_ID = 512


class Content(msgspec.Struct, frozen=True):
    """What a message consists of; unknown fields are left alone."""

    conversation: str | None = None
    text: str | None = None
    user: str | None = None
    message_id: str | None = None


class Envelope(msgspec.Struct, frozen=True):
    """Standard Webhooks' payload."""

    type: str | None = None
    data: dict[str, Any] | None = None


def read_content(registered: WebhookEndpoint, found: dict[str, Any]) -> tuple[str, Content]:
    """The kind of message and its content.

    :raises MalformedRequest: a wrong type, naming its place.
    :raises UnparseableMessage: no message we know.
    """
    if registered.conversation_field or registered.text_field or registered.user_field:
        return "message.created", _mapped(registered, found)
    if "type" not in found:
        return "message.created", read_as(found, Content)
    envelope = read_as(found, Envelope)
    if envelope.type not in {"message.created", "message.updated", "message.deleted"}:
        raise UnparseableMessage(f"unknown type {ascii(envelope.type)[:80]}")
    if envelope.data is None:
        raise UnparseableMessage(f"{envelope.type} without `data`")
    return envelope.type, read_as(envelope.data, Content)


def read_id(endpoint: Endpoint, headers: Mapping[str, str], found: dict[str, Any]) -> str:
    """The id of a message, from where its endpoint has it.

    :raises MalformedRequest: it is no id.
    :raises UnparseableMessage: there is none.
    """
    path, header = endpoint.registered.id_field, endpoint.id_header
    known = _id(path, found) if path else headers.get(header)
    if not known:
        raise UnparseableMessage(f"no id at `{written(path)}`" if path else f"no header `{header}`")
    return short(written(path) or header, known)


def is_message(only: Sequence[Condition], found: dict[str, Any]) -> bool:
    """Whether an event is one that its endpoint takes for a message."""
    return all((_text_of(look(path, found)) == value) is equal for path, equal, value in only)


def look(path: Sequence[str], found: Any) -> Any:
    """What a body holds at a path; None where nothing is."""
    for step in path:
        if isinstance(found, dict):
            found = found.get(step)
        elif isinstance(found, list) and step.isdecimal():
            found = found[int(step)] if int(step) < len(found) else None
        else:
            return None
    return found


def short(name: str, value: str) -> str:
    """An id that is not too long to be carried along.

    :raises MalformedRequest: it is.
    """
    if len(value) > LONGEST_ID:
        raise MalformedRequest(f"`{name}` is longer than {LONGEST_ID} characters")
    return well_formed(value)


def written(path: Sequence[str]) -> str:
    """A path as its setting has it."""
    return ".".join(path)


def _mapped(registered: WebhookEndpoint, found: dict[str, Any]) -> Content:
    conversation = registered.conversation_field or ("conversation",)
    known = _id(conversation, found)
    if not known:
        raise UnparseableMessage(f"no conversation at `{written(conversation)}`")
    path = registered.text_field or ("text",)
    text = look(path, found)
    if text is not None and not isinstance(text, str):
        raise MalformedRequest(f"`{written(path)}` must be a text, but is {_kind(text)}")
    return Content(conversation=known, text=text, user=_id(registered.user_field or ("user",), found))


def _id(path: Sequence[str], found: dict[str, Any]) -> str | None:
    """Numbers are ids too, unless digits of them may have been lost on the way."""
    value = look(path, found)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise MalformedRequest(f"`{written(path)}` must be a text or a whole number, but is {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number with a fraction", list: "a list", dict: "an object"}
    return names[type(value)]


def _text_of(value: Any) -> str | None:
    """As a condition has it; a list or an object equals none."""
    if isinstance(value, dict | list):
        return None
    return value if isinstance(value, str) else json.dumps(value)
