"""GGUF to CTranslate2 without PyTorch: the tensors dequantize through the `gguf` package into `ctranslate2.specs`.

Llama-family GGUFs store query and key weights with each head's two rotary halves interleaved, hence `rotary_interleave=True`.
Everything in the file is either used or refused by name: a forgotten tensor makes a quietly wrong model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import common_spec, transformer_spec
from gguf import GGUFReader
from gguf.quants import dequantize

from engine import gguf_tokenizer, precision
from engine.card import Card, Kind
from engine.errors import DamagedModel, UnsupportedModel
from engine.sources import file_hash

#: `general.architecture` values that are served.
ARCHITECTURES = ("llama",)

#: Tells (layers done, layers).
Step = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a Llama, from the GGUF's metadata."""

    layers: int
    heads: int
    heads_kv: int
    width: int
    feed_forward: int
    vocabulary: int
    head_dim: int
    rotary_dim: int
    rotary_base: float
    epsilon: float
    context: int


def convert(path: Path, folder: Path, *, source: str, weights: str, step: Step) -> Card:
    """Writes the CTranslate2 form of the GGUF at `path` into `folder` and returns its card, which the caller writes last.

    :raises UnsupportedModel: for an architecture, a tokenizer or a feature that we do not serve, by name.
    :raises DamagedModel: for a file that is cut or contradicts itself.
    """
    reader = _open(path)
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    shape = read_shape(metadata)
    tokenizer = gguf_tokenizer.rebuild(metadata)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    spec = _spec(reader, shape, step)
    _describe(spec, metadata, shape)
    try:
        spec.validate()
    except ValueError as error:
        raise DamagedModel(f"{path.name} contradicts itself ({error}): fetch it again") from error
    if weights == "int8":
        precision.quantize(spec)
    # What stands twice is saved once; floats are turned into the type asked for.
    spec.optimize(quantization=None if weights == "int8" else weights)
    spec.save(str(folder))
    return Card(
        source=source,
        sha256=file_hash(path),
        architecture=metadata["general.architecture"],
        kind=Kind.GENERATOR,
        weights=weights,
        tokenizer="tokenizer.json",
        chat_template=metadata.get("tokenizer.chat_template", ""),
        end_tokens=gguf_tokenizer.turn_ends(metadata),
        bos_token=gguf_tokenizer.named(metadata, "bos"),
        eos_token=gguf_tokenizer.named(metadata, "eos"),
        add_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", False)),
        context_length=shape.context,
        model_bytes=(folder / "model.bin").stat().st_size,
    )


def _open(path: Path) -> GGUFReader:
    """A file that is cut shows as an index or a reshape beyond its end."""
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError) as error:
        raise DamagedModel(f"{path.name} is no complete GGUF ({error}): fetch it again") from error


