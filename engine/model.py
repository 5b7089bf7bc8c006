"""The language model. The only file that imports CTranslate2's engine.

`Model.submit` starts a batch and returns at once; the batch runs in CTranslate2's threads, one batch a replica. Its replies come
back one by one, the short ones first (`Pending.ready`). What CTranslate2 does, as read in its source and measured:

- It calls back for every token; at 500 tokens/s this costs nothing that can be measured. Early replies, streaming, stop texts and
  cancelling rest on it.
- Prompts of unequal length cost: see `engine.grouping`, which decides what runs together.
- With a repetition penalty, what it feeds token by token of a longer prompt counts as said. So in a batch of unequal prompts the
  penalty can change a reply; without it a batch gives in float32 what single requests give. In INT8 the batch itself changes some.
- `static_prompt` is computed once and kept by the engine for as long as the model is loaded: only one text may ever be static.
- `CT2_USE_MKL=1` must not be set on AMD processors: 90 tokens/s instead of 780.
"""

import ctypes
import importlib.util
import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import ctranslate2
import structlog

from engine import tokenizer as tokenizers
from engine.card import Card, Kind
from engine.errors import DamagedModel, UnsupportedModel
from engine.generation import Completion, Growing, OnText, Request, Rules
from engine.grouping import group
from engine.pending import Pending
from engine.prompt import PLAIN_STOP, Prompter
from engine.scoring import score
from engine.settings import Settings

__all__ = ["Model", "Pending"]

log = structlog.get_logger()

#: Tokens that must follow the static prompt: of a single one CTranslate2 would return the prompts of the batch with the replies.
_LEAST_TAIL = 2
#: CTranslate2's top-p on CUDA sorts at most so many candidates.
_CUDA_CANDIDATES = 256
#: Where the CUDA libraries of the `cuda` extra lie, in the order in which they need each other.
_CUDA_LIBRARIES = (
    ("nvidia.cublas", "lib/libcublasLt.so.12"),
    ("nvidia.cublas", "lib/libcublas.so.12"),
    ("nvidia.cudnn", "lib/libcudnn.so.9"),
)

