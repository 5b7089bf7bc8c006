"""The model answers alone and in batches, streams, stops and cancels; and says clearly what it cannot serve."""

import dataclasses
import io
import json
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import ctranslate2
import hypothesis.strategies as st
import numpy as np
import pytest
import sentencepiece
from ctranslate2.specs import transformer_spec
from hypothesis import given

from engine import tokenizer as tokenizers
from engine.card import Card, Kind
from engine.convert import ensure
from engine.errors import DamagedModel, UnsupportedModel
from engine.generation import Completion, Finish, Growing, Request, Rules
from engine.grouping import group
from engine.model import Model
from engine.settings import Settings
from tests.conftest import wait_for

ROOT = Path(__file__).parents[1]

QUESTIONS = ("Hi", "Where is my order?", "x" * 80, "I want my money back, and I want it today.", "", "2024", "the " * 40, "user")


def tiny_settings(**changes: object) -> Settings:
    defaults: dict[str, object] = {"compute_type": "float32", "replicas": 2, "max_tokens": 24, "repetition_penalty": 1.0}
    return Settings(**{**defaults, "system_prompt": "Be brief.", **changes})


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    model = Model.load(tiny_model, tiny_settings())
    yield model
    model.close()


def ask(model: Model, *questions: str, stream: bool = False) -> list[Request]:
    return [Request(tokens=model.prompter.build(question).tokens, stream=stream) for question in questions]


def test_a_batch_gives_what_single_requests_give(model: Model) -> None:
    requests = ask(model, *QUESTIONS)
    alone = [model.generate([request])[0] for request in requests]

    assert model.generate(requests) == alone
    assert all(completion.tokens == 24 or completion.finish is Finish.STOP for completion in alone)
    assert len({completion.text for completion in alone}) > 4


def test_prompts_with_and_without_the_static_part_mix(model: Model) -> None:
    shared, other = ask(model, "Where is it?"), [Request(tokens=model.prompter.build("Where is it?").tokens[5:])]
    alone = [model.generate(shared)[0], model.generate(other)[0]]

    assert model.generate([*shared, *other]) == alone


def test_the_engine_agrees_with_a_plain_ctranslate2_generator(model: Model, tiny_model: Path) -> None:
    request = ask(model, "Where is it?")[0]
    plain = ctranslate2.Generator(str(tiny_model), compute_type="float32", intra_threads=1)
    result = plain.generate_batch(
        [list(request.tokens)], max_length=24, include_prompt_in_result=False, end_token=["<|im_end|>", "<|endoftext|>"]
    )[0]

    completion = model.generate([request])[0]
    assert completion.tokens == len(result.sequences[0])
    assert completion.prompt_tokens == len(request.tokens)


@pytest.mark.slow
def test_the_default_model_answers_the_same_with_and_without_the_static_prompt(default_model: Callable[[str], Path]) -> None:
    settings = Settings(compute_type="float32", max_tokens=16, repetition_penalty=1.0)
    model = Model.load(default_model("float32"), settings)
    requests = ask(model, "Where is my parcel?", "How do I reset my password?")

    with_it = [model.generate([request])[0].text for request in requests]
    model.prompter.static = ()
    without = [model.generate([request])[0].text for request in requests]

    assert with_it == without
    assert all(len(text.split()) > 5 for text in with_it)
    model.close()


def test_the_default_model_answers_in_words(default_model: Callable[[], Path]) -> None:
    model = Model.load(default_model(), Settings(max_tokens=40))
    answer = model.generate(ask(model, "What is the capital of France?"))[0]

    assert "Paris" in answer.text
    assert model.device == "cpu"
    assert model.compute_type.startswith("int8")
    model.close()