def read_shape(metadata: Mapping[str, Any]) -> Shape:
    """The sizes of the model.

    :raises UnsupportedModel: for another architecture, or a feature of this one that is not served, by name.
    :raises DamagedModel: for metadata that is missing or of the wrong type.
    """
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise UnsupportedModel(
            f"this GGUF has the architecture {architecture!r}, but we serve {', '.join(ARCHITECTURES)}: choose another model"
        )
    facts = {name.removeprefix("llama."): value for name, value in metadata.items() if name.startswith("llama.")}
    _refuse_features(facts)
    try:
        heads, width = int(facts["attention.head_count"]), int(facts["embedding_length"])
        head_dim = int(facts.get("attention.key_length", width // heads))
        return Shape(
            layers=int(facts["block_count"]),
            heads=heads,
            heads_kv=int(facts.get("attention.head_count_kv", heads)),
            width=width,
            feed_forward=int(facts["feed_forward_length"]),
            vocabulary=len(metadata["tokenizer.ggml.tokens"]),
            head_dim=head_dim,
            rotary_dim=int(facts.get("rope.dimension_count", head_dim)),
            rotary_base=float(facts.get("rope.freq_base", 10_000.0)),
            epsilon=float(facts["attention.layer_norm_rms_epsilon"]),
            context=int(facts["context_length"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DamagedModel(f"the metadata of this GGUF is not complete ({error!r}): fetch it again") from error


def _refuse_features(facts: Mapping[str, Any]) -> None:
    head_dim = facts.get("attention.key_length", facts.get("attention.value_length"))
    unsupported = {
        "rope.scaling.type": facts.get("rope.scaling.type", "none") not in ("none", ""),
        "rope.scale_linear": facts.get("rope.scale_linear", 1.0) != 1.0,
        "expert_count": bool(facts.get("expert_count", 0)),
        "attention.sliding_window": bool(facts.get("attention.sliding_window", 0)),
        "attention.value_length": facts.get("attention.value_length", head_dim) != head_dim,
    }
    for name, present in unsupported.items():
        if present:
            raise UnsupportedModel(f"this GGUF uses llama.{name}={facts.get(name)}, which we do not serve: choose another model")


class _Tensors:
    """The tensors of a GGUF as float32, each taken once."""

    def __init__(self, reader: GGUFReader) -> None:
        self._left = {tensor.name: tensor for tensor in reader.tensors}

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, *size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        if name not in self._left:
            raise DamagedModel(f"the tensor {name} is missing from this GGUF: fetch it again")
        tensor = self._left.pop(name)
        if tuple(tensor.shape)[::-1] != size:
            raise DamagedModel(f"the tensor {name} of this GGUF is {tuple(tensor.shape)[::-1]}, but must be {size}: fetch it again")
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
            return values if values.flags.writeable else np.array(values)  # what is not quantized is a view of the file
        except NotImplementedError as error:
            raise UnsupportedModel(
                f"{name} is quantized as {tensor.tensor_type.name}, which cannot be read: use a Q4 to Q8 GGUF"
            ) from error

    def refuse_rest(self) -> None:
        if self._left:
            raise UnsupportedModel(
                f"this GGUF has tensors we do not serve ({', '.join(sorted(self._left)[:3])}): choose another model"
            )


def _spec(reader: GGUFReader, shape: Shape, step: Step) -> Any:
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        shape.layers,
        shape.heads,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0 if shape.rotary_dim == shape.head_dim else shape.rotary_dim,
        rotary_interleave=True,
        rotary_base=shape.rotary_base,
        num_heads_kv=shape.heads_kv if shape.heads_kv != shape.heads else None,
        head_dim=shape.head_dim if shape.head_dim * shape.heads != shape.width else None,
    )
    tensors = _Tensors(reader)
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = tensors.take("token_embd.weight", shape.vocabulary, shape.width)
    decoder.layer_norm.gamma = tensors.take("output_norm.weight", shape.width)
    tied = "output.weight" not in tensors
    decoder.projection.weight = decoder.embeddings.weight if tied else tensors.take("output.weight", shape.vocabulary, shape.width)
    for index, layer in enumerate(decoder.layer):
        _fill_layer(layer, tensors, shape, name=f"blk.{index}")
        step(index + 1, shape.layers)
    tensors.refuse_rest()
    return spec


def _fill_layer(layer: Any, tensors: _Tensors, shape: Shape, *, name: str) -> None:
    attention, feed_forward = layer.self_attention, layer.ffn
    width, inner = shape.width, shape.feed_forward
    rows = {"q": shape.heads * shape.head_dim, "k": shape.heads_kv * shape.head_dim, "v": shape.heads_kv * shape.head_dim}
    attention.layer_norm.gamma = tensors.take(f"{name}.attn_norm.weight", width)
    attention.linear[0].weight = np.concatenate([tensors.take(f"{name}.attn_{part}.weight", rows[part], width) for part in "qkv"])
    attention.linear[1].weight = tensors.take(f"{name}.attn_output.weight", width, rows["q"])
    feed_forward.layer_norm.gamma = tensors.take(f"{name}.ffn_norm.weight", width)
    feed_forward.linear_0.weight = tensors.take(f"{name}.ffn_gate.weight", inner, width)
    feed_forward.linear_0_noact.weight = tensors.take(f"{name}.ffn_up.weight", inner, width)
    feed_forward.linear_1.weight = tensors.take(f"{name}.ffn_down.weight", width, inner)


def _describe(spec: Any, metadata: Mapping[str, Any], shape: Shape) -> None:
    tokens = gguf_tokenizer.vocabulary(metadata)
    spec.register_vocabulary(tokens)
    eos = gguf_tokenizer.named(metadata, "eos") or tokens[0]
    spec.config.eos_token = eos
    spec.config.bos_token = gguf_tokenizer.named(metadata, "bos") or eos
    spec.config.unk_token = gguf_tokenizer.named(metadata, "unknown") or eos
    spec.config.layer_norm_epsilon = shape.epsilon
