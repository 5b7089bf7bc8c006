"""Which language a text is in, by py3langid: a naive Bayes classifier over byte n-grams (Lui and Baldwin, ACL 2012).

Of its 140 languages those are asked about that a support desk meets; each one more takes certainty from its neighbours. Loaded when
the first text comes: 0.9 s of a core and 50 MB, of which 40 MB are the automaton that finds the n-grams.
"""

import re
import threading

import numpy as np
from py3langid import langid, modelio

#: How sure it must be. Of 1,200 English questions to assistants 0.2 % are then taken for another language, and 96 % known; of 5,236
#: sentences of small talk (half of 21 characters or fewer) in 18 languages 90 % are known and 1.2 % taken for another.
SURE = 0.5
#: Characters looked at: more make nothing surer, and a stranger's text costs no more than this.
ENOUGH = 1_000

#: Codes of the classifier's own that are no language of ISO 639-1, or a variety of one that is.
_CALLED = {"ary": "ar", "arz": "ar", "wuu": "zh", "yue": "zh", "nn": "no", "zxx": ""}
_ASKED = (
    "ar be bg bn ca cs da de el en es et fa fi fr gu he hi hr hu hy id it ja ka km kn ko lo lt lv"
    " ml mr my nl no pa pl pt ro ru si sk sl sr sv ta te th tr uk ur vi zh"
)

#: What has no language: addresses, names of people and channels, code, numbers.
_NO_WORDS = re.compile(r"(?:https?://|www\.)\S++|\S++@\S++|[@#/]\w++|`[^`]*+`|\d++")
_LETTER = re.compile(r"[^\W\d_]")

_loading = threading.Lock()
_loaded: list[langid.LanguageIdentifier] = []


def load() -> None:
    """Does now what the first text would wait for."""
    with _loading:
        if not _loaded:
            _loaded.append(_asked())


def _asked() -> langid.LanguageIdentifier:
    """The classifier, without the columns of languages that are not asked about."""
    weights, priors, codes, moves, rows, output = modelio.load_model(langid.MODEL_DIR / langid.MODEL_FILE)
    asked = {*_ASKED.split(), *_CALLED}
    kept = [column for column, code in enumerate(codes) if code in asked]
    return langid.LanguageIdentifier(
        np.ascontiguousarray(weights[:, kept]),
        priors[kept],
        [codes[column] for column in kept],
        moves,
        output,
        norm_probs=True,
        tk_row=rows,
    )


def recognise(text: str) -> str:
    """The ISO 639-1 code of a text's language; empty where that is unsure, as with most single words."""
    words = _NO_WORDS.sub(" ", text[:ENOUGH])
    if not _LETTER.search(words):
        return ""
    if not _loaded:
        load()
    shares: dict[str, float] = {}
    for code, share in _loaded[0].rank(words):
        called = _CALLED.get(code, code)
        shares[called] = shares.get(called, 0.0) + share
    best = max(shares, key=lambda code: shares[code])
    return best if shares[best] >= SURE else ""
