"""What an update of Telegram says, as values of the contract: nothing is asked of anybody here.

The parser is python-telegram-bot's; whatever shape an update has, `UnparseableMessage` or `Overloaded` alone comes out.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from telegram import CallbackQuery, Message, MessageEntity, Update

from connectors import wishes
from connectors.attachments import File, legible, written
from connectors.bodies import well_formed
from connectors.contract import Edit, Feedback, Forget, HandOver, Inbound, Notice, Stop
from connectors.telegram_presses import chosen
from engine.accounts import TelegramBot
from engine.errors import NothingToAnswer, Overloaded, UnparseableMessage
from engine.messages import Address, InboundMessage, Media, MediaKind

NAME = "telegram"

#: What asks for an answer although it may have no text.
ATTACHMENTS = (
    *("animation", "audio", "contact", "dice", "document", "game", "live_photo", "location", "paid_media", "photo"),
    *("poll", "sticker", "story", "venue", "video", "video_note", "voice"),
)

_ENTITIES: list[str | None] = [MessageEntity.MENTION, MessageEntity.TEXT_MENTION, MessageEntity.BOT_COMMAND]

#: What the parser and our own reading raise where an update has not the shape of one.
_BROKEN = (TypeError, ValueError, LookupError, AttributeError, OverflowError, OSError, RuntimeError)

#: What the commands of the bot ask for.
_COMMANDS: Mapping[str, Callable[[Address, tuple[str, ...]], Inbound]] = {
    "start": lambda address, ids: Notice(address, ids, "help"),
    "help": lambda address, ids: Notice(address, ids, "help"),
    "human": HandOver,
    "forget": Forget,
    "stop": Stop,
}

#: `callback_data` of the buttons below a reply.
_PRESS = re.compile(r"(up|down):([!-~]{1,60})")


@dataclass(frozen=True, slots=True)
class Me:
    """The bot that an update came for."""

    account: TelegramBot
    id: int
    #: Without `@`, in lower case; None until the API has told it.
    username: str | None = None


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a person said to the bot."""

    #: Without mentions of the bot.
    text: str
    #: A command it begins with, in lower case and without `/`; empty where there is none.
    command: str = ""
    media: tuple[Media, ...] = ()


def read(data: Mapping[str, Any]) -> Update:
    """The update in a JSON object.

    :raises UnparseableMessage: it has not the shape of one.
    """
    with in_shape():
        update = Update.de_json(dict(data), None)
        whole(update.update_id)
        return update


def translate(update: Update, me: Me, *, kinds: Collection[MediaKind] = ()) -> tuple[Inbound, ...]:
    """What the update asks for, in a private chat or where the bot is named, answered or commanded.

    :raises UnparseableMessage: it has not the shape of one.
    :raises Overloaded: the bot's own name must be known to tell, and is not known yet.
    """
    with in_shape():
        if update.callback_query:
            return _press(update, update.callback_query, me)
        message = update.message or update.edited_message
        heard = _heard(message, me) if message and from_a_person(message) else None
        if message is None or heard is None:
            return ()
        heard = replace(heard, media=legible(_files(message), kinds))
        address, ids = _address(message, me), _ids(update, message, me)
        if update.edited_message:
            return _edit(message, heard, address, ids)
        return tuple(_to(message, one) for one in _new(message, heard, address, ids))


@contextmanager
def in_shape() -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise UnparseableMessage(f"not the shape of an update ({type(error).__name__})") from error


