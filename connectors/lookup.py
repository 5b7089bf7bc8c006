"""What a person means by a message id, a link copied from a platform, or the name of a conversation."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from connectors import webhook
from connectors.contract import Platform
from connectors.links import Linking
from engine.errors import NoSuchMessage
from engine.keys import MODELS
from engine.lanes import Lanes
from engine.messages import Address
from engine.settings import Settings
from engine.store import AsyncClient, reachable
from engine.trail import Trail, of_conversation, of_message, trail

_URL = re.compile(r"https?://\S+")
#: Our name of a conversation, and behind it how a trace names one of its messages.
_REF = re.compile(r"([a-z2-7]{13}\.[a-z2-7]{26})(?:/(\w{1,32}))?")


#: Most parts of the name of a channel; Slack's have three.
_CHANNEL_PARTS = 8


@dataclass(frozen=True)
class Lookup:
    """Every method raises `StoreUnavailable` while Redis is away."""

    settings: Settings
    lanes: Lanes
    client: AsyncClient
    platforms: Mapping[str, Platform]

    async def find(self, asked: str) -> Trail:
        """The trail of one message (then its `id` is set), or of a conversation.

        :raises NoSuchMessage: nothing is known by that name.
        """
        asked = asked.strip()
        if _URL.fullmatch(asked):
            return await self._by_link(asked)
        if named := _REF.fullmatch(asked):
            calls = [trail(self.lanes, shard, ref=named[1]) for shard in self.lanes.shards]
            found = _first([await call.run_async(self.client) for call in calls], asked)
            return _first([found.about(named[2])], asked) if named[2] else found
        try:
            whole = await of_message(self.lanes, asked).run_async(self.client)
        except ValueError:
            return await self._by_name(asked)
        return _first([whole.about(whole.id)], asked)

    async def models(self) -> dict[int, str]:
        """Names of models by their number in traces."""
        with reachable():
            found = await self.client.hgetall(MODELS)
        return {int(code): name.decode() for code, name in found.items()}

    async def _by_link(self, link: str) -> Trail:
        known = [platform for platform in self.platforms.values() if isinstance(platform, Linking)]
        for platform in known:
            for place in await platform.locate(link):
                found = await self._at(place.address, place.logical_id)
                if found.ref and (found.events or found.waiting):
                    return found
        raise NoSuchMessage(
            f"nothing is known of {link}: it is no link of a configured platform ({', '.join(sorted(one.name for one in known))}), "
            "or its trace is over"
        )

    async def _by_name(self, name: str) -> Trail:
        """`platform/channel/thread`, where a channel may have slashes of its own; of a webhook also `webhook/<name>/<its id>`."""
        for address, logical_id in readings(self.settings, name):
            found = await self._at(address, logical_id)
            if found.events or found.waiting:
                return found
        raise NoSuchMessage(
            f"nothing is known of {name!r}: name a message id, a link to a message, or a conversation as platform/channel/thread"
        )

    async def _at(self, address: Address, logical_id: str) -> Trail:
        if not logical_id:
            return await of_conversation(self.lanes, address).run_async(self.client)
        found = await of_message(self.lanes, self.lanes.message_id(address, logical_id)).run_async(self.client)
        return found.about(found.id)


def readings(settings: Settings, name: str) -> Iterator[tuple[Address, str]]:
    """What a name may mean: each way to cut it into channel and thread, and a webhook's own id of a message."""
    platform, _, rest = name.partition("/")
    account = rest.partition("/")[0]
    if platform == "webhook":
        endpoint = settings.webhooks.get(account)
        tenant = endpoint.tenant if endpoint else account
    else:
        known = settings.accounts.get(platform, {}).get(account)
        tenant = known.tenant if known else "default"
    parts = rest.split("/")
    for cut in range(min(len(parts), _CHANNEL_PARTS), 0, -1):
        channel, thread = "/".join(parts[:cut]), "/".join(parts[cut:])
        yield Address(platform=platform, tenant=tenant, channel=channel, thread=thread), ""
    if platform == "webhook" and len(parts) > 1:
        yield Address(platform=platform, tenant=tenant, channel=account), webhook.logical_id(account, "/".join(parts[1:]))


def _first(found: list[Trail], asked: str) -> Trail:
    for one in found:
        if one.ref and (one.events or one.waiting):
            return one
    raise NoSuchMessage(f"nothing is known of {asked}: there is no such message, or its trace is over (REPLYMILL_TRACE_TTL)")