#: glibc keeps what CTranslate2 frees, and on other systems there is no such call.
_TRIM: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Model:
    """A loaded model: all replicas, its tokenizer and its prompts."""

    def __init__(self, engine: Any, *, card: Card, tokenizer: tokenizers.Tokenizer, settings: Settings) -> None:
        self._engine = engine
        self._running: weakref.WeakSet[Pending] = weakref.WeakSet()
        self._end = weakref.finalize(self, _end_all, engine, self._running)
        self._settings = settings
        self.card = card
        #: Makes the prompts; their `tokens` go into a `Request`.
        self.prompter = prompter_for(tokenizer, card, settings)
        self._tokenizer = tokenizer
        self._prompters = {_prompting(settings): self.prompter}
        stop = settings.stop + (PLAIN_STOP if card.kind is Kind.GENERATOR and not card.chat_template else ())
        self._rules = Rules(tokenizer=tokenizer, end_tokens=frozenset(card.end_tokens), stop=stop)
        #: Batches that can run at the same time.
        self.replicas = int(getattr(engine, "num_generators" if card.kind is Kind.GENERATOR else "num_translators"))

    def prompter_of(self, settings: Settings) -> Prompter:
        """Makes the prompts of a tenant, whose system prompt may be its own; `settings` are those of `Settings.for_tenant`."""
        own = _prompting(settings)
        if own not in self._prompters:
            self._prompters[own] = prompter_for(self._tokenizer, self.card, settings)
        return self._prompters[own]

    @classmethod
    def load(cls, folder: Path, settings: Settings) -> Self:
        """The model in a folder made by `engine.convert.ensure`.

        :raises DamagedModel: for files that are cut or do not belong together.
        :raises UnsupportedModel: for a device or precision that this machine does not have.
        """
        card = Card.read(folder)
        if card.kind is Kind.ENCODER:
            raise UnsupportedModel(f"{card.source} makes vectors of texts, not replies: name it in REPLYMILL_ENCODER")
        tokenizer = tokenizers.load(folder, card)
        device = _device(settings.device)
        try:
            engine = _engine(folder, card, settings, device)
        except (RuntimeError, ValueError) as error:
            if device == "cpu" or settings.device == "cuda":
                raise DamagedModel(f"{folder} cannot be loaded on {device} ({error}): delete it and convert again") from error
            log.warning("The GPU cannot be used; the model runs on the CPU.", action="model.fallback", reason=str(error))
            engine = _engine(folder, card, settings, "cpu")
        return cls(engine, card=card, tokenizer=tokenizer, settings=settings)

    @property
    def device(self) -> str:
        """Where it runs: `cpu` or `cuda`."""
        return str(self._engine.device)

    @property
    def compute_type(self) -> str:
        """The precision it computes in; never empty."""
        return str(self._engine.compute_type)

    def idle(self) -> int:
        """Replicas without work."""
        return max(0, self.replicas - sum(pending.busy() for pending in self._running))

    def generate(self, requests: Sequence[Request], *, on_text: OnText | None = None) -> list[Completion]:
        """The replies to a batch, waiting for them."""
        return self.submit(requests, on_text=on_text).result()

    def submit(
        self,
        requests: Sequence[Request],
        *,
        most: int = 0,
        on_text: OnText | None = None,
        on_finish: Callable[[], None] | None = None,
    ) -> Pending:
        """Starts a batch of replies of at most so many tokens (0: `max_tokens`) and returns at once; more than one can run.

        `on_text` is called for requests with `stream`, `on_finish` whenever a reply is complete; both in a thread of the engine.
        """
        least = _LEAST_TAIL if self.card.kind is Kind.GENERATOR else 1
        if any(len(request.tokens) < least for request in requests):
            raise ValueError(f"a prompt has at least {least} tokens")
        pending = Pending([Growing(request, self._rules) for request in requests], on_finish)
        self._running.add(pending)
        streams = frozenset(i for i, request in enumerate(requests) if request.stream and on_text)
        most = min(most or self._settings.max_tokens, self._settings.max_tokens)
        for positions, static in self._parts(requests, most):
            callback = pending.callback(positions, on_text, streams)
            tokens = [list(requests[i].tokens[static:]) for i in positions]
            pending.start(positions, self._start(tokens, static, most, callback))
        return pending

    def score(self, pairs: Sequence[tuple[Sequence[str], str]]) -> list[list[float]]:
        """How probable each token of a text is after a prompt's tokens, for each pair: see `engine.scoring`."""
        return score(self._engine, self._rules.tokenizer, self.card.kind, pairs)

    def rest(self) -> None:
        """Gives back to the system the memory that batches leave behind (300 MB at 32 prompts), in 25 ms; for an idle worker."""
        if _TRIM:
            _TRIM(0)

    def close(self) -> None:
        """Cancels what runs and frees the memory."""
        self._end()
        self._engine.unload_model()

    def _parts(self, requests: Sequence[Request], most: int) -> list[tuple[list[int], int]]:
        """The positions that run together, with the length of the static prompt that they share."""
        if self.card.kind is Kind.TRANSLATOR:
            return [(positions, 0) for positions in group([0] * len(requests), reply=1, idle=self.idle())]
        static = self.prompter.static
        shared = [i for i, request in enumerate(requests) if _leads(static, request.tokens)]
        others = sorted(set(range(len(requests))).difference(shared))
        parts = []
        for positions, length in ((shared, len(static)), (others, 0)):
            lengths = [len(requests[i].tokens) for i in positions]
            groups = group(lengths, reply=most // 2, idle=self.idle())
            parts += [([positions[i] for i in members], length) for members in groups]
        return parts

    def _start(self, tokens: list[list[str]], static: int, most: int, callback: Callable[[Any], bool]) -> list[Any]:
        sampling = self._sampling()
        if self.card.kind is Kind.TRANSLATOR:
            return list(
                self._engine.translate_batch(
                    tokens, asynchronous=True, beam_size=1, max_input_length=0, max_decoding_length=most,
                    callback=callback, **sampling,
                )
            )  # fmt: skip
        if static:
            sampling |= {"static_prompt": list(self.prompter.static), "cache_static_prompt": True}
        return list(
            self._engine.generate_batch(
                tokens, asynchronous=True, include_prompt_in_result=False, max_length=most,
                callback=callback, **sampling,
            )
        )  # fmt: skip

    def _sampling(self) -> dict[str, Any]:
        """Greedy at temperature 0; otherwise from all tokens, or from the most probable that top-p keeps."""
        settings = self._settings
        options: dict[str, Any] = {"repetition_penalty": settings.repetition_penalty, "sampling_topk": 1}
        if self.card.end_tokens:
            options["end_token"] = list(self.card.end_tokens)
        if settings.temperature:
            options |= {"sampling_temperature": settings.temperature, "sampling_topp": settings.top_p}
            options["sampling_topk"] = _CUDA_CANDIDATES if self.device == "cuda" and settings.top_p < 1 else 0
        return options


def _end_all(engine: Any, running: "weakref.WeakSet[Pending]") -> None:
    """At exit too: CTranslate2 aborts the process if it calls back into, or lets go of, an interpreter that is gone.

    A batch counts as active until its callback is released, a moment after its results are there.
    """
    for pending in list(running):
        pending.cancel()
    for pending in list(running):
        pending.wait()
    while engine.num_active_batches:
        time.sleep(0.001)


def _prompting(settings: Settings) -> tuple[str, str]:
    """What of a tenant's settings its prompts depend on."""
    return settings.system_prompt, settings.passages_prompt


def prompter_for(tokenizer: tokenizers.Tokenizer, card: Card, settings: Settings) -> Prompter:
    """Makes prompts as the settings say: those of a tenant, whose system prompt may be its own."""
    budget = _budget(card, settings)
    return Prompter(tokenizer, card=card, system=settings.system_prompt, budget=budget, instruction=settings.passages_prompt)


def _budget(card: Card, settings: Settings) -> int:
    """Most tokens of a prompt: prompt and reply together must fit the model's context."""
    if not card.context_length or card.kind is Kind.TRANSLATOR:
        return min(settings.prompt_tokens, card.context_length or settings.prompt_tokens)
    return min(settings.prompt_tokens, card.context_length - settings.max_tokens)


def _leads(static: tuple[str, ...], tokens: tuple[str, ...]) -> bool:
    """True if the static prompt truly begins `tokens` and leaves enough of them."""
    return bool(static) and len(tokens) >= len(static) + _LEAST_TAIL and tokens[: len(static)] == static


def _device(wanted: str) -> str:
    """Where to run.

    :raises UnsupportedModel: for CUDA where there is none.
    """
    if wanted == "cpu":
        return "cpu"
    for package, name in _CUDA_LIBRARIES:
        _preload(package, name)
    found = ctranslate2.get_cuda_device_count()
    if wanted == "cuda" and not found:
        raise UnsupportedModel("REPLYMILL_DEVICE is cuda, but there is no usable CUDA device: check the driver, or use auto")
    return "cuda" if found else "cpu"


def _preload(package: str, name: str) -> None:
    """Loads a CUDA library out of its package, where CTranslate2 would not look; silently not where it is absent."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / name).is_file():
            with suppress(OSError):  # what cannot be loaded shows when the model is tried
                ctypes.CDLL(str(Path(place) / name), mode=ctypes.RTLD_GLOBAL)


def _engine(folder: Path, card: Card, settings: Settings, device: str) -> Any:
    kinds = ctranslate2.get_supported_compute_types(device)
    if settings.compute_type not in kinds:
        raise UnsupportedModel(
            f"REPLYMILL_COMPUTE_TYPE is {settings.compute_type}, but this {device} has {', '.join(sorted(kinds))}: use one of them"
        )
    kind = ctranslate2.Generator if card.kind is Kind.GENERATOR else ctranslate2.Translator
    replicas = settings.replicas or (1 if device == "cuda" else len(os.sched_getaffinity(0)))
    engine = kind(
        str(folder),
        device=device,
        compute_type=settings.compute_type,
        inter_threads=replicas,
        intra_threads=settings.threads,
        max_queued_batches=-1,
    )
    if device == "cuda":
        _try(engine, card)
    return engine


def _try(engine: Any, card: Card) -> None:
    """CTranslate2 loads the CUDA libraries at the first use only."""
    if card.kind is Kind.GENERATOR:
        engine.generate_batch([[card.eos_token]], max_length=1)
    else:
        engine.translate_batch([[card.eos_token]], max_decoding_length=1)
