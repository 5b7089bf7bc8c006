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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import ctranslate2
import structlog

from engine import tokenizer as tokenizers
from engine.card import Card, Kind
from engine.errors import DamagedModel, ModelError, UnsupportedModel
from engine.generation import Completion, Growing, OnText, Request, Rules
from engine.grouping import group
from engine.prompt import PLAIN_STOP, Prompter
from engine.settings import Settings

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


class Pending:
    """A batch that runs. Positions are those of the requests given to `Model.submit`."""

    def __init__(self, growing: Sequence[Growing], notify: Callable[[], None] | None) -> None:
        self._growing = growing
        self._notify = notify
        self._handles: list[Any] = [None] * len(growing)
        self._taken: set[int] = set()
        self._fault: Exception | None = None

    def ready(self) -> list[tuple[int, Completion]]:
        """The replies that were finished since the last call.

        :raises ModelError: if the engine failed; every reply not yet taken is lost.
        """
        fresh = [i for i, reply in enumerate(self._growing) if i not in self._taken and self._finished(i, reply)]
        self._taken.update(fresh)
        return [(i, self._growing[i].completion()) for i in fresh]

    def done(self) -> bool:
        """True if nothing of the batch runs any more."""
        return all(handle.done() for handle in self._handles)

    def result(self) -> list[Completion]:
        """All replies, waiting for them.

        :raises ModelError: if the engine failed.
        """
        for i, reply in enumerate(self._growing):
            self._outcome(i, reply)
        if self._fault:
            raise self._fault
        return [reply.completion() for reply in self._growing]

    def cancel(self, position: int | None = None) -> None:
        """Ends one reply, or all, at the next token."""
        for i, reply in enumerate(self._growing):
            if position in (None, i):
                reply.cancelled = True

    def _finished(self, position: int, reply: Growing) -> bool:
        if reply.finish is None and self._handles[position].done():
            self._outcome(position, reply)
        return reply.finish is not None

    def _outcome(self, position: int, reply: Growing) -> None:
        try:
            outcome = self._handles[position].result()
        except RuntimeError as error:
            raise ModelError(f"the model failed on a batch of {len(self._growing)}: {error}") from error
        if reply.finish is None:
            reply.settle(_tokens(outcome))

    def start(self, positions: Sequence[int], handles: Sequence[Any]) -> None:
        """Notes the engine's handles of a part of the batch."""
        for position, handle in zip(positions, handles, strict=True):
            self._handles[position] = handle

    def callback(self, positions: Sequence[int], on_text: OnText | None, streams: frozenset[int]) -> Callable[[Any], bool]:
        """What CTranslate2 calls for each token of a part; True ends that sequence."""

        def step(result: Any) -> bool:
            position: int = positions[result.batch_id]
            reply = self._growing[position]
            ended = reply.take(result.token, is_last=result.is_last)
            if position in streams or (ended and self._notify):
                self._tell(position, reply, on_text if position in streams else None)
            return ended

        return step

    def _tell(self, position: int, reply: Growing, on_text: OnText | None) -> None:
        try:
            if on_text:
                on_text(position, reply.text())
            if reply.finish and self._notify:
                self._notify()
        except Exception as error:  # noqa: BLE001 - must not cross CTranslate2's C++ thread; `result` raises it
            self._fault = self._fault or error


