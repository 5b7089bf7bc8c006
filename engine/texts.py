"""What Replymill says by itself, in words that can be set: a part of `engine.settings`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine import values


def setting(default: Any, parse: Callable[[str], Any], meaning: str, *, secret: bool = False) -> Any:
    """A field that is read from the environment."""
    return field(default=default, metadata={"parse": parse, "meaning": meaning, "secret": secret})


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Every fixed text."""

    apology: str = setting(
        "Sorry, I could not answer this in time. Please ask again.", values.text, "sent when no answer is made before the deadline"
    )
    no_text: str = setting("I can only read text. Please type your question.", values.text, "sent for a message without text")
    paused: str = setting(
        "I have said a lot here and pause for a while, without answering this. Please send it again later.",
        values.text,
        "sent once when the bot pauses",
    )
    handing_over: str = setting(
        "I am getting a person for you; please wait here.", values.text, "sent when a conversation goes to a person"
    )
    nobody_came: str = setting(
        "Nobody has been free so far, sorry. I am answering again: please tell me what you need.",
        values.text,
        "sent when nobody has picked a conversation up in time",
    )
    not_handed: str = setting(
        "I could not reach a person, sorry. I am answering again: please tell me what you need.",
        values.text,
        "sent when a conversation could not be given to a person",
    )
    given_back: str = setting(
        "You are talking to the bot again. Say /human to get a person.", values.text, "sent when a person gives a conversation back"
    )
    forgotten: str = setting("I have forgotten this conversation.", values.text, "sent when a person asked to be forgotten")
    in_line: str = setting(
        "Many people are writing just now: about {position} messages are before yours, and I expect to answer in about {wait}.",
        values.text_with("position", "wait"),
        "sent once when the wait is long; {position} and {wait} are filled in",
    )
    tenant_full: str = setting(
        "Too many people are writing just now, and I could not take your message. Please send it again in some minutes.",
        values.text,
        "sent once when too much waits for a tenant; the platform may bring the message again by itself",
    )
    lane_full: str = setting(
        "I am still working on your earlier messages; please wait for my reply.",
        values.text,
        "sent once when a conversation is full",
    )
