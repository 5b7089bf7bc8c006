"""Telegram's HTML, as strictly read as Telegram reads it; and how the simulated Bot API refuses."""

import html
import time
from html.parser import HTMLParser
from typing import Any

#: Elements of Telegram's HTML.
_ELEMENTS = {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "code", "pre", "a", "blockquote", "tg-spoiler", "span"}


class Refused(Exception):
    """An answer that is no 2xx."""

    def __init__(self, status: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.status = status
        self.answer = {"ok": False, "error_code": status, "description": description}
        if parameters:
            self.answer["parameters"] = parameters


def visible(text: str) -> str:
    """What is seen of Telegram's HTML.

    :raises Refused: it is not that.
    """
    reader = _Reader()
    reader.feed(text)
    reader.close()
    if reader.open:
        raise _unparsable(f"Can't find end tag corresponding to start tag {reader.open[-1]}")
    return html.unescape("".join(reader.seen))


class _Reader(HTMLParser):
    """Strict, as Telegram is."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _ELEMENTS:
            raise _unparsable(f'Unsupported start tag "{tag}"')
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise _unparsable(f'Unmatched end tag "{tag}"')

    def handle_data(self, data: str) -> None:
        if "<" in data:
            raise _unparsable("Unclosed start tag")
        self.seen.append(data)

    def handle_entityref(self, name: str) -> None:
        self.seen.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.seen.append(f"&#{name};")


def _unparsable(why: str) -> Refused:
    return Refused(400, f"Bad Request: can't parse entities: {why}")


def buttons_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The inline buttons below a message."""
    return [button for row in (message.get("reply_markup") or {}).get("inline_keyboard", []) for button in row]


def made(sent: dict[str, Any], bot: int) -> dict[str, Any]:
    """What was sent, as the message that Telegram shows."""
    chat = {"id": sent["chat_id"], "type": "private" if sent["chat_id"] > 0 else "supergroup"}
    author = {"id": bot, "is_bot": True, "first_name": "Shop"}
    markup = {"reply_markup": sent["reply_markup"]} if sent.get("reply_markup") else {}
    topic = {"message_thread_id": sent["message_thread_id"], "is_topic_message": True} if sent.get("message_thread_id") else {}
    message = {"message_id": sent["message_id"], "date": int(time.time()), "chat": chat, "from": author, "text": sent["seen"]}
    return message | markup | topic
