"""What is evaluated: encoder, knowledge base, reply cache and model, as serving uses them, without queue and Redis."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.cache import normalise
from engine.cases import Case
from engine.dialogue import PASSAGES_EACH
from engine.generation import Completion, Request
from engine.grounding import supported
from engine.knowledge import Hit, Passage
from engine.model import Model
from engine.prompt import Prompt

Vectors = NDArray[np.float32]


class Encodes(Protocol):
    """Texts to vectors: see `engine.encoder`."""

    identity: str

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One row of unit length a text."""


class Searches(Protocol):
    """Questions to hits: see `engine.retrieval`."""

    def search(self, questions: Sequence[str], vectors: Vectors, *, k: int) -> list[list[Hit]]:
        """The best hits for each question, best first."""


class Memory(Protocol):
    """A reply cache in memory: answers by their keys."""

    name: str

    def recall(self, question: str) -> str | None:
        """The key of the answer that the question would get from the cache."""

    def keep(self, question: str, key: str) -> None:
        """The question was answered, with the answer of this key."""


class ExactMemory:
    """The same question, normalised, gets the same answer."""

    name = "exact"

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def recall(self, question: str) -> str | None:
        return self._keys.get(normalise(question))

    def keep(self, question: str, key: str) -> None:
        self._keys[normalise(question)] = key


class Origin(StrEnum):
    """Where a reply came from."""

    #: The knowledge base, word by word.
    VERBATIM = "verbatim"
    MODEL = "model"
    #: Too unsure: a person would be asked.
    NOBODY = "handed_over"
    #: It stood in the file.
    GIVEN = "given"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One reply."""

    text: str
    origin: Origin
    #: Whether the passages support it; None where none were given, or it is theirs word by word.
    is_grounded: bool | None = None
    #: From the found passages to the reply, with the batch that it was made in.
    ms: float = 0.0
    tokens: int = 0
    prompt_tokens: int = 0


def names(passage: Passage) -> frozenset[str]:
    """What a label may call an entry."""
    return frozenset(filter(None, (passage.document, passage.id, passage.link, passage.title)))


def is_answer(passage: Passage, case: Case) -> bool:
    """Whether the entry is what a case says answers it: by its label, or word by word."""
    if case.label:
        return case.label in names(passage)
    return bool(case.reference) and normalise(case.reference) == normalise(passage.text)


#: How sure it is that the first hit answers a question: see `engine.confidence`.
Assess = Callable[[str, Sequence[Hit], Vectors], float]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Encoder, knowledge base and, where there is one, model."""

    encoder: Encodes
    index: Searches
    assess: Assess
    model: Model | None = None
    #: What stands in the report about it.
    described: dict[str, str] = field(default_factory=dict)
    memory: Callable[[], Memory] = ExactMemory
    #: Whether an approved answer is given word by word.
    is_verbatim: bool = True

    def search(self, questions: Sequence[str], *, k: int) -> tuple[list[list[Hit]], list[float]]:
        """The best hits for each question, and how sure it is that the first answers it."""
        vectors = self.encoder.encode(questions)
        found = self.index.search(questions, vectors, k=k)
        sure = [self.assess(*asked) for asked in zip(questions, found, vectors, strict=True)]
        return found, sure

    def answer(self, batch: Sequence[tuple[Case, Sequence[Hit], bool]]) -> list[Answered]:
        """What is replied to each; the flag says whether its first hit is sure enough to be given."""
        began = time.perf_counter()
        made = [self._without_model(hits, is_sure=is_sure) for _, hits, is_sure in batch]
        left = [i for i, one in enumerate(made) if one is None]
        for i, completion in zip(left, self._complete([batch[i][:2] for i in left]), strict=True):
            made[i] = _made(completion, batch[i][1])
        ms = (time.perf_counter() - began) * 1000
        # What needed no model did not wait for the batch.
        return [replace(one, ms=ms) if one.origin is Origin.MODEL else one for one in made if one]

    def _without_model(self, hits: Sequence[Hit], *, is_sure: bool) -> Answered | None:
        """None: it is the model's turn."""
        if not hits and self.model:
            return None
        if not hits or not is_sure:
            return Answered(text="", origin=Origin.NOBODY)
        if (hits[0].passage.verbatim and self.is_verbatim) or not self.model:
            return Answered(text=hits[0].passage.text, origin=Origin.VERBATIM)
        return None

    def _complete(self, batch: Sequence[tuple[Case, Sequence[Hit]]]) -> list[Completion]:
        if not batch or not self.model:
            return []
        return self.model.generate([Request(tokens=self.prompt(case, hits).tokens) for case, hits in batch])

    def prompt(self, case: Case, hits: Sequence[Hit]) -> Prompt:
        """What the model is given: the question after its turns, with the passages that were found."""
        assert self.model, "without a model there is no prompt"
        return self.model.prompter.build(case.question, case.turns, [hit.passage for hit in hits[:PASSAGES_EACH]])


def _made(completion: Completion, hits: Sequence[Hit]) -> Answered:
    """The model's reply, held against the passages that it was given."""
    given = [hit.passage.text for hit in hits[:PASSAGES_EACH]]
    return Answered(
        text=completion.text,
        origin=Origin.MODEL,
        tokens=completion.tokens,
        prompt_tokens=completion.prompt_tokens,
        is_grounded=supported(completion.text, given).ok if given else None,
    )
