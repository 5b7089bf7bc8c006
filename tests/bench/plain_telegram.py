"""A Telegram bot as tutorials write it: python-telegram-bot, polling. `python -m tests.bench.plain_telegram API TOKEN`."""

import asyncio
import sys
from typing import Any

from telegram import Update
from telegram.ext import Application, MessageHandler, filters

from tests.bench.plain import THINKING


async def answer(update: Update, _: Any) -> None:
    assert update.message
    await asyncio.sleep(THINKING)
    await update.message.reply_text(update.message.text or "")


def main(api: str, token: str) -> None:
    bot = Application.builder().token(token).base_url(f"{api}/bot").build()
    bot.add_handler(MessageHandler(filters.TEXT, answer))
    bot.run_polling()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
