"""What is taken is logged with the conversation it belongs to, so that a message can be followed; never with its text."""

import structlog

from connectors.contract import Deletion, Edit, Inbound, Platform, Receiver, Request
from connectors.intake import Intake, Taken
from engine.messages import Address

log = structlog.get_logger()


async def settle(intake: Intake, platform: Platform, inbound: Inbound) -> Taken:
    """`Intake.settle`, logged."""
    taken = await intake.settle(platform, inbound)
    conversation = intake.lanes.digests.lane(_address(inbound))
    log.info("accepted", action="message.accepted", message=taken.id, conversation=conversation, verdict=str(taken.verdict))
    return taken


async def bury(intake: Intake, platform: Receiver, request: Request, *, reason: str) -> Taken:
    """`Intake.bury`, logged."""
    taken = await intake.bury(platform, request, reason=reason)
    conversation = intake.lanes.digests.lane(platform.origin(request)[0])
    event = "a verified request is no message we know"
    log.warning(event, action="web.buried", message=taken.id, conversation=conversation, reason=reason)
    return taken


def _address(inbound: Inbound) -> Address:
    match inbound:
        case Edit(message=message):
            return message.address
        case Deletion(address=address):
            return address
        case message:
            return message.address
