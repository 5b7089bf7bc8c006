"""The files of Slack's messages: which of them can be read, and how they are fetched with the bot's token."""

from collections.abc import Iterator
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from connectors.attachments import File
from connectors.downloads import Home, download
from engine.accounts import SlackApp
from engine.messages import Media

#: Files that are not there: deleted, or hidden by the plan of the workspace. [D]
_GONE = frozenset({"tombstone", "hidden_by_limit"})


def files_of(files: list[Any] | None) -> Iterator[File]:
    """By address. Events leave out what files of another organisation are, and where: those are not read."""
    for one in files or ():
        if isinstance(one, dict) and one.get("mode") not in _GONE:
            address = one.get("url_private_download") or one.get("url_private")
            yield File(reference=address, mime=one.get("mimetype"), name=one.get("name"), size=one.get("size"))


async def fetch(calls: AsyncWebClient, account: SlackApp, media: Media, most: int) -> bytes:
    """A file, from Slack's own hosts alone."""
    headers = {"authorization": f"Bearer {calls.token}"}
    home = Home(platform="Slack", base_url=account.api_base_url, headers=headers, alone=True)
    return await download(home, media.reference, most=most)