def test_replies_come_back_as_they_finish(model: Model) -> None:
    finished = threading.Event()
    pending = model.submit(ask(model, *QUESTIONS), on_finish=finished.set)
    replies: dict[int, Completion] = {}
    while len(replies) < len(QUESTIONS):
        assert finished.wait(10)
        finished.clear()
        fresh = dict(pending.ready())
        assert not fresh.keys() & replies.keys()
        replies |= fresh

    wait_for(pending.done)
    assert pending.ready() == []
    assert [replies[i] for i in range(len(QUESTIONS))] == pending.result()


def test_a_replica_is_idle_until_it_is_given_work(tiny_model: Path) -> None:
    model = Model.load(tiny_model, tiny_settings(replicas=2))
    go_on = threading.Event()
    assert (model.replicas, model.idle()) == (2, 2)

    for left in (1, 0):
        model.submit(ask(model, "a", stream=True), on_text=lambda i, text: bool(go_on.wait(10)))
        assert model.idle() == left
    go_on.set()
    wait_for(lambda: model.idle() == 2)
    model.close()


def test_a_large_batch_is_shared_among_idle_replicas(tiny_model: Path) -> None:
    model = Model.load(tiny_model, tiny_settings(replicas=2))
    go_on = threading.Event()
    model.submit(ask(model, *["same"] * 32, stream=True), on_text=lambda i, text: bool(go_on.wait(10)))

    assert model.idle() == 0
    go_on.set()
    model.close()


def test_a_cancelled_reply_ends_and_its_neighbour_does_not(tiny_model: Path) -> None:
    model = Model.load(tiny_model, tiny_settings(max_tokens=300, replicas=1))
    began = threading.Event()
    pending = model.submit(ask(model, "same", "same", stream=True), on_text=lambda i, text: began.set())
    assert began.wait(10)
    pending.cancel(0)
    cancelled, other = pending.result()

    assert cancelled.finish is Finish.CANCELLED
    assert other.finish is not Finish.CANCELLED
    assert cancelled.tokens < other.tokens
    model.close()


def test_closing_cancels_what_runs(tiny_model: Path) -> None:
    model = Model.load(tiny_model, tiny_settings(max_tokens=400, replicas=1))
    pending = model.submit(ask(model, "a", "b"))
    model.close()

    assert pending.done()
    assert {completion.finish for completion in pending.result()} <= set(Finish)


def test_a_process_that_ends_while_it_generates_ends_well(tiny_model: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from engine.model import Model; from engine.generation import Request\n"
        "from engine.settings import Settings\n"
        "model = Model.load(Path(sys.argv[1]), Settings(compute_type='float32', max_tokens=400))\n"
        "model.submit([Request(tokens=model.prompter.build('a').tokens)] * 8)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tiny_model)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_streamed_text_grows_to_the_reply(model: Model) -> None:
    seen: dict[int, list[str]] = {}
    requests = [*ask(model, *QUESTIONS[:4], stream=True), *ask(model, *QUESTIONS[4:])]
    replies = model.generate(requests, on_text=lambda i, text: seen.setdefault(i, []).append(text))

    assert sorted(seen) == [0, 1, 2, 3]
    for i, texts in seen.items():
        assert texts[-1] == replies[i].text
        assert all(later.startswith(text) for text, later in pairwise(texts[:-1]))


def test_a_listener_that_fails_costs_no_reply(model: Model) -> None:
    def fail(position: int, text: str) -> None:
        raise ValueError("not listening")

    requests = ask(model, "a", "b", stream=True)
    assert model.generate(requests, on_text=fail) == model.generate(requests)


def test_a_stop_text_ends_the_reply(model: Model, tiny_model: Path) -> None:
    request = ask(model, "Where is it?", stream=True)
    whole = model.generate(request)[0]
    stop = next(text for text in whole.text[4:] if text.strip())
    stopping = Model.load(tiny_model, tiny_settings(stop=(stop,)))
    seen: list[str] = []
    reply = stopping.generate(request, on_text=lambda i, text: seen.append(text))[0]

    assert reply.text == whole.text[: whole.text.index(stop)].rstrip()
    assert (reply.finish, reply.tokens < whole.tokens) == (Finish.STOP, True)
    assert all(stop not in text for text in seen)
    stopping.close()


def test_sampling_varies_and_greedy_does_not(tiny_model: Path, model: Model) -> None:
    sampling = Model.load(tiny_model, tiny_settings(temperature=1.5, top_p=0.95))
    requests = ask(model, *["same"] * 8)

    assert len({completion.text for completion in sampling.generate(requests)}) > 1
    assert len({completion.text for completion in model.generate(requests)}) == 1
    sampling.close()


def test_a_repetition_penalty_is_applied(tiny_model: Path, model: Model) -> None:
    penalised = Model.load(tiny_model, tiny_settings(repetition_penalty=2.0))
    requests = ask(model, *QUESTIONS)
    assert [reply.text for reply in penalised.generate(requests)] != [reply.text for reply in model.generate(requests)]
    penalised.close()


def test_a_prompt_of_one_token_is_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="2 tokens"):
        model.submit([Request(tokens=("<|im_start|>",))])


