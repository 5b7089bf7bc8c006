"""What is answered to a batch of turns: what is known first, the model for the rest.

`respond` decides for the whole batch, in this order: a tool that a rule calls, small talk, the reply cache, near matches in it, the
knowledge base, the model. What needs no model comes back as an `Answer` at once, what needs a tool as an `Errand`; the rest comes
back as `Prepared`, to be given to `generate` when a replica is free. Whatever the model says goes through `engine.dialogue.settle`.
"""

import importlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine import dialogue, language, saying
from engine.advice import Advice, Adviser, Later
from engine.answer import Answer, said
from engine.convert import ensure
from engine.dialogue import Act
from engine.errors import KnowledgeError, ModelError
from engine.generating import Generating, Prepared
from engine.generation import Completion, Finish, Request
from engine.keys import MODELS
from engine.knowledge_base import Knowledge
from engine.messages import Address, Source
from engine.model import Model, Pending
from engine.prompt import Prompt
from engine.question import Question
from engine.remembering import Memory
from engine.settings import Settings
from engine.settling import whole_sentences
from engine.store import Client, reachable
from engine.tools import Call, Tools
from engine.trail import model_code

#: Longest wait at start for the knowledge base, seconds: 100,000 passages take a tenth of it; and between looks.
KNOWLEDGE_WAIT, SETTLE_EVERY = 300.0, 0.5


@dataclass(frozen=True, kw_only=True)
class Errand:
    """A turn whose answer a tool gives."""

    question: Question
    call: Call


#: What becomes of a turn at first.
Result = Answer | Errand | Prepared | Later


def _encoder(settings: Settings) -> Any:
    """Needed where there is a knowledge base alone."""
    return importlib.import_module("engine.encoder").Encoder.load(settings)


def nobody(address: Address) -> bool:
    """Where there are no people to hand over to."""
    return False


