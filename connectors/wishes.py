"""What a person may ask of the bot itself instead of asking a question: a human being, or to stop."""

import re

from connectors.contract import HandOver, Inbound, Stop
from engine.messages import InboundMessage

_STOP = re.compile(r"\W*(/stop|stop|cancel that|never ?mind)\W*", re.IGNORECASE)
#: The whole message, so that a question about people is none.
_PERSON = re.compile(
    r"\W*(/human|((i|we) (want|need|would like|wish)|i'd like|can i|could i|may i|let me|please)?\s*"
    r"(to )?((talk|speak|chat)( to| with)|get|connect me( to| with)|transfer me to)?\s*"
    r"((a|an|the|some)\s)?(real |live |actual )?"
    r"(human( being)?|person|agent|representative|someone real|operator))(\s*,?\s*please)?\W*",
    re.IGNORECASE,
)


def read(message: InboundMessage) -> Inbound:
    """The message, or what it asks of the bot itself."""
    if _STOP.fullmatch(message.text):
        return Stop(message.address, message.dedupe_ids)
    if _PERSON.fullmatch(message.text):
        return HandOver(message.address, message.dedupe_ids, message.sender)
    return message