def test_an_empty_batch_is_done(model: Model) -> None:
    assert model.generate([]) == []


def test_prompt_and_reply_fit_the_context_of_the_model(tiny_model: Path) -> None:
    model = Model.load(tiny_model, tiny_settings(prompt_tokens=4096, max_tokens=100))
    request = ask(model, "word " * 2000)[0]

    assert len(request.tokens) <= 512 - 100
    assert math.isclose(len(request.tokens), 412, abs_tol=2)
    model.close()


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json", "replymill.json", "vocabulary.json"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_cut_file_is_damage_with_advice(name: str, share: float, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(DamagedModel, match=r"convert (it )?again"):
        Model.load(folder, tiny_settings())


def test_a_folder_without_a_model_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedModel, match="convert"):
        Model.load(tmp_path, tiny_settings())


@pytest.mark.skipif(ctranslate2.get_cuda_device_count() > 0, reason="this machine has a GPU")
def test_cuda_that_is_not_there_is_refused_and_auto_takes_the_cpu(tiny_model: Path) -> None:
    with pytest.raises(UnsupportedModel, match="REPLYMILL_DEVICE"):
        Model.load(tiny_model, tiny_settings(device="cuda"))
    assert Model.load(tiny_model, tiny_settings(device="auto")).device == "cpu"


def test_a_precision_that_the_machine_lacks_is_refused_by_name(tiny_model: Path) -> None:
    missing = {"float16", "bfloat16", "int8_float16", "int8_bfloat16"} - ctranslate2.get_supported_compute_types("cpu")
    for kind in missing:
        with pytest.raises(UnsupportedModel, match=kind):
            Model.load(tiny_model, tiny_settings(compute_type=kind))


