"""What is answered to a batch of turns: the reply cache first, the model for the rest.

`respond` decides for the whole batch. What needs no model comes back as a `Reply` at once; the rest comes back as `Prepared`, to be
given to `generate` when a replica is free.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.cache import CacheKey, ReplyCache
from engine.convert import ensure
from engine.errors import ModelError
from engine.generation import Completion, Finish, Request
from engine.keys import MODELS
from engine.messages import Reply, Source
from engine.model import Model, Pending
from engine.prompt import Prompt
from engine.question import Question
from engine.settings import Settings
from engine.store import Client, reachable
from engine.trail import model_code


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A question that is ready for the model."""

    question: Question
    prompt: Prompt

    @property
    def key(self) -> str:
        return self.question.key

    @property
    def deadline(self) -> int:
        return self.question.deadline

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt.tokens)


class Generating:
    """A batch that the model is at."""

    def __init__(
        self,
        batch: Sequence[Prepared],
        reply: Callable[[Prepared, Completion, "Generating"], Reply],
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
        self._reply = reply
        self._left = {prepared.key for prepared in batch}

    @property
    def left(self) -> list[Prepared]:
        """The turns without a reply yet."""
        return [prepared for prepared in self.batch if prepared.key in self._left]

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.started_at

    def ready(self) -> list[tuple[str, Reply]]:
        """Replies finished since the last call, each with the key of its turn, the short ones first.

        :raises ModelError: if the engine failed; there will be no reply to what is `left`.
        """
        finished = [(self.batch[position], completion) for position, completion in self._pending.ready()]
        self.tokens += sum(completion.tokens for _, completion in finished)
        self._left -= {prepared.key for prepared, _ in finished}
        return [(prepared.key, self._reply(prepared, completion, self)) for prepared, completion in finished]


class Responder:
    """The cache and the model of one worker."""

    def __init__(self, settings: Settings, client: Client, model: Model) -> None:
        self.model = model
        self.settings = settings
        self._cache = ReplyCache(settings, client, CacheKey(model=_identity(model), prompt=_prompt_version(settings)))

    @classmethod
    def load(cls, settings: Settings, client: Client) -> "Responder":
        """Load the model, fetching and converting it first where that was not done.

        :raises StoreUnavailable: if Redis is away.
        :raises ModelError: if it cannot be had or run.
        """
        loaded = cls(settings, client, Model.load(ensure(settings.model, settings), settings))
        with reachable():
            client.hset(MODELS, str(model_code(settings.model)), settings.model)
        return loaded

    def respond(self, batch: Sequence[Question]) -> list[Reply | Prepared]:
        """For each turn its reply, or what the model is to be given."""
        return [self._decide(question, text) for question, text in zip(batch, self._recall(batch), strict=True)]

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
            return Generating(batch, self._reply, submit, brief=brief)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the model did not take a batch of {len(batch)}: {error}") from error

    def remember(self, question: Question, reply: Reply) -> None:
        """Keep a committed reply for the same question, if the model gave it to a whole prompt without context."""
        cut = reply.trace.get("truncated") or (reply.trace.get("brief") and reply.trace.get("finish") == Finish.LENGTH)
        if reply.source is Source.MODEL and not cut and not question.conversation.turns:
            self._cache.keep(question.address.tenant, question.text, reply.text)

    def _decide(self, question: Question, recalled: str | None) -> Reply | Prepared:
        took = _ms(time.monotonic() - question.claimed_at)
        if not question.text.strip():
            return question.reply(self.settings.no_text, Source.FALLBACK, prepared_ms=took)
        if recalled is not None:
            return question.reply(recalled, Source.CACHE, prepared_ms=took)
        return Prepared(question=question, prompt=self.model.prompter.build(question.text, question.conversation.turns))

    def _recall(self, batch: Sequence[Question]) -> list[str | None]:
        """Cached texts; only turns without context are looked up."""
        alone = [question for question in batch if not question.conversation.turns]
        found = self._cache.recall([(question.address.tenant, question.text) for question in alone])
        texts = {question.key: text for question, text in zip(alone, found, strict=True)}
        return [texts.get(question.key) for question in batch]

    def _reply(self, prepared: Prepared, completion: Completion, generating: Generating) -> Reply:
        text = completion.text.strip()
        if generating.brief and completion.finish is Finish.LENGTH:
            text = _whole_sentences(text)
        first = completion.first_token_at
        return prepared.question.reply(
            text or self.settings.apology,
            Source.MODEL if text else Source.FALLBACK,
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


#: A sentence and what ends it, in the scripts that end one by a mark.
_SENTENCES = re.compile(r".*[.!?\u3002\uff01\uff1f\u0964\u061f](?=\s|$|[\u3000-\u9fff])[\"')\]]?", re.DOTALL)


def _whole_sentences(text: str) -> str:
    """The text up to its last whole sentence, or all of it where it has none."""
    found = _SENTENCES.match(text)
    return found[0].strip() if found else text


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _identity(model: Model) -> str:
    return f"{model.card.sha256}:{model.card.weights}:{model.compute_type}"


def _prompt_version(settings: Settings) -> str:
    """Changes with everything but the model that decides a reply."""
    parts = (settings.system_prompt, settings.prompt_tokens, settings.max_tokens, settings.temperature, settings.top_p)
    return hashlib.sha256(repr((*parts, settings.repetition_penalty, settings.stop)).encode()).hexdigest()
