"""Conversion is true to the weights and the tokenizer, is done once, and leaves nothing half-made."""

import importlib.util
import json
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import tokenizers

from engine import card
from engine.card import Card, Kind
from engine.convert import converted, ensure, place, saved_weights
from engine.errors import DamagedModel, DownloadFailed, UnknownModel, UnsupportedModel
from engine.settings import Settings
from engine.sources import Source
from tests.models import CONTROL, TinyLlama

ROOT = Path(__file__).parents[1]


@pytest.fixture
def cache(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache", compute_type="float32")


def leftovers(settings: Settings) -> list[Path]:
    """Whatever stands in the cache folder beside locks."""
    return [path for path in settings.cache_dir.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def reference(llama: TinyLlama, ids: list[int]) -> np.ndarray:
    """Next-token log-probabilities of a Llama at every position, written from the paper and GGUF's adjacent rotary pairs."""
    weights = llama.tensors()
    head, groups = llama.width // llama.heads, llama.heads // llama.heads_kv
    angles = np.outer(np.arange(len(ids)), llama.rotary_base ** (-np.arange(0, head, 2) / head))

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + llama.epsilon) * weights[name]

    def rotate(x: np.ndarray) -> np.ndarray:
        even, odd = x[..., 0::2], x[..., 1::2]
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        return np.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)

    def attend(x: np.ndarray, layer: str) -> np.ndarray:
        query, key, value = ((x @ weights[f"{layer}.attn_{part}.weight"].T).reshape(len(ids), -1, head) for part in "qkv")
        key, value = (np.repeat(part, groups, axis=1) for part in (rotate(key), value))
        scores = np.einsum("qhd,khd->hqk", rotate(query), key) / np.sqrt(head)
        scores = np.where(np.tri(len(ids), dtype=bool), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), value)
        return mixed.reshape(len(ids), -1) @ weights[f"{layer}.attn_output.weight"].T

    def feed_forward(x: np.ndarray, layer: str) -> np.ndarray:
        gate = x @ weights[f"{layer}.ffn_gate.weight"].T
        gate = gate / (1 + np.exp(-gate))
        return (gate * (x @ weights[f"{layer}.ffn_up.weight"].T)) @ weights[f"{layer}.ffn_down.weight"].T

    x = weights["token_embd.weight"][ids].astype(np.float64)
    for number in range(llama.layers):
        layer = f"blk.{number}"
        x = x + attend(norm(x, f"{layer}.attn_norm.weight"), layer)
        x = x + feed_forward(norm(x, f"{layer}.ffn_norm.weight"), layer)
    logits = norm(x, "output_norm.weight") @ weights.get("output.weight", weights["token_embd.weight"]).T
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize(
    "llama",
    [
        TinyLlama(),
        TinyLlama(tied=False, seed=1),
        TinyLlama(heads_kv=4, layers=2, rotary_base=100_000.0, seed=2),
        TinyLlama(heads_kv=1, epsilon=1e-3, seed=3),
    ],
    ids=["grouped-tied", "untied", "one-to-one-long-base", "multi-query"],
)
def test_log_probabilities_agree_with_an_independent_llama(llama: TinyLlama, tmp_path: Path, cache: Settings) -> None:
    folder = ensure(f"gguf:{llama.write(tmp_path / 'tiny.gguf')}", cache)
    ids = [1, 40, 90, 3, 200, 261, 17, 2, 55, 128, 9, 250]

    generator = ctranslate2.Generator(str(folder), compute_type="float32", intra_threads=1)
    found = np.array(generator.forward_batch([[llama.vocabulary[i] for i in ids]], return_log_probs=True))[0]

    np.testing.assert_allclose(found, reference(llama, ids), atol=2e-4)


def test_int8_weights_stay_close_to_the_reference(tmp_path: Path, cache: Settings) -> None:
    llama = TinyLlama()
    settings = Settings(cache_dir=cache.cache_dir)
    folder = ensure(f"gguf:{llama.write(tmp_path / 'tiny.gguf')}", settings)
    ids = list(range(3, 60))

    generator = ctranslate2.Generator(str(folder), compute_type="int8", intra_threads=1)
    found = np.array(generator.forward_batch([[llama.vocabulary[i] for i in ids]], return_log_probs=True))[0]

    expected = reference(llama, ids)
    divergence = (np.exp(expected) * (expected - found)).sum(-1).mean()
    assert Card.read(folder).weights == "int8"
    assert divergence < 1, "Kullback-Leibler; the answers to the same tokens in reverse are 14 away"


