"""How near replies come to reference answers: BLEU and chrF as sacrebleu counts them, ROUGE-L as rouge-score does.

The public libraries count, so that figures can be compared with those of others; their signatures stand in the report.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

#: How BLEU cuts a language into words that does not write spaces; 13a, of the WMT shared tasks, for all others.
_TOKENIZERS = {"zh": "zh", "ja": "char", "th": "char", "ko": "char"}

#: A word, or one character of a script without spaces.
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|[^\W\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]+")


class _Words:
    """Words of any script; rouge-score's own drop everything but a to z."""

    def tokenize(self, text: str) -> list[str]:
        return _WORDS.findall(text.casefold())


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """From 0 to 1 throughout."""

    #: Of the whole corpus, not the mean of sentences.
    bleu: float
    chrf: float
    #: What was counted how, as publications name it.
    signatures: dict[str, str]
    #: For each reply.
    each_bleu: list[float]
    each_chrf: list[float]
    each_rouge: list[float]


def nearness(replies: Sequence[str], references: Sequence[str], *, languages: Sequence[str] = ()) -> Nearness:
    """Compares each reply with its reference; the most frequent language decides how words are cut."""
    language = Counter(filter(None, languages)).most_common(1)
    tokenizer = _TOKENIZERS.get(language[0][0], "13a") if language else "13a"
    bleu, chrf = BLEU(tokenize=tokenizer), CHRF()
    single = BLEU(tokenize=tokenizer, effective_order=True)
    rouge = RougeScorer(["rougeL"], tokenizer=_Words())
    pairs = list(zip(replies, references, strict=True))
    corpus = bleu.corpus_score(list(replies), [list(references)]), chrf.corpus_score(list(replies), [list(references)])
    return Nearness(
        bleu=corpus[0].score / 100,
        chrf=corpus[1].score / 100,
        signatures={"BLEU": str(bleu.get_signature()), "chrF": str(chrf.get_signature())},
        each_bleu=[single.sentence_score(reply, [reference]).score / 100 for reply, reference in pairs],
        each_chrf=[chrf.sentence_score(reply, [reference]).score / 100 for reply, reference in pairs],
        each_rouge=[float(rouge.score(reference, reply)["rougeL"].fmeasure) for reply, reference in pairs],
    )
