"""What the moves of the lanes hand to their scripts: items for a lane, turns for a history, times in ms."""

import time
from typing import Any

from engine.messages import InboundMessage, Role, Turn
from engine.scripts import Blobs


def turn_of(message: InboundMessage) -> bytes:
    """The message as it stands in the history of a conversation that a person owns."""
    return Turn.kept(Role.USER, message.shown, at=int(time.time() * 1000)).encode()


def item(item_id: str, body: bytes, blobs: Blobs, *, cost: int, deadline: float) -> dict[str, Any]:
    """One entry for a lane, due in `deadline` seconds; its body goes to the blobs."""
    return {"id": item_id, "cost": cost, "deadline": ms(deadline), "body": blobs.add(body)}


def ms(seconds: float) -> int:
    """Whole milliseconds."""
    return round(seconds * 1000)
