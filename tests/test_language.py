"""Which language a text is in: known where it is sure, empty where it is not, and bounded whatever comes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.language import recognise

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.one_redis


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is my order? It should have come on Monday.", "en"),
        ("WHERE IS MY ORDER", "en"),
        ("Wo ist meine Bestellung? Sie sollte am Montag ankommen.", "de"),
        ("Rückerstattung", "de"),
        ("Où est ma commande ? Elle devait arriver lundi.", "fr"),
        ("¿Dónde está mi pedido? Tenía que llegar el lunes.", "es"),
        ("我的订单在哪里", "zh"),
        ("退款", "zh"),
        ("أين طلبي؟ كان من المفترض أن يصل يوم الاثنين.", "ar"),
        ("وين طلبي؟ ليش ما وصل لحد الحين", "ar"),
        ("Где мой заказ? Он должен был прийти в понедельник.", "ru"),
        ("注文した商品はいつ届きますか", "ja"),
        ("Dov'è il mio ordine? Doveva arrivare lunedì.", "it"),
        ("Siparişim nerede? Pazartesi gelmesi gerekiyordu.", "tr"),
        ("제 주문은 어디에 있나요?", "ko"),
        ("איפה ההזמנה שלי?", "he"),
        ("मेरा ऑर्डर कहाँ है?", "hi"),
    ],
)
def test_a_short_question_is_known_by_its_language(text: str, language: str) -> None:
    assert recognise(text) == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "??",
        "12345",
        "ok",
        "hi",
        "iPhone 15 Pro",
        "asdf qwer",
        "\N{GRINNING FACE}",
        "https://example.com/where-is-it",
        "@kim",
        "a@b.example",
    ],
)
def test_what_has_no_language_or_too_little_of_one_is_left_open(text: str) -> None:
    assert recognise(text) == ""


def test_addresses_and_numbers_do_not_speak_for_a_language() -> None:
    assert recognise("Meine Bestellung 4711 ist weg: https://shop.example/where/is/my/order/please/tell/me") == "de"


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_any_text_at_all_gets_a_code_of_two_letters_or_none(text: str) -> None:
    assert len(recognise(text)) in (0, 2)


@pytest.mark.parametrize("text", ["a" * 2_000_000, "@" * 2_000_000, "`" * 2_000_000, "\ud800" * 2_000_000, "http://" * 300_000])
def test_a_huge_text_costs_no_more_than_its_beginning(text: str) -> None:
    recognise("load it")
    began = time.perf_counter()
    recognise(text)

    assert time.perf_counter() - began < 5


LOADED = """
import sys
from pathlib import Path
from engine import language
language.load(Path(sys.argv[1]) if sys.argv[1] else None)
print([language.recognise(text) for text in ("Wo ist meine Bestellung?", "Where is my order?", "我的订单在哪里")])
"""


def said(folder: str) -> str:
    command = [sys.executable, "-c", LOADED, folder]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_the_classifier_is_kept_unpacked_and_found_again_or_made_again(tmp_path: Path) -> None:
    plain = "['de', 'en', 'zh']"
    assert said(str(tmp_path / "cache")) == said(str(tmp_path / "cache")) == plain
    (place,) = (tmp_path / "cache").iterdir()
    (place / "moves.npy").write_bytes(b"damaged")
    assert said(str(tmp_path / "cache")) == plain
