"""Rebuilds a tokenizer from the tokens, merges and `tokenizer.ggml.pre` of a GGUF, without `transformers` (which needs PyTorch).

The splitting rules are those of the models' own `tokenizer.json` files; llama.cpp names them in `tokenizer.ggml.pre`
(src/llama-vocab.cpp). A rule that is not known here is refused: a nearly right tokenizer makes a quietly worse model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from engine.errors import DamagedModel, UnsupportedModel

#: `tokenizer.ggml.token_type`: GGUF's LLAMA_TOKEN_TYPE_CONTROL and _USER_DEFINED.
_CONTROL = 3
_USER_DEFINED = 4

#: Tokens that end a turn in the chat formats of this family, beyond the `eos` of the file; llama.cpp knows them by name too.
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|end_of_turn|>", "<|endoftext|>", "<|end_of_text|>")

_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _single_digits() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level()])


def _llama3() -> Any:
    split = pre_tokenizers.Split(Regex(_LLAMA3_SPLIT), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


#: `tokenizer.ggml.pre` to the rule that splits text before merging.
_SPLITTERS: Mapping[str, Callable[[], Any]] = {
    "gpt-2": _byte_level,
    "smollm": _single_digits,
    "starcoder": _single_digits,
    "llama-bpe": _llama3,
    "llama3": _llama3,
}


def rebuild(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that the GGUF's metadata describes; its control tokens are special.

    :raises UnsupportedModel: for a tokenizer of another kind, by name.
    :raises DamagedModel: for a vocabulary that contradicts itself.
    """
    model = metadata.get("tokenizer.ggml.model", "none")
    pre = metadata.get("tokenizer.ggml.pre", "none")
    if model != "gpt2" or pre not in _SPLITTERS:
        known = ", ".join(_SPLITTERS)
        raise UnsupportedModel(
            f"the tokenizer of this GGUF is {model!r} with the rule {pre!r}, but only 'gpt2' with one of {known} can be rebuilt: "
            "use the model's original folder with hf: or path:"
        )
    tokens = vocabulary(metadata)
    vocab = {token: index for index, token in enumerate(tokens)}
    merges = _merges(metadata, vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False, ignore_merges=_SPLITTERS[pre] is _llama3))
    tokenizer.pre_tokenizer = _SPLITTERS[pre]()
    tokenizer.decoder = decoders.ByteLevel()
    _add_special(tokenizer, tokens, metadata.get("tokenizer.ggml.token_type", ()))
    return tokenizer


def vocabulary(metadata: Mapping[str, Any]) -> list[str]:
    """The tokens in the order of their ids.

    :raises DamagedModel: for a token that stands twice, since ids could no longer be told from tokens.
    """
    tokens = list(metadata.get("tokenizer.ggml.tokens", ()))
    if not tokens or len(set(tokens)) != len(tokens):
        raise DamagedModel(f"the vocabulary of this GGUF has {len(tokens)} tokens, {len(set(tokens))} different: fetch it again")
    return tokens


def _merges(metadata: Mapping[str, Any], vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    pairs = [merge.partition(" ")[::2] for merge in metadata.get("tokenizer.ggml.merges", ())]
    for left, right in pairs:
        if left not in vocab or right not in vocab or left + right not in vocab:
            raise DamagedModel(f"the merge of {left!r} and {right!r} in this GGUF does not fit its tokens: fetch it again")
    return pairs


def _add_special(tokenizer: Tokenizer, tokens: Sequence[str], types: Sequence[int]) -> None:
    control = [token for token, kind in zip(tokens, types, strict=False) if kind == _CONTROL]
    defined = [token for token, kind in zip(tokens, types, strict=False) if kind == _USER_DEFINED]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in defined])


def named(metadata: Mapping[str, Any], role: str) -> str:
    """The token of a role such as `bos` or `eos`, empty where the GGUF names none."""
    index = metadata.get(f"tokenizer.ggml.{role}_token_id")
    tokens = metadata.get("tokenizer.ggml.tokens", ())
    return tokens[index] if index is not None and 0 <= index < len(tokens) else ""


def turn_ends(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Every token that ends a reply: `eos`, `eot` and the control tokens that chat formats of this family end a turn with."""
    types = metadata.get("tokenizer.ggml.token_type", ())
    control = {token for token, kind in zip(metadata.get("tokenizer.ggml.tokens", ()), types, strict=False) if kind == _CONTROL}
    ends = [named(metadata, "eos"), named(metadata, "eot"), *(token for token in _TURN_ENDS if token in control)]
    return tuple(dict.fromkeys(token for token in ends if token))
