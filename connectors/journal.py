"""The line in the log that follows a message from its door to its conversation; never its text."""

import structlog

from connectors.contract import Deletion, Edit, Inbound
from connectors.intake import Taken
from engine.lanes import Lanes
from engine.messages import Address

log = structlog.get_logger()


def accepted(lanes: Lanes, inbound: Inbound, taken: Taken) -> None:
    """Say what became of a message, an edit or a deletion."""
    conversation = lanes.digests.lane(_address(inbound))
    log.info("accepted", action="message.accepted", message=taken.id, conversation=conversation, verdict=str(taken.verdict))


def _address(inbound: Inbound) -> Address:
    match inbound:
        case Edit(message=message):
            return message.address
        case Deletion(address=address):
            return address
        case message:
            return message.address
