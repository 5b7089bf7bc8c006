"""Sentence encoders of the BERT family to CTranslate2 without PyTorch: safetensors into `ctranslate2.specs`.

Every tensor is either used or refused by name: a forgotten one makes quietly wrong vectors.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from ctranslate2.specs import common_spec, transformer_spec
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from engine import precision, sentence_format
from engine.card import Card, Kind
from engine.errors import DamagedModel, UnsupportedModel
from engine.sources import file_hash

#: `model_type` to the first position that a text has: RoBERTa keeps two for padding.
ARCHITECTURES = {"bert": 0, "roberta": 2, "xlm-roberta": 2}

#: `hidden_act` to CTranslate2's name.
ACTIVATIONS = {
    "gelu": common_spec.Activation.GELU,
    "gelu_new": common_spec.Activation.GELUTanh,
    "relu": common_spec.Activation.RELU,
}

#: Tensors that the vector of a text does not need: a head for another task, and numbers from 0 up.
_UNUSED = ("pooler.", "cls.", "lm_head.", "embeddings.position_ids")

#: Tells (layers done, layers).
Step = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of an encoder, from its `config.json`."""

    layers: int
    heads: int
    width: int
    feed_forward: int
    vocabulary: int
    positions: int
    #: Positions before the first of a text.
    offset: int
    token_types: int
    epsilon: float
    activation: Any


def convert(path: Path, folder: Path, *, source: str, weights: str, step: Step) -> Card:
    """Writes the CTranslate2 form of the encoder in `path` into `folder` and returns its card, which the caller writes last.

    :raises UnsupportedModel: for an architecture, a pooling or a module that is not served, by name.
    :raises DamagedModel: for files that are cut or contradict each other.
    """
    config = sentence_format.read_json(path / "config.json")
    shape = read_shape(config)
    pooling = sentence_format.pooling(path, source)
    length = sentence_format.length(path, most=shape.positions - shape.offset)
    tokenizer = sentence_format.tokenizer(path, source, length=length)
    tokenizer.save(str(folder / "tokenizer.json"))
    spec = _spec(_Tensors(path), shape, step)
    _describe(spec, tokenizer, shape)
    try:
        spec.validate()
    except ValueError as error:
        raise DamagedModel(f"{source} contradicts itself ({error}): fetch it again") from error
    if weights == "int8":
        precision.quantize(spec)
    spec.optimize(quantization=None if weights == "int8" else weights)
    spec.save(str(folder))
    return Card(
        source=source,
        sha256=_hash(path),
        architecture=str(config["model_type"]),
        kind=Kind.ENCODER,
        weights=weights,
        tokenizer="tokenizer.json",
        context_length=length,
        dimension=shape.width,
        pooling=pooling,
        model_bytes=(folder / "model.bin").stat().st_size,
    )


