"""A trace as people and programs read it: what happened to one message, moment by moment, and in one object."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from engine.trail import Event, Trail, Waiting, short


class Moment(NamedTuple):
    """One line of the story."""

    #: Unix time in milliseconds.
    at: float
    what: str
    detail: str = ""


def moments(trail: Trail, models: Mapping[int, str]) -> list[Moment]:
    """What happened to the message of a trail that is about one, oldest first."""
    name = short(trail.id)
    found = [moment for event in trail.events for moment in _of_event(event, name, models)]
    found += [moment for one in trail.waiting for moment in _of_waiting(one, trail.now)]
    # What came of one move has one time: the order of the events is kept.
    return sorted(found, key=lambda moment: moment.at)


def summary(trail: Trail, models: Mapping[int, str]) -> dict[str, Any]:
    """The same as one object; null is what is not known, or has not happened."""
    name, events = short(trail.id), trail.events
    reply = next((event for event in reversed(events) if event.kind in "ap"), None)
    handed = next((event for event in reversed(events) if event.kind == "h"), None)
    facts = dict(reply.facts if reply else handed.facts if handed else {})
    accepted = next((at for event in events if (at := event.messages.get(name))), 0)
    accepted = accepted or next((one.received_at for one in trail.waiting if one.direction == "in"), 0)
    sent = [event for event in events if event.kind == "s"]
    return {
        "id": trail.id,
        "conversation": trail.ref,
        "owner": trail.owner,
        "accepted_at": accepted or None,
        "received_ms_before": facts.get("door_ms"),
        "verified_ms_after": facts.get("verified_ms"),
        "queued_ms": facts.get("waited_ms", 0) if reply else None,
        "answered_at": reply.at if reply else None,
        "source": facts.get("source"),
        "batch": {"id": facts["batch_id"], "size": facts.get("batch")} if "batch_id" in facts else None,
        "cache": {"tier": facts.get("tier") or "exact", "similarity": facts.get("similarity")} if _cached(facts) else None,
        "passages": facts.get("evidence") or [],
        "similarity": facts.get("similarity"),
        "confidence": facts.get("confidence"),
        "tokens": facts.get("tokens"),
        "tokens_per_s": rate(facts),
        "model": models.get(facts.get("model", -1)),
        "sends": [
            {"at": event.at, "outcome": "sent" if event.kind == "s" else "failed", "part": event.facts.get("part", 0)}
            | ({"ms": event.facts.get("send_ms")} if event.kind == "s" else {"reason": event.text})
            for event in events
            if event.kind in "st"
        ],
        "platform_id": next((event.text for event in reversed(sent) if event.text), None),
        "feedback": next((event.text for event in reversed(events) if event.kind == "v"), None),
        "owners": [{"at": event.at, "owner": event.text} for event in events if event.kind == "o"],
        "edits": sum(event.kind == "e" for event in events),
        "repeats": sum(int(event.text) for event in events if event.kind == "n" and event.text.isdecimal()),
        "dead": [{"at": event.at, "reason": event.text} for event in events if event.kind in "db"],
        "replayed": [event.at for event in events if event.kind == "r"],
        "waiting": [_plain(one) for one in trail.waiting],
        "events": [
            {
                "at": event.at,
                "event": event.name,
                "facts": dict(event.facts),
                "text": event.text,
                "messages": sorted(event.messages),
            }
            for event in events
        ],
    }


def rate(facts: Mapping[str, Any]) -> float | None:
    """Tokens per second of a reply."""
    tokens, generated = facts.get("tokens"), facts.get("generated_ms")
    return round(tokens * 1000 / generated, 1) if tokens and generated else None


def _of_event(event: Event, name: str, models: Mapping[int, str]) -> Iterator[Moment]:
    accepted, facts = event.messages.get(name, 0), event.facts
    if accepted and event.kind not in "d":
        if "door_ms" in facts:
            yield Moment(accepted - facts["door_ms"], "received")
        if "door_ms" in facts and "verified_ms" in facts:
            yield Moment(accepted - facts["door_ms"] + facts["verified_ms"], "verified")
        yield Moment(accepted, "accepted")
    if event.kind in "ap":
        others = len(event.messages) - 1
        if "waited_ms" in facts and accepted:
            yield Moment(accepted + facts["waited_ms"], "claimed", f"queued {facts['waited_ms']} ms")
        together = f"; with {others} other message{'s' if others > 1 else ''} as one turn" if others else ""
        yield Moment(event.at, event.name, _made(facts, models) + together)
        yield from (Moment(event.at, title, str(facts[key])) for key, title in _TEXTS.items() if key in facts)
    else:
        yield Moment(event.at, event.name, _told(event))


_TEXTS = {"question": "  the question", "reply": "  the reply"}


def _of_waiting(one: Waiting, now: int) -> Iterator[Moment]:
    what = "accepted" if one.direction == "in" else "reply ready to be sent"
    yield Moment(one.received_at, what, f"revision {one.revision}" if one.revision else "")
    worker = "a worker is at it" if one.leased else "waits in its lane"
    yield Moment(now, "now", f"{worker}; an outcome is due in {max(0, one.deadline - now) / 1000:.0f} s")


def _made(facts: Mapping[str, Any], models: Mapping[int, str]) -> str:
    """How a reply was made."""
    speed = rate(facts)
    parts = (
        f"by {_SOURCES.get(facts.get('source', ''), 'an unknown source')}",
        f"{facts.get('tier') or 'exact'} match" + _percent(" of ", facts.get("similarity")) if _cached(facts) else "",
        f"{facts['generated_ms']:.0f} ms" if "generated_ms" in facts else "",
        f"{facts['tokens']} tokens" + (f" at {speed:g} a second" if speed else "") if facts.get("tokens") else "",
        f"the first after {facts['first_token_ms']:.0f} ms" if "first_token_ms" in facts else "",
        f"prompt of {facts['prompt_tokens']}" if "prompt_tokens" in facts else "",
        "cut to fit" if facts.get("truncated") else "",
        f"batch {facts['batch_id']} of {facts.get('batch', 1)}" if "batch_id" in facts else "",
        f"model {models.get(facts['model'], facts['model'])}" if "model" in facts else "",
        f"ended by {facts['finish']}" if facts.get("finish", "stop") != "stop" else "",
        _rests(facts),
    )
    return ", ".join(filter(None, parts))


def _rests(facts: Mapping[str, Any]) -> str:
    """What a reply rests on, and how surely."""
    parts = (
        "" if _cached(facts) else _percent("similarity ", facts.get("similarity")),
        _percent("confidence ", facts.get("confidence")),
        f"rests on {', '.join(map(str, facts['evidence']))}" if facts.get("evidence") else "",
    )
    return ", ".join(filter(None, parts))


_SOURCES = {"model": "the model", "cache": "the cache", "knowledge": "the knowledge base", "fallback": "a fixed text"}


def _told(event: Event) -> str:
    """What other events have to tell."""
    part = f"part {event.facts['part'] + 1}" if event.facts.get("part") else ""
    if event.kind == "s":
        took = f"took {event.facts['send_ms']:.0f} ms" if "send_ms" in event.facts else ""
        return ", ".join(filter(None, (part, took, f"the platform's id is {event.text}" if event.text else "")))
    if event.kind == "n":
        return f"{event.text} more time{'' if event.text == '1' else 's'}; no second reply"
    if event.kind == "r":
        return "to be answered again" if event.text == "in" else "to be sent again, with the same id"
    return ": ".join(filter(None, (part, ", ".join(filter(None, (event.text, _rests(event.facts)))))))


def _cached(facts: Mapping[str, Any]) -> bool:
    return facts.get("source") == "cache"


def _percent(before: str, value: float | None) -> str:
    return "" if value is None else f"{before}{value:.0%}"


def _plain(one: Waiting) -> dict[str, Any]:
    return {
        "direction": one.direction,
        "id": one.id,
        "accepted_at": one.received_at,
        "deadline": one.deadline,
        "revision": one.revision,
        "leased": one.leased,
    }
