"""What `replymill doctor` asks Telegram about a bot: calls that change nothing."""

import time
from collections.abc import Iterator, Sequence

from telegram import User, WebhookInfo
from telegram.error import Conflict, InvalidToken, TelegramError

from connectors.contract import Check
from connectors.telegram_client import ALLOWED, Client
from connectors.telegram_errors import judged, short
from connectors.telegram_watch import Watch
from engine.accounts import TelegramBot
from engine.store import AsyncClient

#: Updates that wait at Telegram; a working bot has nearly none.
MANY_PENDING = 100
#: Seconds for which an error of a webhook is news. [S] What Telegram cannot deliver it tries again within two minutes.
NEWS = 600

_START = "start `replymill web`, which sets it; another program may use this bot"


async def checks(client: Client, account: TelegramBot, watch: Watch, store: AsyncClient) -> Sequence[Check]:
    """The bot and its way in; `store` is None where there is no Redis to ask how polling goes.

    :raises StoreUnavailable: Redis is away.
    """
    what = f"telegram {account.name}"
    try:
        user, info = await client.get_me(), await client.get_webhook_info()
        faults = list(_faults(what, account, info))
        if not faults and not info.url and store is not None:
            faults = await _polling(what, client, watch, store)
    except InvalidToken as error:
        return (Check(what, False, f"Telegram says {short(error)}", "take the token from BotFather anew: /token"),)
    except TelegramError as error:
        return (Check(what, False, "no answer", str(judged(error))),)
    return _bot(what, user), *(faults or [Check(what, True, f"called at {info.url}" if info.url else "polled")])


def _bot(what: str, user: User) -> Check:
    if user.can_read_all_group_messages:
        advice = "it is shown every message of its groups: /setprivacy in BotFather keeps what is not for it away"
        return Check(what, True, f"@{user.username}, sees all of its groups", advice)
    return Check(what, True, f"@{user.username}")


def _faults(what: str, account: TelegramBot, info: WebhookInfo) -> Iterator[Check]:
    """Of the webhook, as Telegram has it."""
    if info.url != account.webhook_url:
        found = "has a webhook, but is to be polled" if info.url else "has no webhook"
        yield Check(what, False, "has another webhook" if info.url and account.webhook_url else found, _START)
        return
    lacking = sorted(set(ALLOWED) - set(info.allowed_updates)) if info.url and info.allowed_updates else []
    if lacking:
        yield Check(what, False, f"is not told of {', '.join(lacking)}", _START)
    if info.url and info.last_error_message and _is_news(info):
        yield Check(what, False, f"Telegram failed to call it: {info.last_error_message[:200]!a}", _remedy(info))
    if info.pending_update_count > MANY_PENDING:
        yield Check(what, False, f"{info.pending_update_count} updates wait at Telegram", "see the log of the web process")


def _is_news(info: WebhookInfo) -> bool:
    return info.last_error_date is None or time.time() - info.last_error_date.timestamp() < NEWS


def _remedy(info: WebhookInfo) -> str:
    if "401" in str(info.last_error_message):
        return "Telegram was given another secret: start `replymill web` anew, which gives it this one"
    return f"the address must lead to the running service, by HTTPS; what is over is not told any more after {NEWS // 60} minutes"


async def _polling(what: str, client: Client, watch: Watch, store: AsyncClient) -> list[Check]:
    """Whether it is polled, by us alone."""
    seen = await watch.seen(store)
    other = "stop the other program, or use one bot for each; `/revoke` in BotFather shuts it out"
    if "Conflict" in seen.trouble:
        return [Check(what, False, f"another program polls it too: {seen.trouble}", other)]
    if seen.trouble:
        return [Check(what, False, seen.trouble, "see the log of the web process for `telegram.away`")]
    if seen.held:
        return []
    try:
        # Without an offset nothing is confirmed.
        await client.updates(offset=0, wait=0, most=1)
    except Conflict as error:
        return [Check(what, False, f"another program polls it: {short(error)}", other)]
    return [Check(what, False, "is polled by nobody", "start `replymill web`")]