def test_the_card_tells_what_the_gguf_said(tmp_path: Path, cache: Settings) -> None:
    source = f"gguf:{TinyLlama().write(tmp_path / 'tiny.gguf')}"
    found = Card.read(ensure(source, cache))

    assert (found.source, found.architecture, found.kind) == (source, "llama", Kind.GENERATOR)
    assert found.end_tokens == ("<|im_end|>", "<|endoftext|>")
    assert (found.bos_token, found.eos_token, found.add_bos) == ("<|im_start|>", "<|im_end|>", False)
    assert found.context_length == 512
    assert "im_start" in found.chat_template
    assert len(found.sha256) == 64


def test_the_tokenizer_keeps_ids_splits_digits_and_returns_every_text(tiny_model: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    vocabulary = json.loads((tiny_model / "vocabulary.json").read_bytes())

    assert [tokenizer.id_to_token(i) for i in range(len(vocabulary))] == vocabulary
    assert tokenizer.encode("the 2024").tokens == ["t", "he", "Ġ", "2", "0", "2", "4"]
    assert tokenizer.encode("in the<|im_end|>").tokens == ["in", "Ġthe", "<|im_end|>"]
    for text in ("Ünïcödé 👋🏽 中文", " leading", "a\n\n b\t", "x" * 500):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_default_tokenizer_splits_as_its_model_was_trained(default_model: Callable[[], Path]) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(default_model() / "tokenizer.json"))
    tokens = tokenizer.encode("I paid $1,299 on 03/04; where's order #A-77?\n\n  Thanks!").tokens

    assert tokens[:8] == ["I", "Ġpaid", "Ġ$", "1", ",", "2", "9", "9"]
    assert "'s" in tokens
    assert tokenizer.get_vocab_size() == 49_152
    assert [tokenizer.token_to_id(token) for token in CONTROL] == [0, 1, 2]


def test_a_second_call_finds_the_model_and_converts_nothing(tmp_path: Path, cache: Settings) -> None:
    source = f"gguf:{TinyLlama().write(tmp_path / 'tiny.gguf')}"
    stages: list[str] = []
    folder = ensure(source, cache, progress=lambda stage, done, total: stages.append(stage))
    before = (folder / "model.bin").stat()

    again = ensure(source, cache, progress=lambda stage, done, total: pytest.fail("converted again"))

    assert again == folder
    assert set(stages) == {"convert"}
    assert (folder / "model.bin").stat().st_mtime_ns == before.st_mtime_ns
    assert [path for path, _ in converted(cache)] == [folder]


def test_a_changed_file_or_precision_is_another_model(tmp_path: Path, cache: Settings) -> None:
    path = TinyLlama().write(tmp_path / "tiny.gguf")
    first = ensure(f"gguf:{path}", cache)
    TinyLlama(seed=8, layers=2).write(path)

    assert ensure(f"gguf:{path}", cache) != first
    assert ensure(f"gguf:{path}", Settings(cache_dir=cache.cache_dir)) != ensure(f"gguf:{path}", cache)


