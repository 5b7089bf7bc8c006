"""The door: what was verified and parsed goes onto its lane, and the caller learns what became of it."""

from dataclasses import dataclass
from typing import NamedTuple

from connectors.contract import Deletion, Edit, Inbound, Platform, Receiver, Request
from engine.errors import MalformedRequest, Overloaded
from engine.lanes import Lanes
from engine.messages import Delivery, InboundMessage, Reply, Source
from engine.moves import Accepted, Verdict
from engine.settings import Settings
from engine.store import AsyncClient

#: What a sender is told of a verdict; a repeat gets what the first one got.
_STATES = {
    Verdict.ACCEPTED: "accepted",
    Verdict.REPEAT: "accepted",
    Verdict.CANCELLED: "cancelled",
    Verdict.OWNED: "handed-over",
}


class Taken(NamedTuple):
    """What the sender of a request is told."""

    #: The message's id, for `GET /v1/messages/<id>`.
    id: str
    state: str
    #: For the counters: the verdict, or what an edit or a deletion met.
    verdict: str


@dataclass(frozen=True)
class Intake:
    """Every way in leads through here; each move is one script, and so all or nothing.

    Every method raises `StoreUnavailable` when Redis cannot take it.
    """

    settings: Settings
    lanes: Lanes
    client: AsyncClient

    async def settle(self, platform: Platform, inbound: Inbound) -> Taken:
        """Do what one message, edit or deletion asks for.

        :raises Overloaded: the lane or the tenant is full.
        :raises MalformedRequest: an edit or a deletion names a message of another conversation.
        """
        if isinstance(inbound, Deletion):
            said = _here(await self.lanes.cancel(inbound.address, inbound.logical_id).run_async(self.client))
            return Taken(self.lanes.message_id(inbound.address, inbound.logical_id), said, f"deletion-{said}")
        if isinstance(inbound, Edit):
            said = _here(await self.lanes.amend(inbound.message).run_async(self.client))
            return Taken(self._id(inbound.message), said, f"edit-{said}")
        accepted = await self.take(platform, inbound)
        return Taken(accepted.id, _STATES[accepted.verdict], accepted.verdict)

    async def take(self, platform: Platform, message: InboundMessage) -> Accepted:
        """Put one message on its lane.

        :raises Overloaded: the lane or the tenant is full; the person was told, once.
        """
        accepted = await self.lanes.accept(
            message,
            deadline=platform.deadline,
            quiet=platform.quiet,
            quiet_max=platform.quiet_max,
            notice=self._notice(message),
        ).run_async(self.client)
        if accepted.verdict is Verdict.FULL:
            raise Overloaded("too many messages wait here already: send it again later")
        return accepted

    async def bury(self, platform: Receiver, request: Request, *, reason: str) -> Taken:
        """Keep what was verified but is no message we know as a dead letter."""
        address, logical_id = platform.origin(request)
        await self.lanes.bury(address, logical_id, request.body, reason=reason).run_async(self.client)
        return Taken(self.lanes.message_id(address, logical_id), "dead", "dead")

    def _id(self, message: InboundMessage) -> str:
        return self.lanes.message_id(message.address, message.dedupe_ids[0])

    def _notice(self, message: InboundMessage) -> Delivery:
        """Sent once when the lane is full; it answers no message, and its id cannot meet that of an answer."""
        text = Reply(in_reply_to=(), address=message.address, text=self.settings.lane_full, source=Source.FALLBACK)
        return Delivery(id=f"notice-{self._id(message)}-0", reply=text)


def _here(said: str) -> str:
    if said == "elsewhere":
        raise MalformedRequest("message_id names a message of another conversation")
    return said
