"""What is taken is logged with the conversation it belongs to, so that a message can be followed; never with its text."""

import structlog

from connectors.contract import FULL, Edit, Feedback, Inbound, Platform, Receiver, Request, Taken
from connectors.intake import Intake
from connectors.people import AgentWord
from engine.messages import InboundMessage

log = structlog.get_logger()


async def settle(intake: Intake, platform: Platform, inbound: Inbound) -> Taken:
    """`Intake.settle`, logged."""
    taken = await intake.settle(platform, inbound)
    conversation = _conversation(intake, inbound)
    log.info("accepted", action="message.accepted", message=taken.id, conversation=conversation, verdict=str(taken.verdict))
    return taken


def full(intake: Intake, inbound: Inbound) -> Taken:
    """What is not taken because its conversation is full; the person was told."""
    event = "a conversation is full: a message is left out"
    log.warning(event, action="message.full", conversation=_conversation(intake, inbound))
    return Taken("", FULL, FULL)


async def bury(intake: Intake, platform: Receiver, request: Request, *, reason: str) -> Taken:
    """`Intake.bury`, logged."""
    taken = await intake.bury(platform, request, reason=reason)
    conversation = intake.lanes.digests.lane(platform.origin(request)[0])
    event = "a verified request is no message we know"
    log.warning(event, action="web.buried", message=taken.id, conversation=conversation, reason=reason)
    return taken


def _conversation(intake: Intake, inbound: Inbound) -> str:
    match inbound:
        case Feedback() | AgentWord():
            return ""
        case Edit(message=message) | (InboundMessage() as message):
            return intake.lanes.digests.lane(message.address)
        case other:
            return intake.lanes.digests.lane(other.address)