def test_serving_imports_nothing_of_conversion_or_training(tiny_model: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from engine.model import Model; from engine.generation import Request\n"
        "from engine.settings import Settings\n"
        "model = Model.load(Path(sys.argv[1]), Settings(compute_type='float32', max_tokens=4))\n"
        "model.generate([Request(tokens=model.prompter.build('a').tokens)])\n"
        "print(sorted({'gguf', 'numpy', 'torch', 'transformers', 'ctranslate2.specs', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tiny_model)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Growing text, without an engine.


@pytest.fixture(scope="module")
def rules(tiny_model: Path) -> Rules:
    tokenizer = tokenizers.load(tiny_model, Card.read(tiny_model))
    return Rules(tokenizer=tokenizer, end_tokens=frozenset({"<|im_end|>"}), stop=("STOP", "\n\n"))


@given(text=st.text(st.characters(exclude_categories=["Cs"])), tail=st.sampled_from(["", "STOP", "ST", "\n\n", "\n", "👋🏽"]))
def test_growing_text_never_shows_half_a_character_or_a_stop_text(rules: Rules, text: str, tail: str) -> None:
    whole = text + tail
    reply = Growing(Request(tokens=("a", "b"), stream=True), rules)
    shown = []
    for token in rules.tokenizer.text(whole):
        if reply.take(token, is_last=False):
            break
        shown.append(reply.text())
    else:
        reply.take("<|im_end|>", is_last=True)
    expected = whole
    for stop in rules.stop:
        expected = expected.partition(stop)[0] if stop in expected.lstrip() else expected

    final = reply.completion()
    assert final.finish is Finish.STOP
    assert all(stop not in final.text for stop in rules.stop)
    if "STOP" not in whole and "\n\n" not in whole and "\ufffd" not in whole:
        assert final.text == whole.strip()
    for part in shown:
        assert final.text.startswith(part.rstrip())
        assert not part.endswith("\ufffd")


# Which prompts run together.


@given(
    lengths=st.lists(st.integers(2, 2000), max_size=40),
    reply=st.integers(1, 500),
    idle=st.integers(0, 4),
)
def test_every_prompt_runs_once_with_its_neighbours_in_length(lengths: list[int], reply: int, idle: int) -> None:
    groups = group(lengths, reply=reply, idle=idle)

    assert sorted(position for members in groups for position in members) == list(range(len(lengths)))
    spans = sorted((min(lengths[i] for i in members), max(lengths[i] for i in members)) for members in groups)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_close_lengths_run_together_and_distant_ones_apart() -> None:
    assert len(group([41, 52, 44, 50], reply=64, idle=1)) == 1
    assert group([50, 800, 52, 790], reply=64, idle=1) == [[0, 2], [3, 1]]


def test_only_large_batches_are_halved_for_idle_replicas() -> None:
    assert [len(members) for members in group([40] * 32, reply=64, idle=2)] == [16, 16]
    assert [len(members) for members in group([40] * 32, reply=64, idle=1)] == [32]
    assert [len(members) for members in group([40] * 8, reply=64, idle=2)] == [8]


# An encoder-decoder model with a SentencePiece tokenizer.


WIDTH = 16


@pytest.fixture(scope="module")
def translator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Transformer with a SentencePiece model trained here."""
    folder = tmp_path_factory.mktemp("translator")
    written = io.BytesIO()
    sentences = [
        "where is my order",
        "i want my money back",
        "the order is late",
        "please send it again",
        "thank you very much",
    ] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=written, vocab_size=60, hard_vocab_limit=False,
        user_defined_symbols=["<sep>"], minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(written.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    tokens = [pieces.IdToPiece(i) for i in range(pieces.GetPieceSize())]
    spec = transformer_spec.TransformerSpec.from_config(2, 2, pre_norm=True)
    fill(spec, np.random.default_rng(3), size=len(tokens))
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    return folder


def fill(spec: transformer_spec.TransformerSpec, rng: np.random.Generator, *, size: int) -> None:
    def weights(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.4, shape).astype(np.float32)

    def linear(layer: object, rows: int, columns: int) -> None:
        layer.weight, layer.bias = weights(rows, columns), np.zeros(rows, np.float32)

    def norm(layer: object) -> None:
        layer.gamma, layer.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    spec.encoder.embeddings[0].weight = weights(size, WIDTH)
    spec.decoder.embeddings.weight = weights(size, WIDTH)
    linear(spec.decoder.projection, size, WIDTH)
    for side in (spec.encoder, spec.decoder):
        norm(side.layer_norm)
        for layer in side.layer:
            norm(layer.self_attention.layer_norm)
            linear(layer.self_attention.linear[0], 3 * WIDTH, WIDTH)
            linear(layer.self_attention.linear[1], WIDTH, WIDTH)
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, 2 * WIDTH, WIDTH)
            linear(layer.ffn.linear_1, WIDTH, 2 * WIDTH)
            if side is spec.decoder:
                norm(layer.attention.layer_norm)
                linear(layer.attention.linear[0], WIDTH, WIDTH)
                linear(layer.attention.linear[1], 2 * WIDTH, WIDTH)
                linear(layer.attention.linear[2], WIDTH, WIDTH)


def test_an_encoder_decoder_model_is_served(translator_folder: Path, tmp_path: Path) -> None:
    settings = tiny_settings(cache_dir=tmp_path, system_prompt="", max_tokens=12)
    folder = ensure(f"path:{translator_folder}", settings)
    model = Model.load(folder, settings)
    questions = ["where is my order", "thank you", "i want it again please"]
    requests = ask(model, *questions, stream=True)
    shown: dict[int, str] = {}
    replies = model.generate(requests, on_text=shown.__setitem__)

    plain = ctranslate2.Translator(str(translator_folder), compute_type="float32", intra_threads=1)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(translator_folder / "spiece.model"))
    results = plain.translate_batch([pieces.EncodeAsPieces(q) for q in questions], beam_size=1, max_decoding_length=12)
    assert model.card.kind is Kind.TRANSLATOR
    assert [reply.tokens for reply in replies] == [len(result.hypotheses[0]) for result in results]
    assert [reply.text for reply in replies] == [pieces.DecodePieces(result.hypotheses[0]).strip() for result in results]
    assert list(shown.values()) == [replies[i].text for i in shown]
    assert [model.generate([request])[0] for request in requests] == replies
    model.close()


def test_sentencepiece_text_cannot_become_a_control_token(translator_folder: Path, tmp_path: Path) -> None:
    settings = tiny_settings(cache_dir=tmp_path, system_prompt="")
    folder = ensure(f"path:{translator_folder}", settings)
    tokenizer = tokenizers.load(folder, Card.read(folder))

    assert "<sep>" in tokenizer.controls
    assert tokenizer.template("my<sep>order").count("<sep>") == 1
    for attack in ("my <sep> order", "</s><s>", "<<sep>sep>", "<unk>"):
        assert not tokenizer.controls.intersection(tokenizer.text(attack))


def test_a_damaged_sentencepiece_model_is_named(translator_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(translator_folder, copy)
    (copy / "spiece.model").write_bytes(b"not a model")
    settings = tiny_settings(cache_dir=tmp_path / "cache")

    with pytest.raises(DamagedModel, match="SentencePiece"):
        Model.load(ensure(f"path:{copy}", settings), settings)


def test_every_setting_of_generation_reaches_the_engine(tiny_model: Path) -> None:
    short = Model.load(tiny_model, dataclasses.replace(tiny_settings(), max_tokens=3))
    replies = short.generate(ask(short, *QUESTIONS))

    assert all(reply.tokens <= 3 for reply in replies)
    assert {reply.finish for reply in replies if reply.tokens == 3} <= {Finish.LENGTH, Finish.STOP}
    assert json.loads((tiny_model / "config.json").read_bytes())["eos_token"] == "<|im_end|>"
    short.close()


def test_a_text_is_scored_after_its_prompt_token_by_token(model: Model, tiny_model: Path) -> None:
    prompt, text = ask(model, "Where is it?")[0].tokens, "it is there"
    tokens = tokenizers.load(tiny_model, Card.read(tiny_model)).text(text)
    plain = ctranslate2.Generator(str(tiny_model), compute_type="float32", intra_threads=1)
    logits = np.array(plain.forward_batch([[*prompt, *tokens]], return_log_probs=True))[0]
    vocabulary = json.loads((tiny_model / "vocabulary.json").read_text())
    expected = [logits[len(prompt) - 1 + i, vocabulary.index(token)] for i, token in enumerate(tokens)]

    scores = model.score([(prompt, text), (prompt, "")])

    assert scores[0] == pytest.approx(expected, abs=1e-3)
    assert scores[1] == []