def test_a_cut_converted_model_is_made_again(tmp_path: Path, cache: Settings) -> None:
    source = f"gguf:{TinyLlama().write(tmp_path / 'tiny.gguf')}"
    folder = ensure(source, cache)
    whole = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(whole[: len(whole) // 2])

    assert (ensure(source, cache) / "model.bin").read_bytes() == whole


@pytest.mark.parametrize("kind", ["int8", "int8_float32", "int8_bfloat16", "float16", "bfloat16", "float32"])
def test_every_compute_type_has_a_saved_form(kind: str) -> None:
    assert saved_weights(kind) in ("int8", "float16", "float32")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architecture": "mamba"}, "mamba"),
        ({"metadata": {"tokenizer.ggml.pre": "klingon"}}, "klingon"),
        ({"metadata": {"tokenizer.ggml.pre": None}}, "none"),
        ({"metadata": {"tokenizer.ggml.model": "llama"}}, "'llama'"),
        ({"metadata": {"llama.rope.scaling.type": "yarn"}}, "yarn"),
        ({"metadata": {"llama.expert_count": 8}}, "expert_count"),
        ({"tensors": {"rope_freqs.weight": np.ones(4, np.float32)}}, "rope_freqs.weight"),
        ({"tensors": {"blk.0.attn_q.bias": np.ones(32, np.float32)}}, "attn_q.bias"),
    ],
    ids=["architecture", "pre", "no-pre", "tokenizer", "rope-scaling", "experts", "rope-factors", "bias"],
)
def test_what_is_not_served_is_refused_by_name(change: dict, says: str, tmp_path: Path, cache: Settings) -> None:
    path = TinyLlama().write(tmp_path / "tiny.gguf", **change)

    with pytest.raises(UnsupportedModel, match=says):
        ensure(f"gguf:{path}", cache)
    assert leftovers(cache) == []


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"llama.block_count": None}},
        {"metadata": {"llama.attention.head_count": 0}},
        {"tensors": {"blk.1.ffn_up.weight": None}},
        {"tensors": {"blk.1.attn_output.weight": np.ones((16, 32), np.float32)}},
        {"tokens": ["twice"] * len(TinyLlama().vocabulary)},
        {"tokens": [*TinyLlama().vocabulary[:-1], "odd"]},
    ],
    ids=["no-block-count", "no-heads", "no-tensor", "wrong-shape", "twice-a-token", "merge-without-token"],
)
def test_a_gguf_that_contradicts_itself_is_damaged(change: dict, tmp_path: Path, cache: Settings) -> None:
    path = TinyLlama().write(tmp_path / "tiny.gguf", **change)

    with pytest.raises(DamagedModel):
        ensure(f"gguf:{path}", cache)
    assert leftovers(cache) == []


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_cut_gguf_is_damaged_and_leaves_nothing(share: float, tmp_path: Path, cache: Settings) -> None:
    path = TinyLlama().write(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    with pytest.raises(DamagedModel, match=r"tiny\.gguf"):
        ensure(f"gguf:{path}", cache)
    assert leftovers(cache) == []


def test_a_cache_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    path = TinyLlama().write(tmp_path / "tiny.gguf")
    (tmp_path / "file").touch()

    with pytest.raises(DownloadFailed, match="REPLYMILL_CACHE_DIR"):
        ensure(f"gguf:{path}", Settings(cache_dir=tmp_path / "file" / "cache"))


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path: Path, cache: Settings) -> None:
    """A limit on the size of files stands for the full disk: both end in an `OSError` while writing."""
    path = TinyLlama().write(tmp_path / "tiny.gguf")
    program = (
        "import sys; from pathlib import Path; from engine.convert import ensure; from engine.errors import DownloadFailed\n"
        "from engine.settings import Settings\n"
        "try: ensure('gguf:' + sys.argv[1], Settings(cache_dir=Path(sys.argv[2])))\n"
        "except DownloadFailed as error: print('REFUSED', error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(cache.cache_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
        check=True,
    )

    assert "REFUSED" in done.stdout
    assert "free some space" in done.stdout
    assert leftovers(cache) == []


def test_two_threads_that_ask_at_once_convert_once(tmp_path: Path, cache: Settings) -> None:
    source = f"gguf:{TinyLlama().write(tmp_path / 'tiny.gguf')}"
    steps: list[int] = []
    found: list[Path] = []

    def ask() -> None:
        found.append(ensure(source, cache, progress=lambda stage, done, total: steps.append(done)))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found[0] == found[1]
    assert steps == [1, 2, 3]


def test_what_a_killed_conversion_left_is_cleared(tmp_path: Path, cache: Settings) -> None:
    source = f"gguf:{TinyLlama().write(tmp_path / 'tiny.gguf')}"
    folder = place(Source.parse(source), cache)
    left = folder.parent / f".{folder.name}.part-killed"
    left.mkdir(parents=True)
    (left / "model.bin").write_bytes(b"half")

    ensure(source, cache)

    assert not left.exists()