class Responder:
    """What one worker answers from: tools, cache, knowledge base and model."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        model: Model,
        *,
        staffed: Callable[[Address], bool] = nobody,
        tools: Tools | None = None,
    ) -> None:
        self.model = model
        self.settings = settings
        self.knowledge = Knowledge(settings, client, load_encoder=lambda: _encoder(settings))
        self._adviser = Adviser(settings, knowledge=self.knowledge, tools=tools or Tools(), staffed=staffed)
        self._memory = Memory(settings, client, self.knowledge, model=model)
        for tenant in settings.tenants:
            model.prompter_of(settings.for_tenant(tenant))  # one that is too long is refused now

    @classmethod
    def load(
        cls,
        settings: Settings,
        client: Client,
        *,
        staffed: Callable[[Address], bool] = nobody,
        patience: float = KNOWLEDGE_WAIT,
    ) -> "Responder":
        """Load the model, fetching and converting it first where that was not done, and the knowledge base.

        :raises StoreUnavailable: if Redis is away.
        :raises SettingsError: if the file of tools cannot be used.
        :raises ModelError: if the model cannot be had or run.
        :raises KnowledgeError: if a knowledge base is there and cannot be loaded: without it the model would invent.
        """
        kept = settings.cache_dir.expanduser()
        threading.Thread(target=language.load, args=(kept,), name="language", daemon=True).start()
        tools = importlib.import_module("engine.tools_file").load(settings) if settings.tools else Tools()
        loaded = cls(settings, client, Model.load(ensure(settings.model, settings), settings), staffed=staffed, tools=tools)
        with reachable():
            client.hset(MODELS, str(model_code(settings.model)), settings.model)
        loaded._settle(patience)
        return loaded

    def refresh(self) -> None:
        """Notice what was published, and what other workers keep; to be called about once a second.

        :raises StoreUnavailable: if Redis is away.
        """
        self.knowledge.refresh()
        self._memory.sync()

    def respond(self, batch: Sequence[Question]) -> list[Result]:
        """For each turn its answer, its errand, what the model is to be given, or that it must wait."""
        cases = [self._adviser.understand(question) for question in batch if question.text.strip()]
        known = self._memory.recall([case for case in cases if case.alone])
        advised = self._adviser.advise([case for case in cases if case.question.key not in known])
        return [known.get(question.key) or self._result(question, advised.get(question.key)) for question in batch]

    def generate(
        self, batch: Sequence[Prepared], *, on_text: Callable[[str, str], None], on_finish: Callable[[], None], brief: bool = False
    ) -> Generating:
        """Start a batch, of short replies where `brief`.

        `on_text` gets key and text so far of streamed replies; it and `on_finish` are called in the engine's threads.

        :raises ModelError: if the engine does not take it.
        """
        most = self.settings.overload_brief_tokens if brief else 0
        requests = [Request(tokens=prepared.prompt.tokens, stream=prepared.question.streamed) for prepared in batch]

        def submit() -> Pending:
            return self.model.submit(requests, most=most, on_text=lambda i, text: on_text(batch[i].key, text), on_finish=on_finish)

        try:
            return Generating(batch, self._settled, submit, brief=brief)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the model did not take a batch of {len(batch)}: {error}") from error

    def remember(self, answer: Answer) -> None:
        """Keep a committed answer for the same question, where it may be given to others.

        :raises StoreUnavailable: if Redis is away.
        """
        self._memory.keep(answer)

    def _settle(self, patience: float) -> None:
        """Wait until every knowledge base is there; what is not indexed yet may be while this waits."""
        knowledge, ends = self.knowledge, time.monotonic() + patience
        while not (knowledge.settle(max(0.0, ends - time.monotonic())) and knowledge.complete):
            if knowledge.broken or time.monotonic() > ends:
                why = knowledge.broken or f"it is not there or not indexed after {patience:g} s"
                raise KnowledgeError(f"a knowledge base could not be loaded: {why}; `replymill doctor` and the log say more")
            time.sleep(SETTLE_EVERY)

    def _result(self, question: Question, advice: Advice | Later | None) -> Result:
        if isinstance(advice, Later):
            return advice
        took = _ms(time.monotonic() - question.claimed_at)
        if advice is None:
            spoken = saying.spoken(saying.written(question.conversation.turns))
            text = saying.say(self.settings, question.address.tenant, "no_text", spoken)
            return Answer(reply=question.reply(text, Source.FALLBACK, prepared_ms=took))
        decision = advice.decision
        if advice.call is not None:
            return Errand(question=question, call=advice.call)
        if decision.act in (Act.MODEL, Act.FREE):
            return Prepared(advice=advice, prompt=self._prompt(advice))
        return said(advice, decision, prepared_ms=took)

    def _prompt(self, advice: Advice) -> Prompt:
        prompter = self.model.prompter_of(advice.case.settings)
        turns, decision = advice.question.conversation.turns, advice.decision
        if decision.act is Act.FREE:
            return prompter.build(advice.question.text, turns)
        return prompter.build(decision.question, turns, passages=decision.passages)

    def _settled(self, prepared: Prepared, completion: Completion, generating: Generating) -> Answer:
        advice, text = prepared.advice, completion.text.strip()
        if generating.brief and completion.finish is Finish.LENGTH:
            text = whole_sentences(text) or text
        decision = dialogue.settle(advice.decision, text, advice.case.settings, people=advice.case.people)
        first = completion.first_token_at
        return said(
            advice,
            decision,
            made=True,
            prepared_ms=_ms(generating.started_at - prepared.question.claimed_at),
            **({} if first is None else {"first_token_ms": _ms(first - generating.started_at)}),
            generated_ms=_ms(generating.seconds),
            tokens=completion.tokens,
            prompt_tokens=completion.prompt_tokens,
            batch=len(generating.batch),
            batch_id=generating.id,
            model=self.settings.model,
            finish=str(completion.finish),
            **({"brief": True} if generating.brief else {}),
            truncated=prepared.prompt.truncated,
            dropped_turns=prepared.prompt.dropped,
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
