"""BERT in NumPy and float32, written from the paper (Devlin et al. 2019), apart from the product: its encoder is held against it.

Each text is computed alone, without padding, from the weights as they were published.
"""

import json
import math
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray
from safetensors.numpy import load_file

_erf = np.vectorize(math.erf, otypes=[np.float64])


class ReferenceBert:
    """A sentence encoder in a folder of the hub's sentence-transformers format; `mean` pooling unless told otherwise."""

    def __init__(self, folder: Path, *, length: int, pooling: str = "mean") -> None:
        self.weights = load_file(folder / "model.safetensors")
        self.config = json.loads((folder / "config.json").read_text())
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(length)
        self.pooling = pooling

    def encode(self, text: str) -> NDArray[np.float32]:
        """The vector of a text, of unit length."""
        hidden = self.hidden(self.tokenizer.encode(text).ids)
        pooled = hidden[0] if self.pooling == "cls" else hidden.mean(0)
        return np.asarray(pooled / np.linalg.norm(pooled), np.float32)

    def hidden(self, ids: list[int]) -> NDArray[np.float32]:
        """The last layer's vector of each token."""
        weights = self.weights
        x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for number in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            attended = self._linear(self._attend(x, f"{layer}.attention.self"), f"{layer}.attention.output.dense")
            x = self._norm(x + attended, f"{layer}.attention.output.LayerNorm")
            inner = self._linear(x, f"{layer}.intermediate.dense")
            inner = (inner * 0.5 * (1 + _erf(inner / math.sqrt(2)))).astype(np.float32)
            x = self._norm(x + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x

    def _attend(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        heads = self.config["num_attention_heads"]
        query, key, value = (
            self._linear(x, f"{name}.{part}").reshape(len(x), heads, -1).swapaxes(0, 1) for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / np.float32(math.sqrt(query.shape[-1]))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = scores / scores.sum(-1, keepdims=True) @ value
        return np.asarray(mixed.swapaxes(0, 1).reshape(len(x), -1))

    def _linear(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        return np.asarray(x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"])

    def _norm(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self.config.get("layer_norm_eps", 1e-12)))
        return np.asarray(centred / scale * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"])
