"""How probable a text is to a model: what perplexity is made of. Knows nothing of CTranslate2 but its `score_batch`."""

from collections.abc import Sequence
from typing import Any

from engine.card import Kind
from engine.tokenizer import Tokenizer

#: Prompts that are scored together: the logits of every position are in memory at once, 0.2 MB each.
AT_ONCE = 4


def score(engine: Any, tokenizer: Tokenizer, kind: Kind, pairs: Sequence[tuple[Sequence[str], str]]) -> list[list[float]]:
    """For each pair of a prompt's tokens and a text: the natural logarithm of the probability of each token of the text."""
    texts = [tokenizer.text(text) for _, text in pairs]
    if kind is Kind.TRANSLATOR:
        scored = engine.score_batch([list(prompt) for prompt, _ in pairs], texts, max_batch_size=AT_ONCE, max_input_length=0)
        return [list(one.log_probs[: len(text)]) for one, text in zip(scored, texts, strict=True)]
    whole = [[*prompt, *text] for (prompt, _), text in zip(pairs, texts, strict=True)]
    scored = engine.score_batch(whole, max_batch_size=AT_ONCE, max_input_length=0)
    return [list(one.log_probs[-len(text) :]) if text else [] for one, text in zip(scored, texts, strict=True)]
