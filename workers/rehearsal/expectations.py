"""Whether a reply is as expected: pure."""

from dataclasses import dataclass
from typing import Any

import regex  # type: ignore[import-untyped] # it brings no annotations

from engine.choices import offered
from engine.language import recognise
from engine.messages import Action
from workers.rehearsal.files import Expectation

#: Seconds a regular expression may search in one reply.
_PATIENCE = 1.0


@dataclass(frozen=True, kw_only=True)
class Said:
    """A reply as the platform got it."""

    text: str
    source: str
    evidence: tuple[str, ...]
    confidence: float | None
    handed_over: bool
    #: From the user's message, or the last of its fragments, to the reply.
    seconds: float

    @classmethod
    def read(cls, data: dict[str, Any], *, seconds: float) -> "Said":
        """From the data of a callback."""
        return cls(
            text=data["text"],
            source=data["source"],
            evidence=tuple(data["evidence"]),
            confidence=data["confidence"],
            handed_over=data.get("action") == Action.HAND_OVER,
            seconds=seconds,
        )


def failures(expected: Expectation, said: Said | None) -> list[str]:
    """Each property that is not as expected, in words."""
    if said is None:
        return [] if expected.silent else ["no reply came"]
    if expected.silent:
        return ["expected silence, but something was said"]
    return [*_of_text(expected, said.text), *_of_facts(expected, said)]


def _of_text(expected: Expectation, text: str) -> list[str]:
    folded = text.casefold()
    found = [f"does not contain {part!r}" for part in expected.contains if part.casefold() not in folded]
    found += [f"contains {part!r}" for part in expected.not_contains if part.casefold() in folded]
    found += [f"does not match {pattern!r}" for pattern in expected.matches if not _matches(pattern, text)]
    options = [one.casefold() for one in offered(text)]
    found += [f"offers no choice {one!r}" for one in expected.choices if one.casefold() not in options]
    language = recognise(text) if expected.language else ""
    if language != expected.language:
        found.append(f"is in the language {language or 'nobody can tell'}, not {expected.language}")
    return found


def _of_facts(expected: Expectation, said: Said) -> list[str]:
    found = []
    if expected.source and said.source not in expected.source:
        found.append(f"comes from {said.source}, not from {' or '.join(expected.source)}")
    evidence = "\n".join(said.evidence).casefold()
    found += [f"does not rest on {part!r}" for part in expected.evidence if part.casefold() not in evidence]
    least = expected.confidence_at_least
    if least is not None and (said.confidence is None or said.confidence < least):
        known = "unknown" if said.confidence is None else f"{said.confidence:.3f}"
        found.append(f"has a confidence of {known}, not of {least:g} at least")
    if expected.handed_over is not None and said.handed_over is not expected.handed_over:
        found.append("is handed over to a person" if said.handed_over else "is not handed over to a person")
    if expected.max_seconds is not None and said.seconds > expected.max_seconds:
        found.append(f"took {said.seconds:.2f} s, more than {expected.max_seconds:g}")
    return found


def _matches(pattern: str, text: str) -> bool:
    try:
        return regex.search(pattern, text, timeout=_PATIENCE) is not None
    except TimeoutError:  # a search that never ends has found nothing
        return False
