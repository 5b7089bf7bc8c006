"""How a reply looks at Telegram: its chat and topic, its length, what it answers, the buttons below it."""

import hashlib
import html
import re
from typing import Any

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, LinkPreviewOptions, ReplyParameters
from telegram.constants import ParseMode
from telegram.error import BadRequest

from connectors.formatting import to_plain, to_telegram, utf16
from connectors.telegram_client import Client
from engine.errors import DeliveryRefused
from engine.messages import Address, Delivery, Source

#: [D] 4,096 UTF-16 units after the markup is taken away; the rest is room for what we count otherwise.
LONGEST = 4_000
#: [S] Entities of a message; those after them are left out, with the targets of links.
MOST_ENTITIES = 100
#: [D] Bytes of `callback_data`.
LONGEST_PRESS = 64
#: Characters on a button; a phone shows about so many of a row of its own.
LONGEST_LABEL = 64

_TAG = re.compile(r"<[^>]*>")
_CHAT = re.compile(r"-?[0-9]{1,20}")


def place_of(address: Address) -> tuple[str, str]:
    """The account and the chat; names of accounts hold no slash."""
    name, _, chat = address.channel.partition("/")
    if not _CHAT.fullmatch(chat):
        raise DeliveryRefused(f"{address.channel!r} names no chat of Telegram")
    return name, chat


def private(chat: str) -> bool:
    """[D] Ids of groups and channels are negative."""
    return not chat.startswith("-")


def topic_of(address: Address) -> int | None:
    return int(address.thread) if address.thread.isdecimal() else None


def draft_id(turn: str) -> int:
    """The same for every step of one reply, and never 0."""
    return int.from_bytes(hashlib.blake2b(turn.encode(), digest_size=4).digest()) >> 1 | 1


def fits(part: str) -> bool:
    """Both as Telegram counts the HTML, and as the plain text that goes out where it refuses the HTML."""
    markup = to_telegram(part)
    seen = html.unescape(_TAG.sub("", markup))
    return markup.count("</") <= MOST_ENTITIES and max(utf16(seen), utf16(to_plain(part))) <= LONGEST


def options_of(chat: str, delivery: Delivery) -> dict[str, Any]:
    found: dict[str, Any] = {
        "link_preview_options": LinkPreviewOptions(is_disabled=True),
        "message_thread_id": topic_of(delivery.reply.address),
    }
    asked = delivery.reply.reference.rpartition("/")[2]
    if not private(chat) and delivery.part == 0 and asked.isdecimal():
        found["reply_parameters"] = ReplyParameters(int(asked), allow_sending_without_reply=True)
    if delivery.reply.choices:
        found["reply_markup"] = _picks(delivery)
    elif delivery.last and delivery.reply.source not in (Source.FALLBACK, Source.AGENT):
        found["reply_markup"] = _thumbs(delivery.turn)
    return found


def _picks(delivery: Delivery) -> InlineKeyboardMarkup | None:
    """A row for each choice, whose words are too long for the data of a press: that names their place."""
    presses = {f"pick:{place}:{delivery.turn}": choice for place, choice in enumerate(delivery.reply.choices)}
    if any(len(data.encode()) > LONGEST_PRESS for data in presses):
        return None
    return InlineKeyboardMarkup([[InlineKeyboardButton(choice, callback_data=data)] for data, choice in presses.items()])


def _thumbs(turn: str) -> InlineKeyboardMarkup | None:
    presses = {"👍": f"up:{turn}", "👎": f"down:{turn}"}
    if any(len(data.encode()) > LONGEST_PRESS for data in presses.values()):
        return None
    return InlineKeyboardMarkup([[InlineKeyboardButton(face, callback_data=data) for face, data in presses.items()]])


async def formatted(client: Client, chat: int, text: str, options: dict[str, Any]) -> str:
    """Post it as HTML, or as plain text where Telegram refuses the markup."""
    try:
        return await _send(client, chat, to_telegram(text), {"parse_mode": ParseMode.HTML, **options})
    except BadRequest as error:
        # "can't parse entities: ..." of the server, ENTITY_BOUNDS_INVALID and its like of what lies behind it.
        if "entit" not in error.message.lower():
            raise
        return await _send(client, chat, to_plain(text), options)


async def _send(client: Client, chat: int, text: str, options: dict[str, Any]) -> str:
    message = await client.send_message(chat, text, **options)
    return str(message.message_id)
