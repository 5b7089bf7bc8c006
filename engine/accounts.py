"""Accounts of platforms: REPLYMILL_<PLATFORM>_<NAME>_<PART>, so that one Replymill serves several bots. Read by `engine.settings`.

Each platform has a frozen class here, its section of the settings. The name stands in the path that the platform calls, and is the
tenant unless one is given; caches, limits and conversations are kept apart by tenant.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine import values
from engine.errors import SettingsError


def part(
    meaning: str, *, default: Any = "", parse: Callable[[str], Any] = values.text, secret: bool = False, required: bool = False
) -> Any:
    """One variable of an account."""
    return field(default=default, metadata={"parse": parse, "meaning": meaning, "secret": secret, "required": required})


@dataclass(frozen=True, kw_only=True)
class Account:
    """What every account has."""

    #: The name in the path: lower case, `-` for `_`.
    name: str
    tenant: str = part("whose bot this is (default: the account's name)")


#: The class of each platform's accounts, by the word in its variables.
SECTIONS: Mapping[str, type[Account]] = {}

#: By platform, then by name.
Accounts = Mapping[str, Mapping[str, Account]]


def parts(section: type[Account]) -> dict[str, "dataclasses.Field[Any]"]:
    """The fields of a section by the last word of their variables."""
    return {f.name.upper(): f for f in dataclasses.fields(section) if f.name != "name"}


def match(prefix: str, variable: str) -> tuple[str, str, str] | None:
    """(platform, name, part) that a variable names, if it is one of an account."""
    for platform, section in SECTIONS.items():
        known = "|".join(sorted(parts(section), key=len, reverse=True))
        found = re.fullmatch(rf"{prefix}{platform.upper()}_([A-Z0-9]+(?:_[A-Z0-9]+)*?)_({known})", variable)
        if found:
            return platform, found[1].lower().replace("_", "-"), found[2]
    return None


def near(prefix: str, variable: str) -> list[str]:
    """What a misspelt variable of an account may have been meant to be."""
    for platform, section in SECTIONS.items():
        stem = f"{prefix}{platform.upper()}_"
        if variable.startswith(stem):
            words = variable.removeprefix(stem).split("_")
            meant = [f"{stem}{'_'.join(words[:end])}_{name}" for end in range(1, len(words)) for name in parts(section)]
            return difflib.get_close_matches(variable, meant, n=1)
    return []


def build(prefix: str, found: Mapping[tuple[str, str], Mapping[str, str]]) -> Accounts:
    """The accounts from the texts of their variables, by (platform, name).

    :raises SettingsError: naming the variable, and what is accepted.
    """
    accounts: dict[str, dict[str, Account]] = {}
    for (platform, name), texts in found.items():
        stem = f"{prefix}{platform.upper()}_{name.upper().replace('-', '_')}"
        accounts.setdefault(platform, {})[name] = _account(SECTIONS[platform], stem, name, texts)
    return accounts


def describe(prefix: str) -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every part of every section."""
    return [
        (f"{prefix}{platform.upper()}_<NAME>_{word}", _shown(one.default), one.metadata["meaning"])
        for platform, section in SECTIONS.items()
        for word, one in parts(section).items()
    ]


def _account(section: type[Account], stem: str, name: str, texts: Mapping[str, str]) -> Account:
    known = parts(section)
    for word, one in known.items():
        if one.metadata["required"] and not texts.get(word):
            raise SettingsError(f"{stem}_{word} is missing: {one.metadata['meaning']}")
    read = {known[word].name: _value(f"{stem}_{word}", known[word], text) for word, text in texts.items() if text}
    return section(**{"name": name, "tenant": name, **read})


def _value(variable: str, one: "dataclasses.Field[Any]", text: str) -> Any:
    try:
        return one.metadata["parse"](text)
    except ValueError as error:
        shown = "(hidden)" if one.metadata["secret"] else repr(text)
        raise SettingsError(f"{variable} is {shown}, but must be {error}") from error


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)
