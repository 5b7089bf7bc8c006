"""What a Zammad has to be asked once: which user the bot is, and what its states mean, whatever they are called.

Names of states can be changed in Zammad's settings, and new ones added; the types behind them cannot. The senders of articles
(`Agent`, `Customer`, `System`) are fixed names, translated on Zammad's screens alone: `db/seeds/ticket_article_senders.rb` [S].
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import structlog

from connectors.api import Api
from engine.errors import DeliveryError

log = structlog.get_logger()

#: The user that owns what nobody owns, which is also the system itself; and its login [S].
NOBODY_ID, NOBODY = 1, "-"

#: The states of a fresh installation with their types, by id and name: `db/seeds/ticket_states.rb` [S].
_FRESH: Mapping[int, str] = MappingProxyType(
    {1: "new", 2: "open", 3: "pending reminder", 4: "closed", 5: "merged", 6: "removed", 7: "pending action"}
)
_NAMED: Mapping[str, str] = MappingProxyType({name: name for name in _FRESH.values()} | {"pending close": "pending action"})
#: Types of states in which a conversation is over, and in which somebody is to work on it.
_GONE = frozenset({"merged", "removed"})
_OVER, _OPEN = _GONE | {"closed"}, frozenset({"new", "open"})

#: What was learned is good for so many seconds; after a failure it is asked again after fewer.
GOOD_FOR, AGAIN = 3600.0, 60.0


@dataclass(frozen=True)
class Known:
    """What is known of one desk."""

    #: The id of the bot's user; 0 until it is known.
    bot: int = 0
    #: The types of states by their ids and, where a payload has nothing else, by their names.
    by_id: Mapping[int, str] = field(default_factory=lambda: _FRESH)
    by_name: Mapping[str, str] = field(default_factory=lambda: _NAMED)
    #: Whether the states were told by the desk itself.
    told: bool = False
    #: When to ask again, by the monotonic clock.
    until: float = 0.0

    def is_over(self, state: Any, state_id: Any) -> bool:
        return self._kind(state, state_id) in _OVER

    def is_gone(self, state: Any, state_id: Any) -> bool:
        """Whether nobody reads it any more: it was merged into another, or removed."""
        return self._kind(state, state_id) in _GONE

    def is_open(self, state: Any, state_id: Any) -> bool:
        return self._kind(state, state_id) in _OPEN

    def opening(self) -> dict[str, Any]:
        """What makes a ticket open."""
        found = [state for state, kind in self.by_id.items() if kind == "open"]
        named = self.by_name.get("open") == "open"
        return {"state": "open"} if named or not found else {"state_id": found[0]}

    def _kind(self, state: Any, state_id: Any) -> str:
        name = state.get("name") if isinstance(state, dict) else state
        named = self.by_name.get(name, "") if isinstance(name, str) else ""
        numbered = self.by_id.get(state_id, "") if isinstance(state_id, int) else ""
        return (numbered or named) if self.told else (named or numbered)


async def learn(api: Api, before: Known) -> Known:
    """What a desk says of itself; where it says nothing, what was known before, or the states of a fresh installation."""
    me, states = await _asked(api, "/api/v1/users/me"), await _asked(api, "/api/v1/ticket_states?expand=true")
    bot = me.get("id") if isinstance(me, dict) else None
    listed = [one for one in states if isinstance(one, dict)] if isinstance(states, list) else []
    kinds = {one["id"]: kind for one in listed if isinstance(one.get("id"), int) and (kind := _kind_of(one))}
    names = {str(one["name"]): kinds[one["id"]] for one in listed if one.get("id") in kinds and one.get("name")}
    until = time.monotonic() + (GOOD_FOR if kinds and isinstance(bot, int) else AGAIN)
    known_bot = before.bot or (bot if isinstance(bot, int) else 0)
    if not kinds:
        return Known(known_bot, before.by_id, before.by_name, before.told, until)
    return Known(known_bot, kinds, names, told=True, until=until)


async def _asked(api: Api, path: str) -> Any:
    try:
        return await api.call("GET", path)
    except DeliveryError as error:  # a ticket can be answered without it; the doctor says what is wrong
        log.debug("Zammad does not say", action="zammad.unknown", path=path, reason=str(error))
        return None


def _kind_of(state: Mapping[str, Any]) -> str:
    """The type by its name, or else by the id it has in every installation: `db/seeds/ticket_state_types.rb` [S]."""
    kind = state.get("state_type")
    named = kind.get("name") if isinstance(kind, dict) else kind
    types = {1: "new", 2: "open", 3: "pending reminder", 4: "pending action", 5: "closed", 6: "merged", 7: "removed"}
    number = state.get("state_type_id")
    return named if isinstance(named, str) else types.get(number, "") if isinstance(number, int) else ""
