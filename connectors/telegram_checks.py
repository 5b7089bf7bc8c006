"""What `replymill doctor` asks Telegram about a bot: calls that change nothing."""

from collections.abc import Sequence

from telegram import User, WebhookInfo
from telegram.error import InvalidToken, TelegramError

from connectors.contract import Check
from connectors.telegram_client import Client
from connectors.telegram_errors import judged, short
from engine.accounts import TelegramBot

#: Updates that wait at Telegram; a working bot has nearly none.
MANY_PENDING = 100


async def checks(client: Client, account: TelegramBot) -> Sequence[Check]:
    """The bot and its way in."""
    what = f"telegram {account.name}"
    try:
        return _bot(what, await client.get_me()), _way_in(what, account, await client.get_webhook_info())
    except InvalidToken as error:
        return (Check(what, False, f"Telegram says {short(error)}", "take the token from BotFather anew: /token"),)
    except TelegramError as error:
        return (Check(what, False, "no answer", str(judged(error))),)


def _bot(what: str, user: User) -> Check:
    if user.can_read_all_group_messages:
        advice = "it is shown every message of its groups: /setprivacy in BotFather keeps what is not for it away"
        return Check(what, True, f"@{user.username}, sees all of its groups", advice)
    return Check(what, True, f"@{user.username}")


def _way_in(what: str, account: TelegramBot, info: WebhookInfo) -> Check:
    if info.url != account.webhook_url:
        found = "has a webhook, but is to be polled" if info.url else "has no webhook"
        found = "has another webhook" if info.url and account.webhook_url else found
        return Check(what, False, found, "start `replymill web`, which sets it; another program may use this bot")
    if info.pending_update_count > MANY_PENDING:
        said = f": {info.last_error_message}" if info.last_error_message else ""
        return Check(what, False, f"{info.pending_update_count} updates wait at Telegram{said}", "see the log of the web process")
    return Check(what, True, f"called at {info.url}" if info.url else "polled")
