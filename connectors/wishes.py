"""What a person may ask of the bot itself instead of asking a question: a human being, or to stop."""

from connectors.contract import HandOver, Inbound, Stop
from engine.messages import InboundMessage
from engine.wishes import STOP, person


def read(message: InboundMessage) -> Inbound:
    """The message, or what it asks of the bot itself."""
    if STOP.fullmatch(message.text):
        return Stop(message.address, message.dedupe_ids)
    if person(message.text):
        return HandOver(message.address, message.dedupe_ids, message.sender, message.text)
    return message
