"""What a platform can do that has places where people sit behind the bridge."""

from typing import Protocol, runtime_checkable

from connectors.contract import Check, Platform
from engine.messages import Address


@runtime_checkable
class Threading(Platform, Protocol):
    """A platform whose threads are opened before the first message stands in them, where a place has such."""

    async def open_thread(self, address: Address, title: str) -> str:
        """The thread that was opened; empty where the place has none and the first message opens it.

        :raises RetryLater: as `send`, and so are `Unclear` and `DeliveryRefused`.
        """


@runtime_checkable
class Gathering(Platform, Protocol):
    """A platform that has places where people sit behind a bridge."""

    async def check_place(self, account: str, team: str, channel: str) -> Check:
        """Whether the bot can write and hear there.

        :raises DeliveryError: it cannot be asked.
        """
