"""A model that repeats its question: a real Transformer of CTranslate2, its weights written by hand instead of learned.

So each reply says on the platform which messages it answers, whatever the platform keeps of it. Encoder and decoder mark places
by the same code; the cross attention of each decoding step looks at its own place in the question and takes the token from there.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from ctranslate2.specs import transformer_spec
from tokenizers import Regex, decoders, models, pre_tokenizers

from engine.sources import staged

#: Tokens: what steers, and one for each printable ASCII character and the line break; others become `<unk>`.
_CONTROL = ("<blank>", "<s>", "</s>", "<unk>")
_TOKENS = (*_CONTROL, "\n", *(chr(code) for code in range(32, 127)))
#: Angles of a place's code; with the tokens they fill a vector of the model.
_ANGLES = 48
_WIDTH = len(_TOKENS) + 2 * _ANGLES
#: Longest question, tokens.
LONGEST = 1024
#: So sharply is one place looked at, and so much louder is what stands there than the token before.
_SHARP, _LOUD = 60.0, 20.0
#: Only the last thing said, and none of what was said before.
_TEMPLATE = "{{ messages[-1]['content'] }}"

_Array = np.ndarray[Any, np.dtype[np.float32]]


def write(folder: Path) -> Path:
    """The model in `folder`, which may hold it already; name it as `path:FOLDER`."""
    if not (folder / "model.bin").exists():
        with staged(folder) as stage:
            _spec().save(str(stage))
            _tokenizer().save(str(stage / "tokenizer.json"))
            texts = {"bos_token": "<s>", "eos_token": "</s>", "model_max_length": LONGEST, "chat_template": _TEMPLATE}
            (stage / "tokenizer_config.json").write_text(json.dumps(texts))
    return folder


def _tokenizer() -> tokenizers.Tokenizer:
    """One token a character."""
    made = tokenizers.Tokenizer(models.WordLevel({token: index for index, token in enumerate(_TOKENS)}, unk_token="<unk>"))  # noqa: S106
    made.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in _CONTROL])
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return made


def _spec() -> Any:
    spec = transformer_spec.TransformerSpec.from_config(1, 1, pre_norm=True)
    places = _places()
    for side in (spec.encoder, spec.decoder):
        side.scale_embeddings = False
        side.position_encodings.encodings = places
        _norm(side.layer_norm)
        for layer in side.layer:
            _norm(layer.self_attention.layer_norm)
            _linear(layer.self_attention.linear[0], np.zeros((3 * _WIDTH, _WIDTH)))
            _linear(layer.self_attention.linear[1], np.zeros((_WIDTH, _WIDTH)))
            _norm(layer.ffn.layer_norm)
            _linear(layer.ffn.linear_0, np.zeros((_WIDTH, _WIDTH)))
            _linear(layer.ffn.linear_1, np.zeros((_WIDTH, _WIDTH)))
    words = np.eye(len(_TOKENS), _WIDTH, dtype=np.float32)
    spec.encoder.embeddings[0].weight = words
    spec.decoder.embeddings.weight = words
    _linear(spec.decoder.projection, words)
    _look(spec.decoder.layer[0].attention)
    spec.register_source_vocabulary(list(_TOKENS))
    spec.register_target_vocabulary(list(_TOKENS))
    spec.config.add_source_eos = True
    spec.validate()
    spec.optimize()
    return spec


def _look(attention: Any) -> None:
    """The query is the place of the step, the key the place in the question, the value the token there."""
    word = np.diag(np.arange(_WIDTH) < len(_TOKENS)).astype(np.float32)
    place = np.eye(_WIDTH, dtype=np.float32) - word
    _norm(attention.layer_norm)
    _linear(attention.linear[0], place * _SHARP)
    _linear(attention.linear[1], np.concatenate([place, word]))
    _linear(attention.linear[2], word * _LOUD)


def _places() -> _Array:
    """A code for each place, far from those of all others."""
    angles = np.random.default_rng(7).uniform(0, np.pi, _ANGLES)
    turned = np.outer(np.arange(LONGEST), angles)
    codes = np.concatenate([np.zeros((LONGEST, len(_TOKENS))), np.cos(turned), np.sin(turned)], axis=1)
    return codes.astype(np.float32)


def _norm(layer: Any) -> None:
    layer.gamma, layer.beta = np.ones(_WIDTH, np.float32), np.zeros(_WIDTH, np.float32)


def _linear(layer: Any, weight: Any) -> None:
    layer.weight, layer.bias = np.asarray(weight, np.float32), np.zeros(len(weight), np.float32)
