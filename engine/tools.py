"""External actions: HTTP tools that the operator registers, called by a rule and never by the model's whim.

`Tools.match` says what a message asks for: a call that has all it needs, a question for what is missing, or nothing. It is pure;
`engine.tools_file` reads the tools, `engine.tool_requests` makes the request of a call and `engine.tool_answers` its reply.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, TypeVar

from engine.choices import listed
from engine.messages import Role, Turn
from engine.tool_values import Parameter, normal, search

T = TypeVar("T")

#: Rules and texts that hold for every language.
ANY = "any"
#: Turns that are looked back for what a person has told already.
LOOK_BACK = 12


class OnError(StrEnum):
    """What becomes of a turn whose tool does not work."""

    #: The text for errors is said.
    SAY = "say"
    #: A person takes over, with that text.
    PERSON = "person"


@dataclass(frozen=True)
class Rule:
    """One pattern that calls a tool; its named groups are parameters."""

    language: str
    pattern: Any


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What is said, in one language; `{name}` stands for a field of the answer or a parameter."""

    reply: str
    not_found: str
    error: str


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One registered action."""

    name: str
    rules: tuple[Rule, ...]
    #: In the order in which they are asked for.
    parameters: Mapping[str, Parameter]
    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    #: JSON to send; None: no body.
    body: Any = None
    #: Seconds, connecting included.
    timeout: float
    most_bytes: int
    #: Its host may be inside, and be spoken to by http.
    private: bool
    #: What makes it "not found": statuses, and a path of the answer at which there is nothing.
    not_found: frozenset[int]
    found: tuple[str | int, ...]
    #: Paths into the JSON of an answer, by name; those of `optional` may be missing.
    fields: Mapping[str, tuple[str | int, ...]]
    optional: frozenset[str]
    #: By field, value and language: the words that stand for a value.
    words: Mapping[str, Mapping[str, Mapping[str, str]]]
    #: By language, the first one for languages that have none.
    say: Mapping[str, Texts]
    on_error: OnError
    #: Tenants that have it; empty: all.
    tenants: frozenset[str]

    @property
    def acts(self) -> bool:
        """Whether a call changes something, so that it must not be made twice."""
        return self.method not in ("GET", "HEAD")

    @property
    def evidence(self) -> tuple[str, ...]:
        """What a reply by it rests on."""
        return (f"tool:{self.name}",)

    def texts(self, language: str) -> Texts:
        return by_language(self.say, language)


@dataclass(frozen=True)
class Call:
    """A tool is to be called; it has all it needs."""

    tool: Tool
    #: As they are sent.
    parameters: Mapping[str, str]
    language: str


@dataclass(frozen=True)
class Ask:
    """A parameter is missing: what the person is to be asked, once."""

    tool: Tool
    parameter: str
    #: Known so far.
    known: Mapping[str, str]
    language: str

    @property
    def text(self) -> str:
        return by_language(self.tool.parameters[self.parameter].ask, self.language)

    @property
    def choices(self) -> tuple[str, ...]:
        """For `Reply.choices`."""
        return self.tool.parameters[self.parameter].labels

    @property
    def evidence(self) -> tuple[str, ...]:
        return self.tool.evidence


class Tools:
    """All registered tools."""

    def __init__(self, tools: Sequence[Tool] = ()) -> None:
        self._tools = tuple(tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools)

    def __bool__(self) -> bool:
        return bool(self._tools)

    def match(
        self, question: str, language: str, tenant: str, open_question: Ask | None = None, *, today: date | None = None
    ) -> Call | Ask | None:
        """What a message asks of the tools of a tenant; `open_question` is what the person was asked last, if that was ours.

        The language only says which rules come first and which texts are used. What was asked once is not asked again: a message
        that does not answer is no affair of the tool any more, unless it calls another one.
        """
        text, day = normal(question), today or datetime.now(UTC).date()
        rule, known = self._ruled(text, language, tenant, day)
        if open_question is not None and self._has(open_question.tool, tenant) and rule in (None, open_question.tool):
            parameter = open_question.tool.parameters[open_question.parameter]
            value = known.get(parameter.name) or parameter.answer(text, day)
            if value is None:
                return None
            given = {**open_question.known, **known, parameter.name: value}
            return _next(open_question.tool, given, open_question.language)
        return None if rule is None else _next(rule, known, _spoken(rule, language))

    def open_question(self, turns: Sequence[Turn], tenant: str, *, today: date | None = None) -> Ask | None:
        """What the person was asked by the last turn of a history, and what had been told before; None: nothing of ours."""
        asked = self._asked(turns[-1], tenant) if turns else None
        if asked is None:
            return None
        begin = len(turns) - 1
        while begin > 0 and len(turns) - begin < LOOK_BACK and self._continues(turns[begin - 1], asked.tool, tenant):
            begin -= 1
        state: Call | Ask | None = None
        for turn in turns[begin:]:
            if turn.role is Role.USER:
                state = self.match(turn.text, asked.language, tenant, state if isinstance(state, Ask) else None, today=today)
        same = isinstance(state, Ask) and (state.tool, state.parameter) == (asked.tool, asked.parameter)
        return Ask(asked.tool, asked.parameter, state.known, asked.language) if same and isinstance(state, Ask) else asked

    def _continues(self, turn: Turn, tool: Tool, tenant: str) -> bool:
        """Whether a turn belongs to the questions of a tool."""
        if turn.role is Role.USER:
            return True
        asked = self._asked(turn, tenant)
        return asked is not None and asked.tool is tool

    def _asked(self, turn: Turn, tenant: str) -> Ask | None:
        """The question that a turn of the assistant is."""
        if turn.role is not Role.ASSISTANT:
            return None
        said = turn.text.strip()
        asks = (
            Ask(tool, name, {}, language)
            for tool in self._tools
            if self._has(tool, tenant)
            for name, parameter in tool.parameters.items()
            for language in parameter.ask
        )
        return next((ask for ask in asks if said.endswith(listed(ask.text, ask.choices).strip())), None)

    def _has(self, tool: Tool, tenant: str) -> bool:
        return tool in self._tools and (not tool.tenants or tenant in tool.tenants)

    def _ruled(self, text: str, language: str, tenant: str, today: date) -> tuple[Tool | None, Mapping[str, str]]:
        """The first tool that a rule calls, with the parameters in the text; rules of the language come first."""
        spoken = language.partition("-")[0].lower()
        tools = [tool for tool in self._tools if self._has(tool, tenant)]
        rules = [(rule.language not in (spoken, ANY), tool, rule) for tool in tools for rule in tool.rules]
        for _, tool, rule in sorted(rules, key=lambda one: one[0]):
            found = search(rule.pattern, text)
            if found:
                return tool, _parameters(tool, found.groupdict(), text, today)
        return None, {}


def by_language(texts: Mapping[str, T], language: str) -> T:
    """The one of a language, else of any, else the first."""
    for one in (language, language.partition("-")[0].lower(), ANY):
        if one in texts:
            return texts[one]
    return next(iter(texts.values()))


def _spoken(tool: Tool, language: str) -> str:
    """The language as the texts of a tool have it."""
    short = language.partition("-")[0].lower()
    return short if short in tool.say else next(iter(tool.say))


def _parameters(tool: Tool, groups: Mapping[str, str | None], text: str, today: date) -> dict[str, str]:
    """By the groups of the rule, else anywhere in the message."""
    found = {}
    for name, parameter in tool.parameters.items():
        said = groups.get(name)
        value = parameter.read(said, today) if said else parameter.find(text, today)
        if value is not None:
            found[name] = value
    return found


def _next(tool: Tool, known: Mapping[str, str], language: str) -> Call | Ask:
    missing = next((name for name in tool.parameters if name not in known), None)
    return Call(tool, known, language) if missing is None else Ask(tool, missing, known, language)
