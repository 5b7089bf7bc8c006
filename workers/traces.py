"""`replymill trace`: what happened to a message, found without the web process."""

import asyncio
from collections.abc import Mapping

from connectors.lookup import Lookup
from connectors.platforms import table
from engine.lanes import Lanes
from engine.settings import Settings
from engine.store import adopt, connect, connect_async
from engine.trail import Trail


def found(settings: Settings, asked: str) -> tuple[Trail, Mapping[int, str]]:
    """The trail that is meant, and the names of models.

    :raises NoSuchMessage: nothing is known by that name.
    """
    with connect(settings) as client:
        adopt(client, settings)
    return asyncio.run(_found(settings, asked))


async def _found(settings: Settings, asked: str) -> tuple[Trail, Mapping[int, str]]:
    client = await connect_async(settings)
    platforms = table(settings, client)
    try:
        lookup = Lookup(settings, Lanes(settings), client, platforms)
        return await lookup.find(asked), await lookup.models()
    finally:
        for platform in platforms.values():
            await platform.close()
        await client.aclose()