def whole(value: Any) -> int:
    """The parser takes any type anywhere; an id that is no number is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(type(value).__name__)
    return value


def from_a_person(message: Message) -> bool:
    """Bots, posts of channels and anonymous administrators start nothing, nor does what somebody sent through another bot."""
    sender = message.from_user
    if sender is None or sender.is_bot or message.via_bot or message.sender_chat or message.is_automatic_forward:
        return False
    return message.chat.type in {"private", "group", "supergroup"}


def _heard(message: Message, me: Me) -> _Heard | None:
    """What was said to the bot, or None if it was said to others."""
    text = message.text or message.caption or ""
    entities = message.parse_entities(_ENTITIES) if message.text else message.parse_caption_entities(_ENTITIES)
    mine = [entity for entity, said in entities.items() if _names_me(entity, said, me)]
    private = message.chat.type == "private"
    if not private and not mine and not _answers_me(message, me):
        _need_name(me, entities.values())
        return None
    first = next((said for entity, said in entities.items() if entity.type == "bot_command" and entity.offset == 0), "")
    command, _, to = first[1:].lower().partition("@")
    if to and me.username and to != me.username:
        return None
    return _Heard(_without(text, mine), command)


def _names_me(entity: MessageEntity, said: str, me: Me) -> bool:
    if entity.type == MessageEntity.TEXT_MENTION:
        return entity.user is not None and entity.user.id == me.id
    return bool(me.username) and said.lower().partition("@")[2] == me.username


def _need_name(me: Me, said: Iterable[str]) -> None:
    """Somebody is named, and we do not know yet who we are."""
    if me.username is None and any("@" in name for name in said):
        raise Overloaded("the name of the bot is not known yet: send it again")


def _answers_me(message: Message, me: Me) -> bool:
    """Every message of a topic answers the one that opened it: that is no answer to the bot, even if the bot opened it."""
    replied = message.reply_to_message
    if replied is None or replied.from_user is None or replied.from_user.id != me.id:
        return False
    return not (message.is_topic_message and replied.message_id == message.message_thread_id)


def _without(text: str, mine: Sequence[MessageEntity]) -> str:
    """The text without mentions of the bot, whose places are counted in UTF-16; of a command only the name of the bot goes."""
    if not mine:
        return well_formed(text).strip()
    raw = text.encode("utf-16-le")
    for entity in sorted(mine, key=lambda entity: entity.offset, reverse=True):
        begin, end = 2 * entity.offset, 2 * (entity.offset + entity.length)
        named = raw[begin:end]
        kept = named[: named.find("@".encode("utf-16-le"))] if entity.type == MessageEntity.BOT_COMMAND else b""
        raw = raw[:begin] + kept + raw[end:]
    return raw.decode("utf-16-le").strip().lstrip(",:").strip()


def _address(message: Message, me: Me) -> Address:
    """The chat, and the topic in a forum; outside of forums a thread is nothing but a chain of replies."""
    topic = str(whole(message.message_thread_id)) if message.is_topic_message else ""
    channel = f"{me.account.name}/{whole(message.chat.id)}"
    return Address(platform=NAME, tenant=me.account.tenant, channel=channel, thread=topic)


def _ids(update: Update, message: Message, me: Me) -> tuple[str, ...]:
    """Of the message (an edit has the same), and of the update."""
    return (f"{me.id}/{message.chat.id}/{whole(message.message_id)}", f"{me.id}/{update.update_id}")


def _album(message: Message, first_id: str) -> tuple[str, ...]:
    """The id of the album that a photo or a file came in: what has no text of its own counts as one message with the rest of it."""
    chat, group = first_id.rpartition("/")[0], message.media_group_id
    return (f"{chat}/album-{well_formed(str(group))}",) if group else ()


def _files(message: Message) -> Iterator[File]:
    """What the parser has found, in the largest size there is."""
    for kind in ("voice", "audio", "video_note", "document"):
        if one := getattr(message, kind):
            spoken = None if kind == "document" else MediaKind.VOICE
            yield File(
                reference=one.file_id,
                mime=getattr(one, "mime_type", ""),
                name=getattr(one, "file_name", ""),
                size=one.file_size,
                kind=spoken,
            )
    if message.photo:
        largest = message.photo[-1]
        yield File(reference=largest.file_id, mime="image/jpeg", size=largest.file_size)


def _new(message: Message, heard: _Heard, address: Address, ids: tuple[str, ...]) -> tuple[Inbound, ...]:
    """A caption may stand below any photo of an album, or below several: each is a message, whatever was said to the others."""
    album = _album(message, ids[0])
    if make := _COMMANDS.get(heard.command):
        return (make(address, ids),)
    try:
        found = wishes.read(_said(message, heard, address, ids))
        # What follows of the album without a text is answered with this one.
        return (found, Notice(address, album, "")) if album else (found,)
    except NothingToAnswer:
        # A photo or a voice message; a bare mention; or a service message, such as that somebody joined.
        if any(getattr(message, kind) for kind in ATTACHMENTS):
            return (Notice(address, (*ids, *album), "no_text"),)
        return (Notice(address, ids, "help"),) if message.text else ()


def _to(message: Message, inbound: Inbound) -> Inbound:
    """A notice in the language that the person has set."""
    code = str(message.from_user.language_code or "")[:2].lower() if message.from_user else ""
    return replace(inbound, language=code) if isinstance(inbound, Notice) else inbound


def _edit(message: Message, heard: _Heard, address: Address, ids: tuple[str, ...]) -> tuple[Inbound, ...]:
    if heard.command in _COMMANDS:
        return ()
    try:
        return (Edit(_said(message, heard, address, ids[:1])),)
    except NothingToAnswer:  # a live location that moved, a poll that was answered
        return ()


def _said(message: Message, heard: _Heard, address: Address, ids: tuple[str, ...]) -> InboundMessage:
    sender = whole(message.from_user and message.from_user.id)
    text = written(heard.text, heard.media)
    return InboundMessage(address=address, sender=str(sender), text=text, dedupe_ids=ids, media=heard.media)


def _press(update: Update, query: CallbackQuery, me: Me) -> tuple[Inbound, ...]:
    """A choice is what whoever presses it says, as any member of a group may.

    A verdict counts if it comes from the person who was answered; in a group others see the buttons too.
    """
    if (words := chosen(query)) and isinstance(query.message, Message) and not query.from_user.is_bot:
        return (_picked(update, query.message, me, words, sender=whole(query.from_user.id)),)
    found = _PRESS.fullmatch(query.data or "")
    asked = getattr(query.message, "reply_to_message", None)
    foreign = asked is not None and asked.from_user is not None and asked.from_user.id != query.from_user.id
    if not found or foreign or query.from_user.is_bot:
        return ()
    return (Feedback(message_id=found[2], verdict=found[1]),)


def _picked(update: Update, message: Message, me: Me, words: str, *, sender: int) -> Inbound:
    """The words on a button as a message; pressed twice it is one."""
    once = f"{me.id}/{whole(message.chat.id)}/{whole(message.message_id)}/choice-{sender}-{words}"
    ids = (once[:256], f"{me.id}/{update.update_id}")
    return wishes.read(InboundMessage(address=_address(message, me), sender=str(sender), text=words, dedupe_ids=ids))
