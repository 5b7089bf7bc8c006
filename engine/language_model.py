"""The classifier of `engine.language`, loaded: needs NumPy, which nothing else at a worker's start does."""

import hashlib
import importlib.metadata
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from py3langid import langid, modelio

from engine.language import ASKED, CALLED

_Parts = dict[str, NDArray[Any]]
_NAMES = ("weights", "priors", "codes", "moves", "rows", "output")


def classifier(folder: Path | None) -> langid.LanguageIdentifier:
    """Unpacked from `folder`, where it is kept, or from its package."""
    return _identifier(_mapped(folder) if folder else _unpacked())


def _identifier(parts: _Parts) -> langid.LanguageIdentifier:
    # What is walked letter by letter is read through views, which give plain numbers and copy nothing.
    moves, rows, output = (np.asarray(parts[name]).data for name in ("moves", "rows", "output"))
    weights, priors = np.asarray(parts["weights"]), np.asarray(parts["priors"])
    codes = [str(code) for code in parts["codes"]]
    return langid.LanguageIdentifier(weights, priors, codes, moves, output, norm_probs=True, tk_row=rows)


def _unpacked() -> _Parts:
    """The classifier, without the columns of languages that are not asked about."""
    weights, priors, codes, moves, rows, output = modelio.load_model(langid.MODEL_DIR / langid.MODEL_FILE)
    asked = {*ASKED.split(), *CALLED}
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
    what = f"{importlib.metadata.version('py3langid')} {ASKED} {sorted(CALLED)} {sys.byteorder}"
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
