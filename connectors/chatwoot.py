"""Chatwoot: an AgentBot that answers pending conversations, and opens one for the agents when a person is needed.

Chatwoot posts the events of an inbox to `POST /chatwoot/<name>`. A conversation is the bot's while it is `pending`; that is asked
again right before a reply is posted, because an agent may have opened it while the reply was made. A posted reply carries its
delivery's id among its `content_attributes`, by which an unclear send is found again.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from connectors import formatting
from connectors.api import Api
from connectors.bodies import read_as, read_object
from connectors.chatwoot_api import (
    MESSAGES,
    PER_SECONDS,
    assign,
    by_agent,
    has_buttons,
    is_before,
    listed,
    look,
    mark_of,
    marked,
    note,
    post,
    said,
    shown,
    stop_typing,
)
from connectors.chatwoot_checks import checks
from connectors.chatwoot_events import (
    SCHEME,
    Message,
    StatusEvent,
    changed_by,
    chosen_in,
    delivery_of,
    inbound_of,
    is_for_us,
    probe,
)
from connectors.commonmark import to_markdown
from connectors.contract import Acknowledgement, Check, Inbound, Notice, Ownership, Request, Taken, Times
from connectors.links import Located, parts_of
from connectors.signatures import verify
from connectors.wishes import read
from engine.accounts import ChatwootBot
from engine.choices import plain
from engine.errors import (
    DeliveryRefused,
    MalformedRequest,
    NothingToAnswer,
    UnparseableMessage,
    Withdrawn,
)
from engine.limits import Limit
from engine.messages import Action, Address, Delivery, Media, Owner, Receipt, Reply
from engine.settings import Settings
from engine.store import AsyncClient

NAME = "chatwoot"

#: Characters of one message, `app/models/message.rb` [S].
LONGEST = 150_000

#: What an agent copies; of a message it has `messageId` in its query.
CONVERSATION_LINK = r"/app/accounts/(?P<account>[0-9]{1,19})/.*conversations/(?P<conversation>[0-9]{1,19})/?"

_CONVERSATION_EVENTS = frozenset({"conversation_status_changed", "conversation_opened", "conversation_resolved"})
#: The next message of a resolved conversation makes it pending again, where its inbox has a bot.
_OWNERS = {"pending": Owner.BOT, "resolved": Owner.BOT, "open": Owner.HUMAN, "snoozed": Owner.HUMAN}


class Chatwoot:
    """All AgentBots of `Settings.accounts`."""

    name = NAME
    paths = ("/chatwoot/{name}",)
    idempotent = False
    bots_meet = False
    timeless = False
    #: The bot's requests are repeated after 429 and 500 alone, twice; after anything else the conversation goes to the agents [D].
    away = 429

    def __init__(self, settings: Settings, client: AsyncClient | None = None) -> None:
        self.times = Times.chat(settings)
        self._settings = settings
        self._bots = {name: bot for name, bot in settings.accounts.get(NAME, {}).items() if isinstance(bot, ChatwootBot)}
        #: Stands in for the secret of a bot that does not exist.
        self._nobody = (secrets.token_bytes(32),)
        self._apis: dict[str, Api] = {}

    def verify(self, request: Request) -> None:
        bot = self._bots.get(request.name)
        keys = tuple(key.encode() for key in bot.secret.split()) if bot else self._nobody
        verify(SCHEME, keys, headers=request.headers, body=request.body)

    def parse(self, request: Request) -> tuple[Inbound, ...]:
        """What broke is a dead letter: a refusal would make Chatwoot give the conversation up."""
        try:
            found = read_object(request.body)
            event = found.get("event")
            if not isinstance(event, str):
                raise UnparseableMessage("a body without `event`")
            if event in _CONVERSATION_EVENTS:
                return self._owned(request.name, read_as(found, StatusEvent))
            if event in {"message_created", "message_updated"}:
                message = read_as(found, Message)
                if event == "message_created" and by_agent(found) and message.conversation.status == "pending":
                    # Chatwoot leaves the conversation of a bot pending where an agent answers without opening it.
                    return (Ownership(self._address(request.name, message.account.id, message.conversation.id), Owner.HUMAN),)
                return self._said(request, event, message)
        except MalformedRequest as error:
            raise UnparseableMessage(str(error)) from error
        return ()

    def origin(self, request: Request) -> tuple[Address, str]:
        named = delivery_of(request) or hashlib.sha256(request.body).hexdigest()
        return self._address(request.name, "", ""), f"{request.name}/event/{named}"

    def acknowledge(self, taken: Sequence[Taken]) -> Acknowledgement:
        return Acknowledgement()

    def split(self, text: str) -> Sequence[str]:
        return formatting.split(text, lambda part: len(part) <= LONGEST // 4 or len(to_markdown(part)) <= LONGEST)

    def limits(self, delivery: Delivery) -> Sequence[Limit]:
        address = delivery.reply.address
        return (Limit((NAME, address.tenant, address.channel, address.thread), MESSAGES, PER_SECONDS),)

    def offers(self, reply: Reply) -> bool:
        """Whether its inbox has buttons is seen when the reply is posted."""
        return True

    async def send(self, delivery: Delivery) -> Receipt:
        """Post a reply while the conversation is still the bot's, or give it to the agents."""
        api, place = self._reach(delivery.reply.address)
        seen = await look(api, place)
        if delivery.action is Action.HAND_OVER:
            return await self._hand_over(delivery, api, place, seen)
        if seen and seen.get("status") != "pending":
            raise Withdrawn(f"the conversation is {ascii(seen.get('status'))[:40]}, no longer pending")
        if any(by_agent(message) for message in shown(seen or {})):
            raise Withdrawn("an agent has answered the conversation")
        if delivery.last:
            await stop_typing(api, place)
        reply = delivery.reply if has_buttons(seen) else plain(delivery.reply)
        posted = await post(api, place, said(reply), mark=delivery.id)
        return Receipt(delivery=delivery.id, platform_id=posted)

    async def find(self, delivery: Delivery) -> Receipt | None:
        """The reply among the last messages that the token may see.

        :raises RetryLater: it cannot be asked now.
        :raises DeliveryRefused: it may be there, unseen, and REPLYMILL_UNCLEAR forbids a repeat.
        """
        if delivery.action is Action.HAND_OVER:
            return None  # each of its steps can be repeated
        api, place = self._reach(delivery.reply.address)
        last = list(shown(await look(api, place) or {}))
        found = marked(last, delivery)
        if found or any(is_before(message, delivery) for message in last):
            return found
        messages = await listed(api, place)
        if messages is None and self._settings.unclear == "at-most-once":
            raise DeliveryRefused("an earlier attempt may have been sent, and Chatwoot shows no list to a bot (REPLYMILL_UNCLEAR)")
        return marked(messages or [], delivery)

    async def show(self, address: Address, turn: str, text: str) -> None:
        """Somebody types; Chatwoot ends it by itself after half a minute."""
        api, place = self._reach(address)
        await api.call("POST", f"{place}/toggle_typing_status", {"typing_status": "on"})

    async def fetch(self, address: Address, media: Media, most: int) -> bytes:
        api, _ = self._reach(address)
        return await api.file(media.reference, most=most, hosts=self._settings.media_hosts)

    async def check(self) -> Sequence[Check]:
        return [one for bot in self._bots.values() for one in await checks(self._client(bot), bot)]

    async def locate(self, link: str) -> Sequence[Located]:
        found = [(name, parts_of(link, bot.base_url, CONVERSATION_LINK)) for name, bot in self._bots.items()]
        return [self._located(name, parts) for name, parts in found if parts]

    def probes(self) -> Mapping[str, Request]:
        return {f"/chatwoot/{name}": probe(name, bot.secret.split()[0]) for name, bot in self._bots.items()}

    async def close(self) -> None:
        for api in self._apis.values():
            await api.close()
        self._apis.clear()

    def _owned(self, name: str, event: StatusEvent) -> tuple[Inbound, ...]:
        accounts = [event.account.id] if event.account else [one.account_id for one in event.messages if one.account_id is not None]
        owner = _OWNERS.get(event.status)
        if owner is None or not accounts:
            return ()
        return (Ownership(self._address(name, accounts[0], event.id), owner),)

    def _said(self, request: Request, event: str, message: Message) -> tuple[Inbound, ...]:
        address = self._address(request.name, message.account.id, message.conversation.id)
        logical_id = f"{request.name}/{message.account.id}/{message.id}"
        if event == "message_updated" and (choice := chosen_in(address, logical_id, message)):
            return (read(choice),)
        if not is_for_us(message):
            return ()
        if event == "message_updated":
            return changed_by(address, logical_id, message, self._settings.media)
        delivery = delivery_of(request)
        ids = (logical_id, f"{request.name}/event/{delivery}") if delivery else (logical_id,)
        try:
            return (read(inbound_of(address, message, ids, self._settings.media)),)
        except NothingToAnswer:
            return (Notice(address, ids, "no_text"),)

    def _address(self, name: str, account: int | str, conversation: int | str) -> Address:
        return Address(platform=NAME, tenant=self._bots[name].tenant, channel=f"{name}/{account}", thread=str(conversation))

    def _located(self, name: str, parts: Mapping[str, str]) -> Located:
        message = parts.get("messageId", "")
        address = self._address(name, parts["account"], parts["conversation"])
        return Located(address, f"{name}/{parts['account']}/{message}" if message else "")

    def _reach(self, address: Address) -> tuple[Api, str]:
        """The client of the bot, and the path of the conversation.

        :raises DeliveryRefused: the bot is not configured any more.
        """
        name, _, account = address.channel.partition("/")
        bot = self._bots.get(name)
        if bot is None:
            raise DeliveryRefused(f"the Chatwoot bot {name!r} is not configured any more")
        return self._client(bot), f"/api/v1/accounts/{account}/conversations/{address.thread}"

    def _client(self, bot: ChatwootBot) -> Api:
        """One for each bot, made inside the event loop that uses it."""
        if bot.name not in self._apis:
            headers = {"api_access_token": bot.access_token}
            self._apis[bot.name] = Api("Chatwoot", bot.base_url, headers=headers, connections=self._settings.deliveries)
        return self._apis[bot.name]

    async def _hand_over(self, delivery: Delivery, api: Api, place: str, seen: dict[str, Any] | None) -> Receipt:
        """The text, a private note, the team, and last the status, by which a repeat sees that all is done."""
        receipt = Receipt(delivery=delivery.id)
        if seen and seen.get("status") != "pending":
            return receipt
        marks = {mark_of(message) for message in shown(seen or {})}
        text, note_mark = delivery.reply.text, f"{delivery.id}/note"
        if text and not marks & {delivery.id, note_mark}:
            await post(api, place, said(delivery.reply), mark=delivery.id)
        if note_mark not in marks:
            await post(api, place, {"content": note(text)}, mark=note_mark, private=True)
        await assign(api, place, self._bots[delivery.reply.address.channel.partition("/")[0]].team_id)
        await api.call("POST", f"{place}/toggle_status", {"status": "open"})
        return receipt
