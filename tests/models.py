"""Models for tests: the default one, converted once into the user's cache folder, and a tiny Llama that a test writes itself.

`conftest.py` imports the fixtures `default_model`, `default_encoder` and `tiny_model` from here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from engine.convert import ensure
from engine.encoder import Encoder
from engine.settings import DEFAULT_MODEL, Settings

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("Ġ t", "h e", "Ġt he", "i n", "e r", "o u", "Ġ a", "s t", "a n", "r e", "u s er", "a s", "Ġ s")


@pytest.fixture(scope="session")
def default_model() -> Callable[[str], Path]:
    """The folder of the default model, for a compute type."""
    return lambda compute_type="int8": ensure(DEFAULT_MODEL, Settings.load({"REPLYMILL_COMPUTE_TYPE": compute_type}))


@pytest.fixture(scope="session")
def default_encoder() -> Encoder:
    """The default sentence encoder."""
    return Encoder.load(Settings.load({}))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a converted random Llama of 60,000 parameters, float32."""
    folder = tmp_path_factory.mktemp("tiny")
    source = TinyLlama().write(folder / "tiny.gguf")
    return ensure(f"gguf:{source}", Settings(cache_dir=folder / "cache", compute_type="float32"))


def byte_characters() -> list[str]:
    """The characters that byte-level tokenizers write the 256 bytes with (GPT-2's `bytes_to_unicode`)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


@dataclass(frozen=True, kw_only=True)
class TinyLlama:
    """A Llama with random weights, small enough to be computed by hand."""

    layers: int = 3
    heads: int = 4
    heads_kv: int = 2
    width: int = 32
    feed_forward: int = 64
    rotary_base: float = 10_000.0
    epsilon: float = 1e-5
    context: int = 512
    tied: bool = True
    seed: int = 7

    @property
    def vocabulary(self) -> list[str]:
        """Control tokens, bytes, merges: in the order of their ids."""
        return [*CONTROL, *byte_characters(), *("".join(merge.split(" ")[:2]) for merge in self.merges)]

    @property
    def merges(self) -> tuple[str, ...]:
        return tuple(merge for merge in MERGES if merge.count(" ") == 1)

    def tensors(self) -> dict[str, np.ndarray]:
        """Every tensor by its GGUF name, float32; what is kept quantized is already rounded to what the file will hold."""
        random = np.random.default_rng(self.seed)
        head = self.width // self.heads
        sizes = {"attn_q": self.width, "attn_k": self.heads_kv * head, "attn_v": self.heads_kv * head, "attn_output": self.width}
        sizes |= {"ffn_gate": self.feed_forward, "ffn_up": self.feed_forward}
        found = {"token_embd.weight": random.normal(0, 1, (len(self.vocabulary), self.width))}
        for layer in range(self.layers):
            for name, rows in sizes.items():
                found[f"blk.{layer}.{name}.weight"] = random.normal(0, 0.3, (rows, self.width))
            found[f"blk.{layer}.ffn_down.weight"] = random.normal(0, 0.3, (self.width, self.feed_forward))
            for name in ("attn_norm", "ffn_norm"):
                found[f"blk.{layer}.{name}.weight"] = random.uniform(0.5, 1.5, self.width)
        found["output_norm.weight"] = random.uniform(0.5, 1.5, self.width)
        if not self.tied:
            found["output.weight"] = random.normal(0, 1, (len(self.vocabulary), self.width))
        tensors = {name: value.astype(np.float32) for name, value in found.items()}
        return {name: _rounded(value) if is_quantized(name) else value for name, value in tensors.items()}

    def metadata(self) -> dict[str, Any]:
        """The metadata beside the tokenizer's lists."""
        return {
            "llama.block_count": self.layers,
            "llama.context_length": self.context,
            "llama.embedding_length": self.width,
            "llama.feed_forward_length": self.feed_forward,
            "llama.attention.head_count": self.heads,
            "llama.attention.head_count_kv": self.heads_kv,
            "llama.rope.dimension_count": self.width // self.heads,
            "llama.rope.freq_base": self.rotary_base,
            "llama.attention.layer_norm_rms_epsilon": self.epsilon,
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.chat_template": CHAT_TEMPLATE,
        }

    def write(
        self,
        path: Path,
        *,
        architecture: str = "llama",
        metadata: Mapping[str, Any] | None = None,
        tensors: Mapping[str, np.ndarray | None] | None = None,
        tokens: Sequence[str] | None = None,
    ) -> Path:
        """The GGUF at `path`; `metadata` and `tensors` change or, by None, leave out what would stand in it."""
        writer = gguf.GGUFWriter(path, architecture)
        for name, value in {**self.metadata(), **(metadata or {})}.items():
            _ADDERS[type(value)](writer, name, value)
        writer.add_token_list(list(tokens or self.vocabulary))
        writer.add_token_types([3] * len(CONTROL) + [1] * (len(self.vocabulary) - len(CONTROL)))
        writer.add_token_merges(list(self.merges))
        for name, value in {**self.tensors(), **(tensors or {})}.items():
            if value is not None:
                _add_tensor(writer, name, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


_ADDERS: Mapping[type, Callable[[gguf.GGUFWriter, str, Any], None]] = {
    int: gguf.GGUFWriter.add_uint32,
    float: gguf.GGUFWriter.add_float32,
    str: gguf.GGUFWriter.add_string,
    bool: gguf.GGUFWriter.add_bool,
    type(None): lambda writer, name, value: None,
}


def is_quantized(name: str) -> bool:
    """Some tensors are kept as Q8_0, so that dequantizing is part of what is tested."""
    return name.endswith(("ffn_up.weight", "token_embd.weight"))


def _rounded(value: np.ndarray) -> np.ndarray:
    return quants.dequantize(quants.quantize(value, GGMLQuantizationType.Q8_0), GGMLQuantizationType.Q8_0)


def _add_tensor(writer: gguf.GGUFWriter, name: str, value: np.ndarray) -> None:
    if is_quantized(name):
        writer.add_tensor(name, quants.quantize(value, GGMLQuantizationType.Q8_0), raw_dtype=GGMLQuantizationType.Q8_0)
    else:
        writer.add_tensor(name, value)
