"""Which language a text is in, by py3langid: a naive Bayes classifier over byte n-grams (Lui and Baldwin, ACL 2012).

Of its 140 languages those are asked about that a support desk meets; each one more takes certainty from its neighbours.
Loading takes a second and 60 MB, or a tenth of a second and 33 MB from a folder in which it was kept; it happens when the first
text comes, unless `load` was called.
"""

import hashlib
import importlib.metadata
import re
import sys
import tempfile
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from py3langid import langid, modelio

#: How sure it must be. Of 1,200 English questions to assistants 0.2 % are then taken for another language, and 96 % known; of 5,236
#: sentences of small talk (half of 21 characters or fewer) in 18 languages 90 % are known and 1.2 % taken for another.
SURE = 0.5
#: How much more often people write to a bot in its own languages than in any other one.
LIKELY = 5
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

_Parts = dict[str, NDArray[Any]]
_NAMES = ("weights", "priors", "codes", "moves", "rows", "output")

_loading = threading.Lock()
_loaded: list[langid.LanguageIdentifier] = []


def load(folder: Path | None = None) -> None:
    """Does now what the first text would wait for.

    :param folder: where models are kept (`REPLYMILL_CACHE_DIR`): the classifier is unpacked there once, and then mapped into memory
        that all processes share.
    """
    with _loading:
        if not _loaded:
            _loaded.append(_identifier(_mapped(folder) if folder else _unpacked()))


def _identifier(parts: _Parts) -> langid.LanguageIdentifier:
    # What is walked letter by letter is read through views, which give plain numbers and copy nothing.
    moves, rows, output = (np.asarray(parts[name]).data for name in ("moves", "rows", "output"))
    weights, priors = np.asarray(parts["weights"]), np.asarray(parts["priors"])
    codes = [str(code) for code in parts["codes"]]
    return langid.LanguageIdentifier(weights, priors, codes, moves, output, norm_probs=True, tk_row=rows)


def _unpacked() -> _Parts:
    """The classifier, without the columns of languages that are not asked about."""
    weights, priors, codes, moves, rows, output = modelio.load_model(langid.MODEL_DIR / langid.MODEL_FILE)
    asked = {*_ASKED.split(), *_CALLED}
    kept = [column for column, code in enumerate(codes) if code in asked]
    return {
        "weights": np.ascontiguousarray(weights[:, kept]),
        "priors": priors[kept],
        "codes": np.array([codes[column] for column in kept]),
        "moves": np.asarray(moves),
        "rows": np.asarray(rows),
        "output": np.asarray(output),
    }


def _mapped(folder: Path) -> _Parts:
    """The same, from files that are made at first; where they cannot be, unpacked as if there was no folder."""
    what = f"{importlib.metadata.version('py3langid')} {_ASKED} {sorted(_CALLED)} {sys.byteorder}"
    place = folder / f"language-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
    try:
        if not place.is_dir():
            _keep(_unpacked(), place)
        return {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in _NAMES}
    except (OSError, ValueError, EOFError):
        return _unpacked()


def _keep(parts: _Parts, place: Path) -> None:
    """All files or none: whoever comes second finds the place taken and leaves it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{place.name}.") as made:
        inner = Path(made) / "made"
        inner.mkdir()
        for name, part in parts.items():
            np.save(inner / f"{name}.npy", part)
        with suppress(OSError):  # Another process was faster, and its files are the same.
            inner.rename(place)


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
        called = _CALLED.get(code, code)
        shares[called] = shares.get(called, 0.0) + share * (LIKELY if called in likely else 1)
    best = max(shares, key=lambda code: shares[code])
    return best if shares[best] >= SURE * sum(shares.values()) else ""
