"""The door: what was verified and parsed goes onto its lane, and the caller learns what became of it."""

import time
from dataclasses import dataclass

from msgspec import structs

from connectors import agents, arrival
from connectors.contract import (
    Deletion,
    Edit,
    Feedback,
    Forget,
    HandOver,
    Inbound,
    Notice,
    Ownership,
    Platform,
    Receiver,
    Request,
    Stop,
    Taken,
)
from connectors.crowd import Crowd
from connectors.people import AgentWord
from connectors.platforms import bridged, staffed
from engine import saying
from engine.errors import LaneFull, Overloaded
from engine.gaps import note_dislike
from engine.handing import recall
from engine.handoff import Hand, Reason, noted, opening, relay
from engine.keys import DISLIKED, MOST_DISLIKED
from engine.lanes import Lanes
from engine.messages import Action, Address, Delivery, InboundMessage, Owner, Reply, Source
from engine.moves import Accepted, Circumstances, Pause, Verdict
from engine.overload import Rung, lasting, rung
from engine.settings import Settings
from engine.store import AsyncClient, reachable
from engine.telemetry import receiving, telemetry

#: Names the notice that a tenant is full, as no platform names a message.
_CROWDED = "\x00crowded"
#: What a sender is told of a verdict; a repeat gets what the first one got.
_STATES = {
    Verdict.ACCEPTED: "accepted",
    Verdict.REPEAT: "accepted",
    Verdict.CANCELLED: "cancelled",
    Verdict.OWNED: "handed-over",
    Verdict.PAUSED: "paused",
}


