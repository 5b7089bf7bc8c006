"""A batch that the model is at."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from engine.advice import Advice
from engine.answer import Answer
from engine.dialogue import Act
from engine.generation import Completion
from engine.grounding import Grounds
from engine.model import Pending
from engine.prompt import Prompt
from engine.question import Question
from engine.settling import grounds


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A question that is ready for the model."""

    advice: Advice
    prompt: Prompt

    @property
    def question(self) -> Question:
        return self.advice.question

    @property
    def key(self) -> str:
        return self.question.key

    @property
    def deadline(self) -> int:
        return self.question.deadline

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt.tokens)

    @cached_property
    def _grounds(self) -> Grounds | None:
        """Against what a reply is held while it is made; None: against nothing."""
        settings, decision = self.advice.case.settings, self.advice.decision
        return grounds(decision.passages) if decision.act is Act.MODEL and settings.grounding else None

    def visible(self, text: str) -> str:
        """As much of a reply that is being made as may be seen: what its passages support."""
        return self._grounds.prefix(text) if self._grounds else text


class Generating:
    """A batch that the model is at."""

    def __init__(
        self,
        batch: Sequence[Prepared],
        answer: Callable[[Prepared, Completion, "Generating"], Answer],
        submit: Callable[[], Pending],
        *,
        brief: bool = False,
    ) -> None:
        self.batch = batch
        #: Whether its replies are kept short.
        self.brief = brief
        #: Tells batches apart in traces; of five characters there.
        self.id = secrets.randbelow(36**5)
        #: By `time.monotonic`, before the engine has seen it.
        self.started_at = time.monotonic()
        #: Made so far, in replies that are done.
        self.tokens = 0
        self._pending = submit()
        self._answer = answer
        self._left = {prepared.key for prepared in batch}

    @property
    def left(self) -> list[Prepared]:
        """The turns without a reply yet."""
        return [prepared for prepared in self.batch if prepared.key in self._left]

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.started_at

    def ready(self) -> list[tuple[str, Answer]]:
        """Answers finished since the last call, each with the key of its turn, the short ones first.

        :raises ModelError: if the engine failed; there will be no reply to what is `left`.
        """
        finished = [(self.batch[position], completion) for position, completion in self._pending.ready()]
        self.tokens += sum(completion.tokens for _, completion in finished)
        self._left -= {prepared.key for prepared, _ in finished}
        return [(prepared.key, self._answer(prepared, completion, self)) for prepared, completion in finished]
