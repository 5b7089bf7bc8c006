"""What a tenant sets for itself: REPLYMILL_TENANT_<NAME>_<SETTING>, beside the settings of all. Read by `engine.settings`.

<NAME> is the tenant's name in capitals, with `_` for anything but letters and digits. A tenant may set what is said and how it is
answered; what a whole process shares (its model, its encoder, its limits) it may not.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from engine import wordings
from engine.answers import Answers
from engine.errors import SettingsError
from engine.texts import Texts

Fields = Mapping[str, "dataclasses.Field[Any]"]


def fields(settings: type[Answers]) -> Fields:
    """What a tenant may set, by the end of its variable."""
    own = {*Texts.__dataclass_fields__, *Answers.__annotations__, "system_prompt"}
    return {one.name.upper(): one for one in dataclasses.fields(settings) if one.name in own and not one.metadata["shared"]}


def named(tenant: str) -> str:
    """A tenant's name as its variables have it, in lower case."""
    return re.sub(r"[^a-z0-9]+", "_", tenant.lower()).strip("_")


def match(prefix: str, variable: str, known: Fields) -> tuple[str, str] | None:
    """(name, setting) that a variable names, if it is one of a tenant."""
    found = re.fullmatch(rf"{prefix}TENANT_([A-Z0-9]+(?:_[A-Z0-9]+)*?)_({'|'.join(known)})", variable)
    return (found[1].lower(), found[2]) if found else None


def meant(prefix: str, misspelt: str, known: Fields) -> list[str]:
    """What a variable of a tenant may have been meant to be: each of its first words is taken for the name."""
    if not misspelt.startswith(f"{prefix}TENANT_"):
        return []
    words = misspelt.removeprefix(f"{prefix}TENANT_").split("_")
    return [f"{prefix}TENANT_{'_'.join(words[:end])}_{one}" for end in range(1, len(words)) for one in known]


def check(prefix: str, loaded: Mapping[str, Answers]) -> None:
    """:raises SettingsError: what a tenant has set, with what all have, cannot go together. The empty name is all tenants."""
    for tenant, settings in loaded.items():
        start = f"{prefix}TENANT_{tenant.upper()}_" if tenant else prefix
        wordings.check(f"{start}TEXTS", settings)
        if settings.clarify_confidence > settings.answer_confidence:
            raise SettingsError(
                f"{start}CLARIFY_CONFIDENCE is {settings.clarify_confidence:g}, but must be at most {start}ANSWER_CONFIDENCE "
                f"({settings.answer_confidence:g}): what is answered is not asked about"
            )


def describe(prefix: str, known: Fields) -> list[tuple[str, str, str]]:
    """(variable, default, meaning) for the README table."""
    meaning = (
        f"one of {len(known)} settings for one tenant alone: a text, where answers come from, the system prompt (docs/dialogue.md)"
    )
    return [(f"{prefix}TENANT_<NAME>_<SETTING>", "", meaning)]
