"""Every fixed text is said in the language of whoever reads it, as an operator wants it."""

import dataclasses
import string
from pathlib import Path

import pytest

from engine import wordings
from engine.errors import SettingsError
from engine.settings import Settings
from engine.texts import Texts

pytestmark = pytest.mark.one_redis

NAMES = [one.name for one in dataclasses.fields(Texts) if one.name != "texts"]


@pytest.mark.parametrize("language", ["de", "fr", "es", "zh", "ar"])
def test_every_text_is_there_in_every_language_that_is_shipped(language: str) -> None:
    settings = Settings.load({})
    for name in NAMES:
        wording, english = wordings.said(settings, name, language), wordings.said(settings, name, "en")

        assert wording != english, name
        assert _places(wording) == _places(english), name


def _places(text: str) -> set[str | None]:
    return {place for _, place, _, _ in string.Formatter().parse(text)} - {None}


def test_a_language_without_translations_is_answered_in_english() -> None:
    settings = Settings.load({})

    assert wordings.said(settings, "thanks", "fi") == wordings.said(settings, "thanks") == "You are welcome."


def test_what_an_operator_has_set_is_said_to_everyone_but_where_it_is_translated(tmp_path: Path) -> None:
    path = tmp_path / "texts.yaml"
    path.write_text("de:\n  greeting: Moin!\n  partly: 'Nicht: {questions}'\nen:\n  thanks: Any time.\n")
    settings = Settings.load({"REPLYMILL_TEXTS": str(path), "REPLYMILL_GREETING": "Ahoy!", "REPLYMILL_TENANT_B_GREETING": "Yo!"})

    assert [wordings.said(settings, "greeting", code) for code in ("de", "en", "fr", "")] == ["Moin!", "Ahoy!", "Ahoy!", "Ahoy!"]
    assert wordings.said(settings, "thanks", "en") == "Any time."
    assert wordings.said(settings, "partly", "de", questions="warum") == "Nicht: warum"
    assert wordings.said(settings.for_tenant("b"), "greeting", "es") == "Yo!"
    assert wordings.variants(settings, "greeting") == {"Moin!", "Ahoy!"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[de]\ngreting = 'x'", ["de.greting", "did you mean greeting"]),
        ("[german]\ngreeting = 'x'", ["german", "ISO 639-1"]),
        ("[de]\nin_line = 'about {position}'", ["de.in_line", "{position} and {wait}"]),
        ("[de]\npartly = 'no {questions} {more}'", ["de.partly", "{questions}"]),
        ("[de]\npartly = 'no {questions'", ["de.partly"]),
        ("[de]\nthanks = 7", ["de.thanks"]),
        ("[de]\nthanks = ''", ["de.thanks"]),
        ("de = 'x'", ["de", "str"]),
        ("[de", ["can be read"]),
    ],
)
def test_a_file_of_texts_that_cannot_be_said_is_refused_at_start(tmp_path: Path, text: str, named: list[str]) -> None:
    path = tmp_path / "texts.toml"
    path.write_text(text)

    with pytest.raises(SettingsError, match=r"REPLYMILL_TEXTS is .* but must be ") as caught:
        Settings.load({"REPLYMILL_TEXTS": str(path)})
    assert all(part in str(caught.value) for part in named)


def test_a_file_of_one_tenant_is_refused_naming_its_variable(tmp_path: Path) -> None:
    path = tmp_path / "texts.yml"
    path.write_text("- de")

    with pytest.raises(SettingsError, match=r"REPLYMILL_TENANT_SHOP_TEXTS is .* but must be "):
        Settings.load({"REPLYMILL_TENANT_SHOP_TEXTS": str(path)})


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Ich möchte mit einem Menschen sprechen", "de"), ("I want to talk to a person", "en"), ("转人工", "zh"),
        ("أريد شخصا", "ar"),
        ("Je veux parler à un conseiller", "fr"), ("Quiero hablar con una persona", "es"), ("ok", ""), ("", ""), ("123 !", ""),
        ("注文をキャンセルできますか", ""), ("Отменить заказ", ""),
    ],
)  # fmt: skip
def test_the_language_of_a_wish_is_guessed_at_the_door(text: str, language: str) -> None:
    assert wordings.guessed(text) == language
