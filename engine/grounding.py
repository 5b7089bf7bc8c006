"""Whether what a model says is supported by the passages it was given, sentence by sentence. Pure, linear in both texts.

A sentence is supported where the passages hold its figures with their units, its names and addresses, most of its other words by
weight (a word that few sentences of the passages have weighs more), and where the sentence of a passage that is nearest to it
neither denies what it says nor says the opposite, nor gives its figure to something else. A sentence without claims ("I hope this
helps.") needs no support. What this cannot see: other words for something false, and what follows from several sentences together.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine import claims
from engine.claims import Sentence

#: Share of a sentence's words, by weight, that the passages must hold; and of those that its nearest sentences must hold.
#: Chosen on `tests/evaluation/grounding.jsonl`'s first half: see docs/dialogue.md.
LEAST_COVERED, LEAST_NEAR = 0.65, 0.4
#: With a cosine of at least this to a sentence of the passages (an encoder's, where the caller has one) so much less is asked for.
NEAR_COSINE, FORGIVEN = 0.8, 0.15
#: Characters of an answer, and of all passages, that are read: a reply is far shorter, and time is bounded.
MOST_ANSWER, MOST_PASSAGES = 8_000, 40_000
#: Words of a sentence that claims nothing.
_COURTESY = re.compile(
    r"\W*(yes|no|sure|certainly|of course|hello|hi|thanks?( you)?|you're welcome|sorry|(i )?hope (this|that) helps"
    r"|i'm happy to help"
    r"|(please )?(let me know|feel free)\b.{0,80}|(i am|i'm) (here|happy|glad) to (help|assist)\b.{0,40}|here (is|are)\b.{0,60}:"
    r"|is there anything else.{0,60}|have a (nice|great) day|ja|nein|gerne|oui|non|sí|是的|好的)\W*",
    re.IGNORECASE | re.DOTALL,
)
_ABSTAINS = re.compile(
    r"\b(i|we)( do not| don't|'m not| am not| cannot| can't)( really)? (know|sure|find|answer|have (that|this|any"
    r"|enough) (information|details))\b"
    r"|\b(passages?|text|context|information)\b.{0,40}\b(do(es)? not|don't|doesn't)\b.{0,20}\b(say|mention|answer"
    r"|contain|provide|specify|include)"
    r"|\bich weiß (es |das )?(leider )?nicht\b|\bje ne sais pas\b|\bno (lo )?sé\b|我不知道|لا أعرف",
    re.IGNORECASE,
)


class Fault(StrEnum):
    """Why a sentence is not supported."""

    #: It is.
    NONE = ""
    #: A figure, or its unit, stands in no passage.
    FIGURE = "figure"
    #: A figure belongs to something else in the passages.
    BELONGS_ELSEWHERE = "belongs-elsewhere"
    #: A name stands in no passage.
    NAME = "name"
    #: An address stands in no passage.
    ADDRESS = "address"
    #: The passages deny it, or it denies them.
    NEGATION = "negation"
    #: The passages say the opposite word.
    OPPOSITE = "opposite"
    #: Too few of its words stand in the passages.
    WORDS = "words"


@dataclass(frozen=True)
class Judged:
    """One sentence of an answer."""

    text: str
    fault: Fault
    #: Share of its words, by weight, that the passages hold.
    covered: float
    #: Where it ends in the answer.
    end: int


@dataclass(frozen=True)
class Support:
    """What an answer rests on."""

    sentences: tuple[Judged, ...]
    #: Share of the sentences with claims that are supported; 1 where none claims anything.
    share: float
    #: Whether every sentence is supported, and there is one.
    ok: bool
    #: Characters of the longest beginning of whole sentences that is supported.
    prefix: int
    #: Whether the answer says that it does not know.
    abstains: bool = False


class Grounds:
    """The passages of a reply, read once, against which any number of texts are held: a reply that grows, say."""

    def __init__(self, passages: Sequence[str]) -> None:
        texts, room = [], MOST_PASSAGES
        for passage in passages:
            texts.append(passage[:room])
            room -= len(texts[-1])
        self._sentences = [sentence for text in texts for sentence in claims.read(text)]
        #: In how many sentences a stem stands.
        self._often = Counter(stem for sentence in self._sentences for stem in set(sentence.stems))
        self._words = frozenset(word for sentence in self._sentences for word in sentence.words)
        self._figures = frozenset(figure for sentence in self._sentences for figure in sentence.figures)
        self._addresses = frozenset(address for sentence in self._sentences for address in sentence.addresses)
        self._where: dict[str, list[int]] = {}
        for place, sentence in enumerate(self._sentences):
            for stem in set(sentence.stems):
                self._where.setdefault(stem, []).append(place)
        named = sum(len(sentence.names) for sentence in self._sentences)
        #: German writes all nouns with a capital: there a capital makes no name.
        self._nouns = named > 0.2 * sum(len(sentence.words) for sentence in self._sentences)

    def check(self, text: str, *, cosines: Sequence[float] = ()) -> Support:
        """How far a text is supported; `cosines`: of each sentence to its nearest in the passages, where an encoder said so."""
        read = claims.read(text[:MOST_ANSWER])
        judged = [self._judge(sentence, cosines[i] if i < len(cosines) else 0.0) for i, sentence in enumerate(read)]
        claiming = [one for one, sentence in zip(judged, read, strict=True) if _claims(sentence)]
        good = sum(one.fault is Fault.NONE for one in claiming)
        prefix = 0
        for one in judged:
            if one.fault:
                break
            prefix = one.end
        cut = len(text) > MOST_ANSWER
        return Support(
            sentences=tuple(judged),
            share=good / len(claiming) if claiming else 1.0,
            ok=bool(judged) and not cut and good == len(claiming),
            prefix=prefix,
            abstains=bool(_ABSTAINS.search(text[:MOST_ANSWER])),
        )

    def prefix(self, text: str, *, finished: bool = False) -> str:
        """The longest supported beginning of whole sentences of a reply that is being made; its last one is left "
        "out until it ends."""
        support = self.check(text)
        read = support.sentences
        open_end = bool(read) and not finished and read[-1].end == len(text) and not text.rstrip().endswith(tuple(".!?。！？؟"))
        if open_end and support.prefix == read[-1].end:
            return text[: read[-2].end] if len(read) > 1 else ""
        return text[: support.prefix]

    def _judge(self, sentence: Sentence, cosine: float) -> Judged:
        covered = self._covered(sentence)
        fault = Fault.NONE if not _claims(sentence) else self._fault(sentence, covered, FORGIVEN if cosine >= NEAR_COSINE else 0.0)
        return Judged(sentence.text, fault, covered, sentence.end)

    def _fault(self, sentence: Sentence, covered: float, forgiven: float) -> Fault:
        if sentence.addresses - self._addresses:
            return Fault.ADDRESS
        if any(not self._has(figure) for figure in sentence.figures):
            return Fault.FIGURE
        if not self._nouns and sentence.names - self._words:
            return Fault.NAME
        near = self._near(sentence)
        if covered < LEAST_COVERED - forgiven or not near or self._share(sentence, near[0]) < LEAST_NEAR - forgiven:
            return Fault.WORDS
        return self._contradicted(sentence, near)

    def _has(self, figure: tuple[str, str]) -> bool:
        """A figure with its unit; one without unit may stand with any."""
        digits, unit = figure
        return figure in self._figures or any(other == digits and (not unit or not known) for other, known in self._figures)

    def _contradicted(self, sentence: Sentence, near: list[Sentence]) -> Fault:
        """What the nearest sentences of the passages say against it."""
        best = near[0]
        if sentence.denies != best.denies and not any(
            other.denies == sentence.denies and self._share(sentence, other) >= 0.9 * self._share(sentence, best)
            for other in near[1:]
        ):
            return Fault.NEGATION
        if claims.opposed(sentence.words, best.words):
            return Fault.OPPOSITE
        return Fault.BELONGS_ELSEWHERE if self._belongs_elsewhere(sentence, near) else Fault.NONE

    def _belongs_elsewhere(self, sentence: Sentence, near: list[Sentence]) -> bool:
        """Whether the sentence gives a figure to what has another figure of the same unit in the passages."""
        parts = [part for one in near for part in _parts(one) if part.figures]
        return any(_misgiven(figure, part, parts) for part in _parts(sentence) for figure in part.figures)

    def _near(self, sentence: Sentence) -> list[Sentence]:
        """The sentences of the passages that share most with it, the nearest first; those with its figures and "
        "names before others."""
        shared = Counter(place for stem in set(sentence.stems) for place in self._where.get(stem, ())[:200])
        places = [place for place, _ in shared.most_common(12)]
        ranked = sorted(places, key=lambda place: (-self._nearness(sentence, self._sentences[place]), place))
        return [self._sentences[place] for place in ranked[:4]]

    def _nearness(self, sentence: Sentence, other: Sentence) -> float:
        return (
            self._share(sentence, other) + 0.1 * bool(sentence.figures & other.figures) + 0.1 * bool(sentence.names & other.words)
        )

    def _covered(self, sentence: Sentence) -> float:
        weights = [(self._weight(stem), stem in self._often) for stem in sentence.stems]
        total = sum(weight for weight, _ in weights)
        return sum(weight for weight, there in weights if there) / total if total else 1.0

    def _share(self, sentence: Sentence, other: Sentence) -> float:
        """Share of the sentence's words, by weight, that another one holds."""
        has = frozenset(other.stems)
        total = sum(self._weight(stem) for stem in sentence.stems)
        return sum(self._weight(stem) for stem in sentence.stems if stem in has) / total if total else 1.0

    def _weight(self, stem: str) -> float:
        """Inverse document frequency over the sentences of the passages; a word that none has weighs as one that one has."""
        return math.log(1 + (len(self._sentences) + 1) / max(1, self._often[stem]))


