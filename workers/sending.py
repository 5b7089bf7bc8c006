"""One send: at the pace that the platform takes, and never twice where that can be helped."""

import asyncio
import time
from typing import NamedTuple

from connectors.contract import Askable, Platform
from engine.errors import DeliveryRefused, RetryLater
from engine.limits import Limits
from engine.messages import Delivery, Receipt
from engine.settings import Settings
from engine.store import AsyncClient
from engine.telemetry import read_traceparent, sending, telemetry


class Sent(NamedTuple):
    """A platform took a delivery."""

    receipt: Receipt
    #: How long it took, the question whether it was there already included.
    seconds: float


class Sending:
    """What all sends of one worker share. Every method raises `StoreUnavailable` while Redis is away; then nothing was sent."""

    def __init__(self, settings: Settings, client: AsyncClient) -> None:
        self._settings = settings
        self._spans = telemetry(settings)
        self._limits = Limits(settings, client)

    async def wait(self, platform: Platform, delivery: Delivery) -> int:
        """Milliseconds until the delivery may go, 0 for now; if it has to wait, a place is kept for it."""
        seconds = await self._limits.take(platform.limits(delivery), delivery.id)
        return max(1, round(seconds * 1000)) if seconds else 0

    async def send(self, platform: Platform, delivery: Delivery, *, again: bool, replayed: bool = False) -> Sent:
        """Send it within `send_timeout`; `again`, if an earlier attempt may have sent it already. Raises what `Platform.send` does.

        Of one that a person has `replayed`, a platform that can be asked is; where none can, that person has decided.
        """
        begun = time.monotonic()
        earlier = again or (replayed and isinstance(platform, Askable))
        parent = read_traceparent(str(delivery.reply.trace.get("traceparent", "")))
        with sending(self._spans, platform.name, delivery=delivery.id, parent=parent) as span:
            async with asyncio.timeout(self._settings.send_timeout):
                receipt = await self._earlier(platform, delivery) if earlier else None
                receipt = receipt or await self._post(platform, delivery)
            span.note({"replymill.platform_id": receipt.platform_id})
        return Sent(receipt, time.monotonic() - begun)

    async def _post(self, platform: Platform, delivery: Delivery) -> Receipt:
        try:
            return await platform.send(delivery)
        except RetryLater as later:
            await self._pause(platform, delivery, later.after)
            raise

    async def _earlier(self, platform: Platform, delivery: Delivery) -> Receipt | None:
        """The receipt of an earlier attempt that nobody knows the end of, where the platform can be asked and has it."""
        if isinstance(platform, Askable):
            return await platform.find(delivery)
        if not platform.idempotent and self._settings.unclear == "at-most-once":
            raise DeliveryRefused("an earlier attempt may have been sent, and the platform cannot be asked (REPLYMILL_UNCLEAR)")
        return None

    async def _pause(self, platform: Platform, delivery: Delivery, seconds: float) -> None:
        """A pause that the platform asked for holds for all that goes where this delivery went."""
        for limit in tuple(platform.limits(delivery))[:1] if seconds else ():
            await self._limits.block(limit, seconds)