def read_shape(config: Mapping[str, Any]) -> Shape:
    """The sizes of the model.

    :raises UnsupportedModel: for another architecture, or a feature of this one that is not served, by name.
    :raises DamagedModel: for a configuration that is not complete.
    """
    architecture = config.get("model_type")
    if architecture not in ARCHITECTURES:
        raise UnsupportedModel(
            f"this encoder has the architecture {architecture!r}, but we serve {', '.join(ARCHITECTURES)}: choose another encoder"
        )
    positions, activation = config.get("position_embedding_type", "absolute"), config.get("hidden_act", "gelu")
    if positions != "absolute" or activation not in ACTIVATIONS:
        raise UnsupportedModel(
            f"this encoder has position_embedding_type={positions} and hidden_act={activation}, but we serve absolute and "
            f"{', '.join(ACTIVATIONS)}: choose another encoder"
        )
    offset = ARCHITECTURES[architecture]
    try:
        shape = Shape(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            width=int(config["hidden_size"]),
            feed_forward=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
            offset=offset,
            token_types=int(config.get("type_vocab_size", 2)),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            activation=ACTIVATIONS[activation],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedModel(f"the config.json of this encoder is not complete ({error!r}): fetch it again") from error
    if min(shape.layers, shape.heads, shape.width, shape.positions - offset) < 1 or shape.width % shape.heads:
        raise DamagedModel("the sizes in the config.json of this encoder do not fit together: fetch it again")
    return shape


def weights_in(path: Path) -> list[Path]:
    """The files of the weights; large models come in several."""
    return sorted(path.glob("*.safetensors"))


def _hash(path: Path) -> str:
    hashes = [file_hash(file) for file in weights_in(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


class _Tensors:
    """The tensors of a folder as float32, each taken once."""

    def __init__(self, path: Path) -> None:
        found: dict[str, NDArray[Any]] = {}
        try:
            for file in weights_in(path):
                found |= load_file(file)
        except (SafetensorError, OSError, ValueError) as error:
            raise DamagedModel(f"the weights of this encoder cannot be read ({error}): fetch it again") from error
        except (KeyError, AttributeError, TypeError) as error:
            raise UnsupportedModel(
                f"the weights of this encoder have a type that NumPy lacks ({error}), bfloat16 perhaps: use float32 weights"
            ) from error
        # A model that was saved with a head for some task has a prefix.
        prefix = next((name.partition("embeddings.")[0] for name in found if name.endswith("word_embeddings.weight")), "")
        self._left = {name.removeprefix(prefix): value for name, value in found.items()}

    def take(self, name: str, *size: int) -> NDArray[np.float32]:
        if name not in self._left:
            raise DamagedModel(f"the tensor {name} is missing from this encoder: fetch it again")
        tensor = self._left.pop(name)
        if tensor.shape != size:
            raise DamagedModel(f"the tensor {name} of this encoder is {tensor.shape}, but must be {size}: fetch it again")
        return tensor.astype(np.float32)

    def refuse_rest(self) -> None:
        if left := sorted(name for name in self._left if not name.startswith(_UNUSED)):
            raise UnsupportedModel(f"this encoder has tensors we do not serve ({', '.join(left[:3])}): choose another encoder")


def _spec(tensors: _Tensors, shape: Shape, step: Step) -> Any:
    encoder = transformer_spec.TransformerEncoderSpec(
        shape.layers, shape.heads, pre_norm=False, activation=shape.activation, layernorm_embedding=True
    )
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = tensors.take("embeddings.word_embeddings.weight", shape.vocabulary, shape.width)
    positions = tensors.take("embeddings.position_embeddings.weight", shape.positions, shape.width)
    # A text alone is of the first type from end to end, so that this is a part of its positions.
    types = tensors.take("embeddings.token_type_embeddings.weight", shape.token_types, shape.width)
    encoder.position_encodings.encodings = positions[shape.offset :] + types[0]
    _fill_norm(encoder.layernorm_embedding, tensors, shape, name="embeddings.LayerNorm")
    for index, layer in enumerate(encoder.layer):
        _fill_layer(layer, tensors, shape, name=f"encoder.layer.{index}")
        step(index + 1, shape.layers)
    tensors.refuse_rest()
    return transformer_spec.TransformerEncoderModelSpec(encoder)


def _fill_layer(layer: Any, tensors: _Tensors, shape: Shape, *, name: str) -> None:
    attention, width, inner = layer.self_attention, shape.width, shape.feed_forward
    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    attention.linear[0].weight = np.concatenate([tensors.take(f"{part}.weight", width, width) for part in parts])
    attention.linear[0].bias = np.concatenate([tensors.take(f"{part}.bias", width) for part in parts])
    _fill_linear(attention.linear[1], tensors, (width, width), name=f"{name}.attention.output.dense")
    _fill_norm(attention.layer_norm, tensors, shape, name=f"{name}.attention.output.LayerNorm")
    _fill_linear(layer.ffn.linear_0, tensors, (inner, width), name=f"{name}.intermediate.dense")
    _fill_linear(layer.ffn.linear_1, tensors, (width, inner), name=f"{name}.output.dense")
    _fill_norm(layer.ffn.layer_norm, tensors, shape, name=f"{name}.output.LayerNorm")


def _fill_linear(linear: Any, tensors: _Tensors, size: tuple[int, int], *, name: str) -> None:
    linear.weight = tensors.take(f"{name}.weight", *size)
    linear.bias = tensors.take(f"{name}.bias", size[0])


def _fill_norm(norm: Any, tensors: _Tensors, shape: Shape, *, name: str) -> None:
    norm.gamma = tensors.take(f"{name}.weight", shape.width)
    norm.beta = tensors.take(f"{name}.bias", shape.width)


def _describe(spec: Any, tokenizer: tokenizers.Tokenizer, shape: Shape) -> None:
    """Ids, not tokens, go into the model; CTranslate2 wants a name for each row."""
    if tokenizer.get_vocab_size() > shape.vocabulary:
        raise DamagedModel(
            f"this tokenizer has {tokenizer.get_vocab_size()} tokens, but the model {shape.vocabulary}: they do not belong together"
        )
    spec.register_vocabulary([tokenizer.id_to_token(index) or f"<extra_id_{index}>" for index in range(shape.vocabulary)])
    spec.config.unk_token = tokenizer.id_to_token(0)
    spec.config.layer_norm_epsilon = shape.epsilon
