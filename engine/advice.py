"""How the turns of a batch are to be answered: each is understood, all are looked up together, then it is decided for each.

What is looked up costs one pass of the encoder for the whole batch. Without a knowledge base, nothing is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from engine import dialogue, language
from engine.dialogue import Act, Circumstances, Decision
from engine.errors import KnowledgeAway
from engine.knowledge_base import Found
from engine.messages import Address
from engine.question import Question
from engine.settings import Settings
from engine.smalltalk import SmallTalk
from engine.tools import Ask, Call, Tools
from engine.understanding import Kind, Understood

#: Seconds until a turn is tried again whose knowledge is out of reach.
LATER = 2.0
#: Hits that are looked at for one question.
HITS = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """A turn as it is understood, before anything was looked up."""

    question: Question
    #: Its tenant's.
    settings: Settings
    understood: Understood
    #: Whether there is anybody to hand over to.
    people: bool
    #: What the message asks of a tool.
    errand: Call | Ask | None
    #: Version of the tenant's knowledge base; empty: it has none.
    knowledge: str

    @property
    def searched(self) -> bool:
        """Whether the knowledge base is to be searched: something is asked that no rule answers."""
        asks = self.understood.kind in (Kind.QUESTION, Kind.UNCLEAR)
        return bool(self.knowledge and self.understood.questions and self.errand is None and asks)

    @property
    def alone(self) -> bool:
        """Whether it is one question that stands alone, so that its answer may be kept, and be given to others.

        Who needs a person, or asks whether this is one, is told something of their own.
        """
        of_their_own = self.understood.chosen or self.understood.reason or self.understood.small_talk is SmallTalk.BOT
        if self.errand is not None or of_their_own:
            return False
        if not self.knowledge:
            return not self.question.conversation.turns
        return self.understood.kind is Kind.QUESTION and len(self.understood.questions) == 1

    @property
    def asked(self) -> str:
        """The question of one that is `alone`."""
        return self.understood.questions[0] if self.knowledge else self.question.text

    @property
    def foreign(self) -> bool:
        """Whether it is in a language that the encoder does not know."""
        return bool(self.understood.language) and self.understood.language not in self.settings.encoder_languages


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What is to be done about a turn."""

    case: Case
    decision: Decision
    #: With `Act.TOOL`.
    call: Call | None = None
    #: Cosine of the question and what was found nearest to it; None: nothing was looked up, or found.
    similarity: float | None = None

    @property
    def question(self) -> Question:
        return self.case.question


@dataclass(frozen=True, kw_only=True)
class Later:
    """A turn that nothing is said to yet: the knowledge it needs is out of reach, and without it the model would invent."""

    question: Question


class Knows(Protocol):
    """What is asked of knowledge: see `engine.knowledge_base.Knowledge`."""

    def version(self, tenant: str) -> str:
        """Names what a tenant is answered from; empty where there is no knowledge base."""

    def prepare(self, questions: Sequence[str]) -> None:
        """Make their vectors, all at once."""

    def search(self, tenant: str, questions: Sequence[str], *, k: int = 3, foreign: bool = False) -> list[Found]:
        """What there is for each question."""


class Adviser:
    """What one worker knows, beside its model."""

    def __init__(self, settings: Settings, *, knowledge: Knows, tools: Tools, staffed: Callable[[Address], bool]) -> None:
        self._settings = settings
        self._knowledge = knowledge
        self._tools = tools
        self._staffed = staffed

    def understand(self, question: Question) -> Case:
        """A turn with text, understood."""
        address, turns = question.address, question.conversation.turns
        settings = self._settings.for_tenant(address.tenant)
        texts = (question.text, dialogue.language_before(turns))
        spoken = next(filter(None, (language.recognise(text, likely=settings.languages) for text in texts)), "")
        understood = dialogue.understand(question.text, question.conversation, settings, language=spoken)
        return Case(
            question=question,
            settings=settings,
            understood=understood,
            people=self._staffed(address),
            errand=self._errand(question, understood),
            knowledge=self._knowledge.version(address.tenant),
        )

    def advise(self, cases: Sequence[Case]) -> dict[str, Advice | Later]:
        """What is to be done about each, by the key of its turn."""
        found = self._look_up(cases)
        return {case.question.key: self._decide(case, found.get(case.question.key, [])) for case in cases}

    def _look_up(self, cases: Sequence[Case]) -> dict[str, list[Found] | Later]:
        """What was found for each question of each case that is searched: those of one tenant and kind of language at once."""
        together: dict[tuple[str, bool], list[Case]] = {}
        for case in cases:
            if case.searched:
                together.setdefault((case.question.address.tenant, case.foreign), []).append(case)
        self._knowledge.prepare([asked for some in together.values() for case in some for asked in case.understood.questions])
        found: dict[str, list[Found] | Later] = {}
        for (tenant, foreign), some in together.items():
            found |= self._search(tenant, some, foreign=foreign)
        return found

    def _search(self, tenant: str, cases: Sequence[Case], *, foreign: bool) -> dict[str, list[Found] | Later]:
        questions = [asked for case in cases for asked in case.understood.questions]
        try:
            found = iter(self._knowledge.search(tenant, questions, k=HITS, foreign=foreign))
        except KnowledgeAway:
            return {case.question.key: Later(question=case.question) for case in cases}
        return {case.question.key: list(islice(found, len(case.understood.questions))) for case in cases}

    def _decide(self, case: Case, found: Sequence[Found] | Later) -> Advice | Later:
        if isinstance(found, Later):
            return found
        if isinstance(case.errand, Ask):
            return Advice(case=case, decision=_asking(case.errand))
        decision = dialogue.decide(
            case.understood,
            [one.hits for one in found],
            [one.confidence for one in found],
            case.settings,
            Circumstances(people=case.people, knowledge=bool(case.knowledge), tool=case.errand.tool.name if case.errand else ""),
        )
        call = case.errand if decision.act is Act.TOOL else None
        nearest = max((hit.cosine for one in found for hit in one.hits[:1]), default=None)
        return Advice(case=case, decision=decision, call=call, similarity=nearest)

    def _errand(self, question: Question, understood: Understood) -> Call | Ask | None:
        tenant = question.address.tenant
        before = self._tools.open_question(question.conversation.turns, tenant) if self._tools else None
        return self._tools.match(question.text, understood.language, tenant, before) if self._tools else None


def _asking(ask: Ask) -> Decision:
    """A tool needs to know something first."""
    return Decision(act=Act.SAY, because="tool", text=ask.text, choices=ask.choices, tool=ask.tool.name, language=ask.language)
