"""Words and pieces of words of any language, and BM25 over them: finds what a sentence encoder does not understand.

No language is asked for and no list of words is kept. A word is itself and its character n-grams, so that inflections, compounds
and Arabic's attached particles still meet; a script without spaces is its characters and their pairs.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Self

import bm25s  # type: ignore[import-untyped] # it brings no annotations
import numpy as np
import regex  # type: ignore[import-untyped] # it brings no annotations
from numpy.typing import NDArray

#: Scripts that are written without spaces between words.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORDS = regex.compile(rf"(?V1)(?P<run>[{_UNSPACED}]+)|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+")
_MARKS = regex.compile(r"\p{M}+")
#: Arabic's elongation, which is typography, not spelling.
_TATWEEL = "\u0640"

#: Length of the n-grams of words: of Latin letters, and of alphabets whose words are shorter, Arabic's and Hebrew's among them. On
#: parts of banking77 and hwu64 kept for development, words with 4-grams found 5 points more than words alone.
_LATIN_GRAM, _GRAM = 4, 3
#: Characters of all texts together up to which words have n-grams: beyond it, in a hundred thousand sections say, they would need
#: more memory than the vectors, and long texts hold a word's other forms anyway.
_GRAMS_UP_TO = 12_000_000
#: A longer run of letters is no word; only its beginning has n-grams.
_LONGEST_WORD = 64
#: Characters of a question, and its rarest tokens, that are looked at: what a stranger sends costs no more than that.
_QUESTION_CHARACTERS, _QUESTION_TOKENS = 2000, 128


def normal(text: str) -> str:
    """Without case, accents, vowel points and width: the form in which texts are compared."""
    if text.isascii():
        return text.lower()
    # Twice, since a letter may show its case only once it is taken apart, as bold letters of mathematics do.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", _MARKS.sub("", plain).replace(_TATWEEL, ""))


def tokens(text: str, *, grams: bool = True) -> list[str]:
    """Words and their pieces, as often as they stand there; `grams` tells whether spaced words have pieces."""
    return [token for found in _WORDS.finditer(normal(text)) for token in _pieces(found[0], found["run"] is not None, grams)]


def overlap(one: str, other: str) -> float:
    """Share of words and pieces that two texts have in common (Dice's coefficient), from 0 to 1: unlike a score of BM25 it can be
    compared between searches, so that it tells whether a text in a language that no encoder understands is about the same."""
    first, second = set(tokens(one[:_QUESTION_CHARACTERS])), set(tokens(other[:_QUESTION_CHARACTERS]))
    return 2 * len(first & second) / (len(first) + len(second)) if first and second else 0.0


def _pieces(word: str, unspaced: bool, grams: bool) -> list[str]:
    """Of a run of an unspaced script its characters and their pairs; else the word, and n-grams with a space for either end."""
    if unspaced:
        return [*word, *(word[start : start + 2] for start in range(len(word) - 1))]
    if not grams:
        return [word]
    size = _LATIN_GRAM if word.isascii() else _GRAM
    padded = f" {word[:_LONGEST_WORD]} "
    return [word, *(padded[start : start + size] for start in range(len(padded) - size + 1))]


def _numbered(texts: Sequence[str], vocabulary: dict[str, int], *, grams: bool) -> Iterator[list[int]]:
    """The tokens of each text by their number in the vocabulary, which grows; each word is taken apart once."""
    known: dict[str, list[int]] = {}
    for text in texts:
        numbers: list[int] = []
        for found in _WORDS.finditer(normal(text)):
            word = found[0]
            if word not in known:
                pieces = _pieces(word, found["run"] is not None, grams)
                known[word] = [vocabulary.setdefault(piece, len(vocabulary)) for piece in pieces]
            numbers += known[word]
        yield numbers


class Lexicon:
    """BM25 of texts."""

    def __init__(self, engine: Any, vocabulary: dict[str, int], *, texts: int, grams: bool) -> None:
        self._engine = engine
        self._vocabulary = vocabulary
        self._texts = texts
        self._grams = grams

    @classmethod
    def build(cls, texts: Sequence[str]) -> Self:
        """Of texts by their position."""
        grams = sum(map(len, texts)) <= _GRAMS_UP_TO
        vocabulary: dict[str, int] = {}
        found = list(_numbered(texts, vocabulary, grams=grams))
        if not vocabulary:
            return cls(None, {}, texts=len(texts), grams=grams)
        engine = bm25s.BM25()
        engine.index((found, vocabulary), create_empty_token=False, show_progress=False)
        return cls(engine, vocabulary, texts=len(texts), grams=grams)

    def scores(self, question: str) -> NDArray[np.float32]:
        """BM25 of each text; zeros for a question with no known word."""
        words = set(tokens(question[:_QUESTION_CHARACTERS], grams=self._grams))
        known = [self._vocabulary[word] for word in words if word in self._vocabulary]
        if not known or self._engine is None:
            return np.zeros(self._texts, np.float32)
        starts = self._engine.scores["indptr"]
        rarest = sorted(known, key=lambda index: (starts[index + 1] - starts[index], index))[:_QUESTION_TOKENS]
        return np.asarray(self._engine.get_scores_from_ids(rarest), np.float32)
