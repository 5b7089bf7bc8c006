"""What answers are made from, the model apart: the reply cache, the knowledge base, the dialogue. A part of `engine.settings`."""

from dataclasses import dataclass

from engine import values
from engine.staffing import Staffing
from engine.texts import setting


@dataclass(frozen=True, kw_only=True)
class Answers(Staffing):
    """Everything about where an answer comes from."""

    cache: bool = setting(True, values.flag, "reuse replies to the same question")
    cache_ttl: float = setting(86_400.0, values.number(1, 31_536_000), "seconds a cached reply is kept")