@dataclass(frozen=True)
class Intake:
    """Every way in leads through here; each move is one script, and so all or nothing.

    Every method raises `StoreUnavailable` when Redis cannot take it.
    """

    settings: Settings
    lanes: Lanes
    client: AsyncClient
    crowd: Crowd

    async def settle(self, platform: Platform, inbound: Inbound) -> Taken:
        """Do what came in asks for.

        :raises LaneFull: the lane is full.
        :raises Overloaded: the tenant has too much waiting; the person was told, once.
        """
        if isinstance(inbound, Deletion):
            said = await self.lanes.cancel(inbound.address, inbound.logical_id).run_async(self.client)
            return Taken(self.lanes.message_id(inbound.address, inbound.logical_id), said, f"deletion-{said}")
        if isinstance(inbound, Edit):
            said = await self.lanes.amend(inbound.message).run_async(self.client)
            return Taken(self._id(inbound.message), said, f"edit-{said}")
        if isinstance(inbound, AgentWord | Ownership):
            return await self._people(platform, inbound)
        if isinstance(inbound, Stop):
            await self._lanes(platform).stop(inbound.address, inbound.logical_ids).run_async(self.client)
            named = inbound.logical_ids and self.lanes.message_id(inbound.address, inbound.logical_ids[0])
            return Taken(named or "", "stopped", "stop")
        if isinstance(inbound, Feedback):
            return await self._rate(inbound)
        if isinstance(inbound, InboundMessage):
            accepted = await self.take(platform, inbound)
        else:
            accepted = await self._notify(platform, inbound)
        return Taken(accepted.id, _STATES[accepted.verdict], accepted.verdict)

    async def _people(self, platform: Platform, inbound: AgentWord | Ownership) -> Taken:
        """What people do, or their tool says of them."""
        if isinstance(inbound, AgentWord):
            return await agents.settle(self._lanes(platform), self.client, inbound)
        await self.lanes.own(inbound.address, inbound.owner).run_async(self.client)
        return Taken("", inbound.owner, f"owner-{inbound.owner}")

    async def take(self, platform: Platform, message: InboundMessage) -> Accepted:
        """Put one message on its lane.

        :raises LaneFull: the lane is full; the person was told, once.
        :raises Overloaded: the tenant has too much waiting.
        """
        with receiving(telemetry(self.settings), platform.name, at=arrival.begun_at(), parent=arrival.parent()) as span:
            accepted = await self._accept(platform, structs.replace(message, door=arrival.door(), traceparent=span.traceparent))
            span.note({"messaging.message.id": accepted.id, "replymill.verdict": str(accepted.verdict)})
        if accepted.verdict is Verdict.FULL:
            raise LaneFull("too many messages wait here already: send it again later")
        if accepted.verdict is Verdict.CROWDED:
            await self._say_crowded(message)
            raise Overloaded("too many messages wait here already: send it again later")
        return accepted

    async def _accept(self, platform: Platform, message: InboundMessage) -> Accepted:
        times, language = platform.times, saying.spoken([message.text])
        accept = self._lanes(platform).accept(
            message,
            deadline=times.deadline,
            quiet=(times.quiet, times.quiet_max),
            notice=self._fixed(message.address, f"notice-{self._id(message)}-0", "lane_full", language),
            given=self._circumstances(platform, message, language),
        )
        return await accept.run_async(self.client)

    async def bury(self, platform: Receiver, request: Request, *, reason: str) -> Taken:
        """Keep what was verified but is no message we know as a dead letter."""
        address, logical_id = platform.origin(request)
        await self.lanes.bury(address, logical_id, request.body, reason=reason).run_async(self.client)
        return Taken(self.lanes.message_id(address, logical_id), "dead", "dead")

    def _id(self, message: InboundMessage) -> str:
        return self.lanes.message_id(message.address, message.dedupe_ids[0])

    async def _notify(self, platform: Platform, inbound: Notice | HandOver | Forget) -> Accepted:
        """What is answered by a fixed text, once; a notice without a text posts nothing, and its ids are known from then on."""
        posts: tuple[Delivery, ...] = ()
        hand, address, first = None, inbound.address, inbound.logical_ids[0]
        name = inbound.name if isinstance(inbound, Notice) else "forgotten"
        language = await self._language(inbound) if name else ""
        if isinstance(inbound, HandOver):
            hand = self._hand(address, first, Reason.ASKED, language, sender=inbound.sender)
        elif name:
            posts = (self._answer(address, first, name, language),)
        if isinstance(inbound, Notice):
            posts += self._attached(inbound)
        notify = self._lanes(platform).notify(
            inbound.address, inbound.logical_ids, deliveries=posts, hand=hand, forget=isinstance(inbound, Forget)
        )
        return await notify.run_async(self.client)

    async def _language(self, inbound: Notice | HandOver | Forget) -> str:
        """The person's: of their words, of what they wrote before, or as the platform says."""
        words = inbound.text if isinstance(inbound, HandOver) else ""
        known = saying.spoken([words]) or (await recall(self.lanes, inbound.address).run_async(self.client)).language
        return known or (inbound.language if isinstance(inbound, Notice) else "")

    def _attached(self, notice: Notice) -> tuple[Delivery, ...]:
        """What people behind the bridge are told of a message that has no text."""
        if notice.name != "no_text" or not bridged(notice.address, self.settings):
            return ()
        id_ = self.lanes.message_id(notice.address, notice.logical_ids[0])
        return (noted(notice.address, id_, "**User:** (something without text, such as a file; it is not passed on)"),)

    def _hand(self, address: Address, logical_id: str, reason: Reason, language: str, *, sender: str) -> Hand:
        """Gives a conversation to a person: the user is told, and so are the people behind the bridge where those are."""
        id_ = self.lanes.message_id(address, logical_id)
        post = structs.replace(self._answer(address, logical_id, "handing_over", language), action=Action.HAND_OVER)
        bridge = bridged(address, self.settings)
        head = (opening(address, id_, reason, sender=sender),) if bridge else ()
        return Hand(
            address=address, owner=Owner.WAITING, reason=reason, deliveries=(post, *head), language=language, bridged=bridge
        )

    async def _say_crowded(self, message: InboundMessage) -> None:
        """Not every platform brings a message again, and none says to the person that it was not taken."""
        lanes, address = self.lanes.forgetful, message.address
        id_ = f"notice-{lanes.message_id(address, _CROWDED)}-0"
        notice = self._fixed(address, id_, "tenant_full", saying.spoken([message.text]))
        await lanes.notify(address, (_CROWDED,), deliveries=(notice,)).run_async(self.client)

    def _lanes(self, platform: Platform) -> Lanes:
        """The lanes, which recognise a repeat for as long as the platform needs it."""
        return self.lanes.patient if platform.timeless else self.lanes

    async def _rate(self, inbound: Feedback) -> Taken:
        try:
            known = await self.lanes.rate(inbound.message_id, inbound.verdict).run_async(self.client)
        except ValueError:  # an id that is none of ours: somebody else's button
            known = False
        if known and inbound.verdict == "down":
            with reachable():
                await self.client.rpush(DISLIKED, inbound.message_id)
                await self.client.ltrim(DISLIKED, -MOST_DISLIKED, -1)
            await note_dislike(self.client, self.lanes, inbound.message_id, at=time.time_ns() // 1_000_000)
        verdict = inbound.verdict if known else "unknown"
        return Taken(inbound.message_id, "kept" if known else "unknown", f"feedback-{verdict}")

    def _pause(self, platform: Platform, message: InboundMessage, language: str) -> Pause | None:
        """Where bots may meet each other."""
        if not self.settings.turns_per_minute or not platform.bots_meet:
            return None
        notice = self._fixed(message.address, f"pause-{self._id(message)}-0", "paused", language)
        return Pause(self.settings.turns_per_minute, notice, hourly=self.settings.turns_per_hour)

    def _circumstances(self, platform: Platform, message: InboundMessage, language: str) -> Circumstances:
        """Where bots may meet each other, and while many messages wait."""
        forecast = self.crowd.forecast(self.client, message.address.tenant)
        step, id_ = rung(forecast.wait, self.settings), self._id(message)
        person = tell = None
        if step >= Rung.PERSON and staffed(message.address, self.settings):
            person = self._hand(message.address, message.dedupe_ids[0], Reason.BUSY, language, sender=message.sender)
        if step >= Rung.TELL:
            name, count = lasting(forecast.wait)
            wait = saying.say(self.settings, message.address.tenant, name, language, count=str(count))
            places = {"position": str(forecast.ahead + 1), "wait": wait}
            tell = self._fixed(message.address, f"line-{id_}-0", "in_line", language, **places)
        with_bridge = relay(message, id_) if bridged(message.address, self.settings) else None
        return Circumstances(self._pause(platform, message, language), tell, person, with_bridge)

    def _answer(self, address: Address, logical_id: str, name: str, language: str) -> Delivery:
        """A fixed text instead of an answer to one message."""
        text = saying.say(self.settings, address.tenant, name, language)
        id_ = self.lanes.message_id(address, logical_id)
        reply = Reply(in_reply_to=(id_,), address=address, text=text, source=Source.FALLBACK, reference=logical_id)
        return Delivery(id=f"{id_}-0", reply=reply)

    def _fixed(self, address: Address, delivery_id: str, name: str, language: str, **places: str) -> Delivery:
        """A fixed text that answers no message, whose id cannot meet that of an answer."""
        text = saying.say(self.settings, address.tenant, name, language, **places)
        reply = Reply(in_reply_to=(), address=address, text=text, source=Source.FALLBACK)
        return Delivery(id=delivery_id, reply=reply)
