"""Presses of buttons below a reply: what they say, and the answer that Telegram wants to each.

The buttons of choices name a place in their own row: the words stand on the button, and come back with the press.
"""

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple

import structlog
from telegram import CallbackQuery, InlineKeyboardMarkup, Message, Update
from telegram.error import TelegramError

from connectors.bodies import well_formed
from connectors.telegram_client import Client
from connectors.telegram_errors import short

log = structlog.get_logger()

#: `callback_data` of the buttons of choices: their place, and the turn that asked.
CHOICE = re.compile(r"pick:([0-9]{1,2}):[!-~]{1,56}")
#: Presses that wait to be answered; more are left without the answer, which nobody misses but the button's spinner.
MOST_PRESSES = 1_000
#: Seconds for the answer to a press: later it is of no use.
PRESS_TIMEOUT = 5.0


class Press(NamedTuple):
    """One press."""

    account: str
    #: Telegram's id of it.
    id: str
    #: Chat and message whose buttons are taken away, as one was chosen; 0: they stay.
    chat: int = 0
    message: int = 0


def pressed(account: str, update: Update) -> Press | None:
    """The press that an update is."""
    query = update.callback_query
    if query is None:
        return None
    press = Press(account, well_formed(str(query.id)))
    message = query.message
    if not chosen(query) or not isinstance(message, Message):
        return press
    return press._replace(chat=message.chat.id, message=message.message_id)


def chosen(query: CallbackQuery) -> str:
    """The words on the button of a choice; empty for other buttons, and where Telegram shows the message no more."""
    data = query.data or ""
    markup = getattr(query.message, "reply_markup", None)
    if not CHOICE.fullmatch(data) or not isinstance(markup, InlineKeyboardMarkup):
        return ""
    words = (button.text for row in markup.inline_keyboard for button in row if button.callback_data == data)
    return well_formed(str(next(words, ""))).strip()


class Presses:
    """What is still to be answered, beside the taking of updates."""

    def __init__(self, client: Callable[[str], Client]) -> None:
        self._client = client
        self._waiting: asyncio.Queue[Press] = asyncio.Queue(MOST_PRESSES)

    def note(self, press: Press | None) -> None:
        if press is not None and not self._waiting.full():
            self._waiting.put_nowait(press)

    async def answer(self) -> None:
        """Telegram shows a button as busy until its press is answered; runs until it is cancelled."""
        while True:
            press = await self._waiting.get()
            client = self._client(press.account)
            try:
                thanks = None if press.message else "Thank you."
                await client.answer_callback_query(press.id, text=thanks, read_timeout=PRESS_TIMEOUT)
                if press.message:
                    await client.edit_message_reply_markup(press.chat, press.message, read_timeout=PRESS_TIMEOUT)
            except TelegramError as error:
                log.debug("a press was not answered", action="telegram.press", account=press.account, reason=short(error))
