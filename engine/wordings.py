"""The fixed texts in the language of whoever reads them: what an operator has set or translated, and the "
"translations shipped here.

What is said: the operator's translation (`REPLYMILL_TEXTS`), else the text an operator has set, in whatever language that is,
else the translation of `translations.toml`, else English.
"""

import dataclasses
import difflib
import functools
import importlib
import re
import string
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import SettingsError
from engine.texts import Texts

_TEXTS = {one.name: one for one in dataclasses.fields(Texts) if one.name != "texts"}
#: Language, name, text.
Wordings = Mapping[str, Mapping[str, str]]


def said(settings: Texts, name: str, language: str = "", **places: str) -> str:
    """A fixed text in a language (a code, empty: unknown), with its places filled in."""
    wording = _chosen(settings, name, language)
    return wording.format(**places) if places else wording


def variants(settings: Texts, name: str) -> frozenset[str]:
    """Every wording in which a text without places may have been said."""
    codes = {"", *_shipped(), *_own(settings)}
    return frozenset(_chosen(settings, name, code) for code in codes)


def _chosen(settings: Texts, name: str, language: str) -> str:
    set_to: str = getattr(settings, name)
    own = _own(settings).get(language, {})
    if name in own:
        return own[name]
    if set_to != _TEXTS[name].default:
        return set_to
    return _shipped().get(language, {}).get(name, set_to)


def _own(settings: Texts) -> Wordings:
    return read(settings.texts) if settings.texts else {}


@functools.cache
def _shipped() -> Wordings:
    return read(str(Path(__file__).with_name("translations.toml")))


@functools.lru_cache(maxsize=256)
def read(path: str) -> Wordings:
    """The texts of a file, checked; read once.

    :raises ValueError: with what is wrong with it.
    """
    try:
        raw = Path(path).expanduser().read_text(encoding="utf-8")
        found = tomllib.loads(raw) if path.endswith(".toml") else _yaml(raw)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"a file that can be read ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise ValueError("a file of languages, each with names and texts")
    return {_code(code): _language(str(code), texts) for code, texts in found.items()}


def _yaml(raw: str) -> Any:
    yaml = importlib.import_module("yaml")  # every process starts by way of this module, and few have such a file
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _code(code: Any) -> str:
    if not isinstance(code, str) or not re.fullmatch("[a-z]{2}", code):
        raise ValueError(f'a file whose languages are ISO 639-1 codes such as de (it has {code!r}; in YAML write "no" in quotes)')
    return code


def _language(code: str, texts: Any) -> dict[str, str]:
    if not isinstance(texts, dict):
        raise ValueError(f"a file whose languages have names and texts (that of {code} is {type(texts).__name__})")
    for name, text in texts.items():
        _check(code, name, text)
    return texts


def _check(code: str, name: Any, text: Any) -> None:
    if name not in _TEXTS:
        near = difflib.get_close_matches(str(name), _TEXTS, n=1)
        raise ValueError(f"a file of known texts ({code}.{name} is none{f': did you mean {near[0]}?' if near else ''})")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"a file whose texts are texts ({code}.{name} is not)")
    wanted = _places(str(_TEXTS[name].default))
    try:
        has = _places(text) if wanted else set()
    except ValueError as error:
        raise ValueError(f"a file whose texts can be filled in ({code}.{name}: {error})") from error
    if has != wanted:
        shown = " and ".join(f"{{{place}}}" for place in sorted(wanted))
        raise ValueError(f"a file whose texts have their places (in {code}.{name} {shown} must stand, and no other)")


def _places(text: str) -> set[str]:
    return {place for _, place, _, _ in string.Formatter().parse(text) if place is not None}


def check(variable: str, settings: Texts) -> None:
    """:raises SettingsError: the file of texts has what cannot be said."""
    try:
        _own(settings)
    except ValueError as error:
        raise SettingsError(f"{variable} is {settings.texts!r}, but must be {error}") from error


#: Words that are frequent in a language, and in none of the others here.
_FREQUENT = {
    "de": "ich und nicht ist ein eine einen einem mit wie wo wann warum kann bitte mein meine habe möchte für der "
    "das den dem auf von zu sie es",
    "fr": "je et est une un le les des pas que qui pour avec comment où quand pourquoi puis mon ma mes ai suis "
    "vous dans veux parler",
    "es": "yo y es una un el los las no que para con cómo dónde cuándo puedo mi mis quiero está hola por tengo hablar",
    "en": "i the and is a an my to of for not do does can how what where when please you it in on with have",
}
_MEANS = {
    code: frozenset(words.split()) - frozenset(word for other, more in _FREQUENT.items() if other != code for word in more.split())
    for code, words in _FREQUENT.items()
}
_SCRIPTS = (("zh", re.compile("[\u4e00-\u9fff]")), ("ar", re.compile("[\u0620-\u064a]")))
_OTHER_SCRIPT = re.compile("[\u3040-\u30ff\uac00-\ud7af\u067e\u0686\u06a9\u06af\u06cc\u06d2]")
#: Characters of a message that are looked at.
_LOOKED_AT = 300


def guessed(text: str) -> str:
    """The language of a message by its script and its small words, for the doors, where no classifier is loaded; "
    "empty: unsure."""
    text = text[:_LOOKED_AT]
    if not _OTHER_SCRIPT.search(text):
        for code, script in _SCRIPTS:
            if len(script.findall(text)) * 2 >= sum(character.isalpha() for character in text) > 0:
                return code
    words = re.findall(r"\w+", text.casefold())
    counted = sorted(((sum(word in means for word in words), code) for code, means in _MEANS.items()), reverse=True)
    return counted[0][1] if counted[0][0] > counted[1][0] else ""