def test_a_stopped_conversion_leaves_nothing(tmp_path: Path, cache: Settings) -> None:
    source = f"gguf:{TinyLlama().write(tmp_path / 'tiny.gguf')}"

    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(source, cache, progress=interrupt)
    assert leftovers(cache) == []


def test_a_ready_folder_is_linked_not_copied(tiny_model: Path, tmp_path: Path, cache: Settings) -> None:
    ready = tmp_path / "ready"
    shutil.copytree(tiny_model, ready)
    (ready / card.FILE).unlink()
    (ready / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    (ready / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|im_end|>"}, "model_max_length": 77}')

    folder = ensure(f"path:{ready}", cache)
    found = Card.read(folder)

    assert (folder / "model.bin").is_symlink()
    assert (found.kind, found.chat_template, found.end_tokens, found.context_length) == (
        Kind.GENERATOR,
        "{{ messages[-1].content }}",
        ("<|im_end|>",),
        77,
    )
    assert ensure(f"path:{ready}", cache) == folder


def test_a_folder_that_we_converted_is_served_as_it_is(tiny_model: Path, cache: Settings) -> None:
    assert ensure(f"path:{tiny_model}", cache) == tiny_model
    assert leftovers(cache) == []


def test_a_folder_with_one_gguf_is_converted(tmp_path: Path, cache: Settings) -> None:
    (tmp_path / "here").mkdir()
    TinyLlama().write(tmp_path / "here" / "tiny.gguf")

    assert Card.read(ensure(f"path:{tmp_path / 'here'}", cache)).architecture == "llama"


@pytest.mark.parametrize("names", [(), ("a.gguf", "b.gguf"), ("config.json",)], ids=["empty", "two", "no-weights"])
def test_a_folder_without_one_model_is_unknown(names: tuple[str, ...], tmp_path: Path, cache: Settings) -> None:
    (tmp_path / "here").mkdir()
    for name in names:
        (tmp_path / "here" / name).touch()

    with pytest.raises(UnknownModel, match="name a folder with one model"):
        ensure(f"path:{tmp_path / 'here'}", cache)
    assert leftovers(cache) == []


def test_a_ready_folder_without_a_tokenizer_is_refused(tiny_model: Path, tmp_path: Path, cache: Settings) -> None:
    ready = tmp_path / "ready"
    ready.mkdir()
    for name in ("model.bin", "config.json", "vocabulary.json"):
        shutil.copy(tiny_model / name, ready / name)

    with pytest.raises(UnsupportedModel, match="tokenizer"):
        ensure(f"path:{ready}", cache)
    assert leftovers(cache) == []


@pytest.mark.parametrize("head", [b"", b"\x00", b"\x06\x00\x00\x00\x05\x00Wrong"], ids=["empty", "cut", "another"])
def test_a_ready_folder_with_another_model_is_refused(head: bytes, tmp_path: Path, cache: Settings) -> None:
    ready = tmp_path / "ready"
    ready.mkdir()
    (ready / "model.bin").write_bytes(head)
    (ready / "tokenizer.json").write_text("{}")

    with pytest.raises((DamagedModel, UnsupportedModel)):
        ensure(f"path:{ready}", cache)
    assert leftovers(cache) == []


def test_hugging_face_weights_need_the_train_extra(tmp_path: Path, cache: Settings) -> None:
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        pytest.skip("the [train] extra is installed")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "weights" / "model.safetensors").touch()

    with pytest.raises(UnsupportedModel, match=r"replymill\[train\]"):
        ensure(f"path:{tmp_path / 'weights'}", cache)
    assert leftovers(cache) == []


def test_asking_for_a_converted_model_imports_nothing_heavy(tiny_model: Path) -> None:
    program = (
        "import sys; from engine.convert import ensure; from engine.settings import Settings\n"
        "ensure('path:' + sys.argv[1], Settings(compute_type='float32'))\n"
        "print(sorted({'gguf', 'numpy', 'ctranslate2', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tiny_model)], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_conversion_runs_from_any_folder(tmp_path: Path, cache: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    TinyLlama().write(tmp_path / "tiny.gguf")
    monkeypatch.chdir(tmp_path)

    assert card.is_complete(ensure("gguf:tiny.gguf", cache))