def _misgiven(figure: tuple[str, str], said: Sentence, parts: list[Sentence]) -> bool:
    """Whether what is said names what another figure belongs to, and nothing of what this one belongs to."""
    digits, unit = figure
    mine = [part for part in parts if any(other == digits for other, _ in part.figures)]
    others = [part for part in parts if part not in mine and any(known == unit for _, known in part.figures)]
    if not mine:
        return True
    ours, theirs = ({stem for part in several for stem in part.stems} for several in (mine, others))
    words = set(said.stems)
    return not words & (ours - theirs) and bool(words & (theirs - ours))


#: Where one sentence gives figures to several things.
_PART = re.compile(r"[,;:]\s+|\s+(?:and|but|while|whereas|or|und|et|y)\s+", re.IGNORECASE)


def _parts(sentence: Sentence) -> list[Sentence]:
    if len(sentence.figures) < 2:
        return [sentence]
    parts = [part for text in _PART.split(sentence.text) for part in claims.read(text)]
    return [part for part in parts if part.figures] or [sentence]


def _claims(sentence: Sentence) -> bool:
    """Whether a sentence says anything that can be true or false of the passages."""
    return bool(sentence.stems or sentence.figures or sentence.addresses) and not _COURTESY.fullmatch(sentence.text)


def supported(text: str, passages: Sequence[str], *, cosines: Sequence[float] = ()) -> Support:
    """Whether a text is supported by these passages; see the top of this file for what that means."""
    return Grounds(passages).check(text, cosines=cosines)
