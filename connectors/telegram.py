"""Telegram: bots that are polled, or called at `POST /telegram/<name>`; replies with the Bot API.

A private chat, a group or a topic of a forum is one conversation: channel `<account>/<chat>`, thread `<topic>`.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from telegram import BotCommand
from telegram.constants import ChatAction
from telegram.error import BadRequest, ChatMigrated, NetworkError, TelegramError

from connectors import telegram_links
from connectors.bodies import read_object
from connectors.contract import Acknowledgement, Check, Inbound, Request, Take, Taken, Times
from connectors.formatting import split, to_plain
from connectors.links import Located
from connectors.signatures import Method, Scheme, verify
from connectors.telegram_checks import checks
from connectors.telegram_client import ALLOWED, Client
from connectors.telegram_errors import judged, short
from connectors.telegram_groups import check_group, open_topic, words
from connectors.telegram_polling import Poller, Trouble, insist
from connectors.telegram_posts import LONGEST_LABEL, draft_id, fits, formatted, options_of, place_of, private, topic_of
from connectors.telegram_presses import Presses, pressed
from connectors.telegram_updates import NAME, Me, read, translate
from connectors.telegram_watch import Watch
from engine.accounts import TelegramBot
from engine.errors import DeliveryRefused, MalformedRequest, RetryLater, SettingsError, Unclear, UnparseableMessage
from engine.limits import Limit
from engine.messages import Address, Delivery, Media, Receipt, Reply
from engine.settings import PREFIX, Settings
from engine.store import AsyncClient

log = structlog.get_logger()

#: [D] The header is the secret itself; nothing signs the body.
SCHEME = Scheme(signature_header="x-telegram-bot-api-secret-token", method=Method.SECRET)

#: [D] telegram.constants.FloodLimit: messages a second of one bot, a second in one chat, a minute in one group.
PER_BOT, PER_CHAT, PER_GROUP = 30, 1, 20
#: Seconds until `typing` is shown again. [D] It lasts five.
TYPING = 4.0

_TOKEN = re.compile(r"([0-9]{1,20}):[A-Za-z0-9_-]+")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
_COMMANDS = (
    BotCommand("help", "what I can do"),
    BotCommand("human", "talk to a person"),
    BotCommand("stop", "take back what is not answered yet"),
    BotCommand("forget", "forget what we said"),
)


class Telegram:
    """All bots of `Settings.accounts`."""

    name = NAME
    paths = ("/telegram/{name}",)
    #: The API knows no key of ours and cannot be asked what was sent.
    idempotent = False
    #: Telegram says of every sender whether it is a bot, and bots are not answered.
    bots_meet = False
    timeless = True
    away = 503

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        """:raises SettingsError: a token or a secret that cannot be one."""
        self.times = Times.chat(settings)
        self._settings = settings
        self._store = client
        accounts = settings.accounts.get(NAME, {})
        self._bots = {name: _me(account) for name, account in accounts.items() if isinstance(account, TelegramBot)}
        #: Stands in for the secret of a bot that does not exist, or has none.
        self._nobody = secrets.token_bytes(32)
        place = settings.bridge_place
        #: The group in which people answer, by bot.
        self._bridges = {place.account: place.channel} if place and place.platform == NAME else {}
        self._clients: dict[str, Client] = {}
        #: When `typing` was shown last, by `time.monotonic`.
        self._typed: dict[Address, float] = {}
        self._presses = Presses(self._client)

    # -- coming in ------------------------------------------------------------------------------------------------------------

    def verify(self, request: Request) -> None:
        found = self._bots.get(request.name)
        secret = found.account.webhook_secret.encode() if found else b""
        verify(SCHEME, (secret or self._nobody,), headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        try:
            data = read_object(request.body)
        except MalformedRequest as error:
            # Telegram would send it again for a day, and hold the chat up so long.
            raise UnparseableMessage(str(error)) from error
        return self._read(request.name, data)

    def origin(self, request: Request) -> tuple[Address, str]:
        me = self._bots[request.name]
        digest = hashlib.blake2b(request.body, digest_size=16).hexdigest()
        return Address(platform=NAME, tenant=me.account.tenant, channel=request.name), f"{me.id}/body-{digest}"

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        """Empty: a body would be executed as a call of the API."""
        return Acknowledgement()

    async def listen(self, take: Take) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in self._bots:
                tasks.create_task(self._attend(name, take))
            tasks.create_task(self._presses.answer())

    async def setup(self, account: TelegramBot) -> None:
        """Learn the bot's own name, set its webhook or take it away, and tell its commands.

        :raises TelegramError: Telegram does not do so now.
        """
        client = self._client(account.name)
        user = await client.get_me()
        me = self._bots[account.name]
        self._bots[account.name] = Me(account, me.id, (user.username or "").lower())
        if account.webhook_url:
            await client.set_webhook(account.webhook_url, secret_token=account.webhook_secret, allowed_updates=ALLOWED)
        else:
            await self._if_possible(client.delete_webhook(), account)
        await self._if_possible(client.set_my_commands(_COMMANDS), account)

    async def check(self) -> Sequence[Check]:
        found: list[Check] = []
        for me in self._bots.values():
            watch = Watch(self._settings, me.id)
            found += await checks(self._client(me.account.name), me.account, watch, self._store)
        return found

    async def locate(self, link: str) -> Sequence[Located]:
        return telegram_links.located(link, self._bots)

    def probes(self) -> Mapping[str, Request]:
        headers = {"content-type": "application/json"}
        return {
            f"/telegram/{name}": Request(name, {**headers, SCHEME.signature_header: me.account.webhook_secret}, b'{"update_id": 1}')
            for name, me in self._bots.items()
            if me.account.webhook_secret
        }

    async def _attend(self, name: str, take: Take) -> None:
        me = self._bots[name]
        await insist(lambda: self.setup(me.account), Trouble(account=name))
        if not me.account.webhook_url:
            poller = Poller(self._settings, me, self._client(name), read=lambda data: self._read(name, data))
            await poller.run(take)

    async def _if_possible(self, call: Any, account: TelegramBot) -> None:
        """What the bot works without."""
        try:
            await call
        except TelegramError as error:
            if isinstance(error, NetworkError) and not isinstance(error, BadRequest):
                raise
            event = "a bot of Telegram is not set up completely"
            log.warning(event, action="telegram.setup", account=account.name, reason=short(error))

    def _read(self, name: str, data: Any) -> tuple[Inbound, ...]:
        if not isinstance(data, dict):
            raise UnparseableMessage("an update is no object")
        update = read(data)
        by_agent = words(update, self._bots[name], chat=self._bridges.get(name, ""))
        if by_agent is not None:
            return by_agent
        found = translate(update, self._bots[name], kinds=self._settings.media)
        self._presses.note(pressed(name, update))
        return found

    # -- going out ------------------------------------------------------------------------------------------------------------

    def split(self, text: str) -> Sequence[str]:
        return split(text, fits)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        address = delivery.reply.address
        name, chat = place_of(address)
        in_chat = Limit((NAME, address.tenant, name, chat), PER_CHAT, 1)
        of_bot = Limit((NAME, address.tenant, name), PER_BOT, 1)
        if private(chat):
            return (in_chat, of_bot)
        return (Limit((NAME, address.tenant, name, chat, "minute"), PER_GROUP, 60), in_chat, of_bot)

    def offers(self, reply: Reply) -> bool:
        return all(len(choice) <= LONGEST_LABEL for choice in reply.choices)

    async def send(self, delivery: Delivery) -> Receipt:
        """Post a reply; a hand-over is a text, as Telegram has nobody to give a chat to."""
        name, chat = place_of(delivery.reply.address)
        if name not in self._bots:
            raise DeliveryRefused(f"the bot {name!r} of Telegram is not configured any more")
        if not delivery.reply.text:
            return Receipt(delivery=delivery.id)
        try:
            message_id = await self._post(self._client(name), chat, delivery)
        except TelegramError as error:
            raise judged(error) from error
        return Receipt(delivery=delivery.id, platform_id=message_id)

    async def open_thread(self, address: Address, title: str) -> str:
        name, chat = place_of(address)
        return await open_topic(self._client(name), int(chat), title)

    async def check_place(self, account: str, team: str, channel: str) -> Check:
        return await check_group(self._client(account), account, int(channel))

    async def show(self, address: Address, turn: str, text: str) -> None:
        """The text in a private chat, as a draft that Telegram keeps for half a minute; everywhere else `typing`."""
        name, chat = place_of(address)
        if name not in self._bots:
            return
        client, thread = self._client(name), topic_of(address)
        try:
            if text and private(chat):
                last = self.split(text)[-1]
                await client.send_message_draft(int(chat), draft_id(turn), to_plain(last), message_thread_id=thread)
            elif self._typing_is_due(address):
                await client.send_chat_action(int(chat), ChatAction.TYPING, message_thread_id=thread)
        except TelegramError as error:
            problem = judged(error)
            if isinstance(problem, RetryLater) and problem.after:
                raise problem from error
            log.debug("the reply is not shown while it is made", action="telegram.show", account=name, reason=str(problem))

    async def fetch(self, address: Address, media: Media, most: int) -> bytes:
        name, _ = place_of(address)
        if name not in self._bots:
            raise DeliveryRefused(f"the bot {name!r} of Telegram is not configured any more")
        try:
            return await self._client(name).fetch(media.reference, most=most)
        except TelegramError as error:
            raise RetryLater(str(found), after=0) if isinstance(found := judged(error), Unclear) else found from error

    def _typing_is_due(self, address: Address) -> bool:
        now = time.monotonic()
        if now - self._typed.get(address, -TYPING) < TYPING:
            return False
        # Only the last seconds matter.
        self._typed = {place: at for place, at in self._typed.items() if now - at < TYPING} | {address: now}
        return True

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close_connections()
        self._clients.clear()

    async def _post(self, client: Client, chat: str, delivery: Delivery) -> str:
        text, options = delivery.reply.text, options_of(chat, delivery)
        try:
            return await formatted(client, int(chat), text, options)
        except ChatMigrated as moved:
            # The chat of the reply is gone: its topic and the message that it answers have no number in the new one.
            kept = {name: value for name, value in options.items() if name not in {"reply_parameters", "message_thread_id"}}
            return await formatted(client, moved.new_chat_id, text, kept)

    def _client(self, name: str) -> Client:
        """One for each bot, made inside the event loop that uses it."""
        if name not in self._clients:
            account = self._bots[name].account
            self._clients[name] = Client(account.token, account.api_base_url, connections=self._settings.deliveries)
        return self._clients[name]


def _me(account: TelegramBot) -> Me:
    variable = f"{PREFIX}TELEGRAM_{account.name.upper().replace('-', '_')}"
    token = _TOKEN.fullmatch(account.token)
    if not token:
        raise SettingsError(f"{variable}_TOKEN is (hidden), but must be digits, a colon and letters, as BotFather gives it")
    if account.webhook_secret and not _SECRET.fullmatch(account.webhook_secret):
        raise SettingsError(f"{variable}_WEBHOOK_SECRET is (hidden), but must be 16 to 256 of A-Z a-z 0-9 _ -")
    if account.webhook_url and not account.webhook_secret:
        raise SettingsError(f"{variable}_WEBHOOK_SECRET is missing: with a webhook, anybody could speak for Telegram without it")
    return Me(account, int(token[1]))
