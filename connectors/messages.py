"""What `GET /v1/messages/<id>` says of a message."""

from typing import Any

import msgspec

from engine.moves import Whereabouts

#: Moments of a message's way, Unix time in milliseconds.
_MOMENTS = ("received_at", "answered_at", "delivered_at")


def show(message_id: str, found: Whereabouts) -> dict[str, Any]:
    """The message as JSON; its moments are Unix time in milliseconds, and null while they have not come."""
    record = found.record
    moments = {name: int(record[name]) for name in _MOMENTS if record.get(name)}
    if found.received_at:
        moments["received_at"] = found.received_at
    shown: dict[str, Any] = {
        "id": message_id,
        "state": record.get("state") or found.state,
        "received_at": moments.get("received_at"),
        "reply": _reply(record),
        "timings": {**{name: moments.get(name) for name in _MOMENTS}, **_json(record, "trace", {})},
    }
    return {**shown, "reason": record["reason"]} if record.get("reason") else shown


def _reply(record: dict[str, str]) -> dict[str, Any] | None:
    if "text" not in record:
        return None
    return {
        "text": record["text"],
        "source": record.get("source", ""),
        "confidence": float(record["confidence"]) if record.get("confidence") else None,
        "evidence": _json(record, "evidence", []),
    }


def _json(record: dict[str, str], name: str, default: Any) -> Any:
    return msgspec.json.decode(record[name]) if record.get(name) else default
