"""What the bot says by itself, as its tenant has it and in the person's language, wherever no decision about a turn has told it.

The doors have no classifier of languages: there, and for what is said later, the person's own words tell it.
"""

from collections.abc import Iterable, Sequence

from engine import wordings
from engine.messages import Role, Turn
from engine.settings import Settings


def say(settings: Settings, tenant: str, name: str, language: str = "", **places: str) -> str:
    """A fixed text in the language (a code, empty: unknown) of whoever writes to a tenant; `settings` are those of all."""
    return wordings.said(settings.for_tenant(tenant), name, language, **places)


def spoken(texts: Iterable[str]) -> str:
    """The language of the first text that tells it; empty: none does."""
    return next(filter(None, map(wordings.guessed, texts)), "")


def written(turns: Sequence[Turn]) -> list[str]:
    """What the person wrote, the newest first."""
    return [turn.text for turn in reversed(turns) if turn.role is Role.USER]
