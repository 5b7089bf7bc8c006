"""What Replymill says by itself, in words that can be set: a part of `engine.settings`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine import values


def setting(default: Any, parse: Callable[[str], Any], meaning: str, *, secret: bool = False, shared: bool = False) -> Any:
    """A field that is read from the environment; `shared` by all tenants: none has one of its own."""
    return field(default=default, metadata={"parse": parse, "meaning": meaning, "secret": secret, "shared": shared})


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Every fixed text."""

    help: str = setting(
        "Hello! Ask me anything, in your own words. "
        "/human brings a person, /stop takes back what I have not answered yet, /forget makes me forget what we said.",
        values.text,
        "sent on `/start` and `/help` of Telegram",
    )
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
    seconds: str = setting("{count} seconds", values.text_with("count"), "a wait in seconds, as `in_line` has it")
    minutes: str = setting("{count} minutes", values.text_with("count"), "the same in minutes, two or more")
    hours: str = setting("{count} hours", values.text_with("count"), "the same in hours, two or more")
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
    greeting: str = setting("Hello! What can I help you with?", values.text, "answers a greeting")
    how_are_you: str = setting("I am well, thank you. What can I help you with?", values.text, "answers `how are you`")
    thanks: str = setting("You are welcome.", values.text, "answers thanks")
    goodbye: str = setting("Goodbye!", values.text, "answers a goodbye")
    fine: str = setting("All right. Write to me whenever you need something.", values.text, "answers `ok`, or `no, that is all`")
    bot: str = setting("I am a bot, a computer program, not a person.", values.text, "answers `are you a person`, truthfully")
    who: str = setting(
        "I am a bot that answers questions here. Ask me something in a sentence, and I look for the answer.",
        values.text,
        "answers `who are you` and `what can you do`",
    )
    say_more: str = setting("Please tell me in a sentence what you need.", values.text, "answers a `yes` to nothing, and the like")
    clarify: str = setting("Which of these do you mean?", values.text, "asks which of several topics is meant; the topics follow")
    clarify_one: str = setting("Do you mean this?", values.text, "the same where there is one likely topic")
    unknown: str = setting(
        "I do not know the answer to that, sorry. Please put it in other words, or ask me something else.",
        values.text,
        "sent when there is no answer and no person",
    )
    partly: str = setting(
        "I have no answer to this: {questions}",
        values.text_with("questions"),
        "ends a reply to several questions of which some have no answer",
    )
    not_spoken: str = setting(
        "I cannot answer in your language, sorry.",
        values.text,
        "sent in a language that the bot does not speak, where there is no person",
    )
    nobody_here: str = setting(
        "I am a bot, and there is nobody here I could hand you over to. Please tell me what you need.",
        values.text,
        "sent to who asks for a person where there are none",
    )
    found_only: str = setting(
        "This is what I have found:", values.text, "leads a passage that is sent instead of an answer of the model"
    )
    sources: str = setting("See also: {links}", values.text_with("links"), "names the passages that a reply rests on")
    texts: str = setting(
        "",
        values.table,
        "file of all these texts in other languages, `.toml` or `.yaml`: language, name, text; see docs/dialogue.md",
    )