class Model:
    """A loaded model: all replicas, its tokenizer and its prompts."""

    def __init__(self, engine: Any, *, card: Card, tokenizer: tokenizers.Tokenizer, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self.card = card
        #: Makes the prompts; their `tokens` go into a `Request`.
        self.prompter = Prompter(tokenizer, card=card, system=settings.system_prompt, budget=_budget(card, settings))
        stop = settings.stop + (PLAIN_STOP if card.kind is Kind.GENERATOR and not card.chat_template else ())
        self._rules = Rules(tokenizer=tokenizer, end_tokens=frozenset(card.end_tokens), stop=stop)
        #: Batches that can run at the same time.
        self.replicas = int(getattr(engine, "num_generators" if card.kind is Kind.GENERATOR else "num_translators"))

    @classmethod
    def load(cls, folder: Path, settings: Settings) -> Self:
        """The model in a folder made by `engine.convert.ensure`.

        :raises DamagedModel: for files that are cut or do not belong together.
        :raises UnsupportedModel: for a device or precision that this machine does not have.
        """
        card = Card.read(folder)
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
        return max(0, self.replicas - int(self._engine.num_active_batches))

    def generate(self, requests: Sequence[Request], *, on_text: OnText | None = None) -> list[Completion]:
        """The replies to a batch, waiting for them."""
        return self.submit(requests, on_text=on_text).result()

    def submit(
        self, requests: Sequence[Request], *, on_text: OnText | None = None, on_finish: Callable[[], None] | None = None
    ) -> Pending:
        """Starts a batch and returns at once; more than one can run.

        `on_text` is called for requests with `stream`, `on_finish` whenever a reply is complete; both in a thread of the engine.
        """
        pending = Pending([Growing(request, self._rules) for request in requests], on_finish)
        streams = frozenset(i for i, request in enumerate(requests) if request.stream and on_text)
        for positions, static in self._parts(requests):
            callback = pending.callback(positions, on_text, streams)
            tokens = [list(requests[i].tokens[static:]) for i in positions]
            pending.start(positions, self._start(tokens, static, callback))
        return pending

    def close(self) -> None:
        """Frees the memory; nothing may run any more."""
        self._engine.unload_model()

    def _parts(self, requests: Sequence[Request]) -> list[tuple[list[int], int]]:
        """The positions that run together, with the length of the static prompt that they share."""
        if self.card.kind is Kind.TRANSLATOR:
            return [(positions, 0) for positions in group([0] * len(requests), reply=1, idle=self.idle())]
        static = self.prompter.static
        shared = [i for i, request in enumerate(requests) if _leads(static, request.tokens)]
        others = sorted(set(range(len(requests))).difference(shared))
        parts = []
        for positions, length in ((shared, len(static)), (others, 0)):
            lengths = [len(requests[i].tokens) for i in positions]
            groups = group(lengths, reply=self._settings.max_tokens // 2, idle=self.idle())
            parts += [([positions[i] for i in members], length) for members in groups]
        return parts

    def _start(self, tokens: list[list[str]], static: int, callback: Callable[[Any], bool]) -> list[Any]:
        sampling = self._sampling()
        if self.card.kind is Kind.TRANSLATOR:
            return list(
                self._engine.translate_batch(
                    tokens, asynchronous=True, beam_size=1, max_input_length=0, max_decoding_length=self._settings.max_tokens,
                    callback=callback, **sampling,
                )
            )  # fmt: skip
        if static:
            sampling |= {"static_prompt": list(self.prompter.static), "cache_static_prompt": True}
        return list(
            self._engine.generate_batch(
                tokens, asynchronous=True, include_prompt_in_result=False, max_length=self._settings.max_tokens,
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


def _budget(card: Card, settings: Settings) -> int:
    """Most tokens of a prompt: prompt and reply together must fit the model's context."""
    if not card.context_length or card.kind is Kind.TRANSLATOR:
        return min(settings.prompt_tokens, card.context_length or settings.prompt_tokens)
    return min(settings.prompt_tokens, card.context_length - settings.max_tokens)


def _leads(static: tuple[str, ...], tokens: tuple[str, ...]) -> bool:
    """True if the static prompt truly begins `tokens` and leaves enough of them."""
    return bool(static) and len(tokens) >= len(static) + _LEAST_TAIL and tokens[: len(static)] == static


def _tokens(outcome: Any) -> list[str]:
    sequences = getattr(outcome, "sequences", None) or outcome.hypotheses
    return list(sequences[0])


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
            ctypes.CDLL(str(Path(place) / name), mode=ctypes.RTLD_GLOBAL)


def _engine(folder: Path, card: Card, settings: Settings, device: str) -> Any:
    kinds = ctranslate2.get_supported_compute_types(device)
    if settings.compute_type not in kinds:
        raise UnsupportedModel(
            f"REPLYMILL_COMPUTE_TYPE is {settings.compute_type}, but this {device} has {', '.join(sorted(kinds))}: use one of them"
        )
    kind = ctranslate2.Generator if card.kind is Kind.GENERATOR else ctranslate2.Translator
    replicas = settings.replicas or (1 if device == "cuda" else len(os.sched_getaffinity(0)))
    return kind(
        str(folder),
        device=device,
        compute_type=settings.compute_type,
        inter_threads=replicas,
        intra_threads=settings.threads,
        max_queued_batches=-1,
    )
