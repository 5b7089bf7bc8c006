"""Personal data is found in the forms in which people write it, and nothing is taken for it that only looks like a number."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import checksums
from engine.redaction import KINDS, Span, find, private, redact

FOUND = {
    "email": [
        "jane.doe+x@example.co.uk",
        "JANE@EXAMPLE.COM",
        "jörg@müller.example",
        "jane at gmail dot com",
        "jane [at] gmail [dot] com",
    ],
    "card": [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111111111111111",
        "3782 822463 10005",
        "4111\u200b1111\u200b1111\u200b1111",
    ],
    "iban": ["DE89 3704 0044 0532 0130 00", "de89370400440532013000", "GB82-WEST-1234-5698-7654-32", "NO93 8601 1117 947"],
    "ip": ["192.168.0.1", "fe80::1", "2001:db8:0:0:0:0:2:1"],
    "national_id": [
        "123-45-6789",
        "AB 12 34 56 C",
        "86 095 742 719",
        "1 84 12 76 451 089 46",
        "12345678Z",
        "X1234567L",
        "RSSMRA85T10A562S",
        "111.444.777-35",
        "756.9217.0769.85",
        "11010519491231002X",
    ],
    "phone": [
        "+49 (0)30 1234567",
        "+44 20 7946 0958",
        "0049 30 1234567",
        "(555) 123-4567",
        "555-123-4567",
        "06 12 34 56 78",
        "030/12345678",
        "+٤٩ ٣٠ ١٢٣٤٥٦٧",
        "+\uff14\uff19 \uff13\uff10 \uff11\uff12\uff13\uff14\uff15\uff16\uff17",
        "+49\u00a030\u2011123\u20114567",
    ],
    "address": [
        "221B Baker Street",
        "1600 Pennsylvania Avenue",
        "Hauptstraße 12a, 10115 Berlin",
        "12 rue de la Paix",
        "Calle Mayor 5",
        "SW1A 1AA",
        "P.O. Box 12",
        "NY 10001",
    ],
    "identifier": ["TR-55-801", "A-1009", "#00108", "1Z999AA10123456784", "5551234567", "123e4567-e89b-12d3-a456-426614174000"],
}
TOLD = [
    ("Where is my order 88421?", "Where is my order [identifier]?"),
    ("account number is 12345", "account number is [identifier]"),
    ("Bestellnummer: 4711-B", "Bestellnummer: [identifier]"),
    ("my order number 0612345678 is late", "my order number [identifier] is late"),
    ("call me on 5551234567", "call me on [phone]"),
    ("my name is Jane O'Neill and I need help", "my name is [name] and I need help"),
    ("Ich heiße Jürgen", "Ich heiße [name]"),
    ("my password is tulip", "my password is [secret]"),
    ("born on 12/03/1980", "born on [birth]"),
    ("my card 4111 1111 1111 1111 12/27 is blocked", "my card [card] 12/27 is blocked"),
    ("mail jane@example.com or ring +49 30 1234567.", "mail [email] or ring [phone]."),
]
NOTHING = [
    "Where is my order?",
    "Is shipping free for orders over $50?",
    "Can I return an item after 30 days?",
    "Do you take orders 24/7?",
    "Can I order 2 pizzas by 8pm",
    "on 2024-05-03 10:30 and on 03.05.2024",
    "my order of 03.05.2024",
    "at 12:30:45 today",
    "in version 1.2.3.4",
    "2 of my orders are on the way",
    "I need 4 cards, 3 for the road",
    "my name is wrong on my card",
    "my password is not working",
    "My pin is blocked",
    "I paid $1,200 and received goods worth $120",
    "how do I pay 250000 yen",
    "is covid-19 covered",
    "does it support UTF-8 and ISO-27001",
    "iphone 15 pro max 256gb",
    "card 4111 1111 1111 1112",
    "question about {{Order Number}}",
    "",
    "[email] [phone] [identifier]",
]


@pytest.mark.parametrize(("kind", "said"), [(kind, said) for kind, texts in FOUND.items() for said in texts])
@pytest.mark.parametrize("around", ["{}", "It is {}.", "this ({}) one, please"])
def test_each_form_is_found_as_its_kind(kind: str, said: str, around: str) -> None:
    text = around.format(said)
    assert private(text)
    assert redact(text) == around.format(f"[{kind}]")


@pytest.mark.parametrize(("text", "redacted"), TOLD)
def test_what_a_word_introduces_is_found(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize("text", NOTHING)
def test_what_only_resembles_it_is_left_alone(text: str) -> None:
    assert find(text) == []
    assert redact(text) == text


def test_kinds_can_be_chosen() -> None:
    text = "my name is Jane, jane@example.com"
    assert redact(text, ["email"]) == "my name is Jane, [email]"
    assert not private("my name is Jane", [kind for kind in KINDS if kind != "name"])


def test_a_span_tells_where_it_stands_in_the_text_itself() -> None:
    text = "\u200b\u2066über 4111\u200b 1111 1111 1111!"
    assert find(text) == [Span(text.index("4"), text.index("!"), "card")]


@pytest.mark.parametrize("wrong", ["4111 1111 1111 1121", "DE88 3704 0044 0532 0130 00", "12345678A", "756.9217.0769.84"])
def test_a_number_whose_check_digits_are_wrong_is_not_what_it_looks_like(wrong: str) -> None:
    assert not {span.kind for span in find(wrong)} & {"card", "iban", "national_id"}


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (checksums.verhoeff, "234123412346"),
        (checksums.polish, "44051401458"),
        (checksums.belgian, "85073003328"),
        (checksums.swedish, "8112189876"),
        (checksums.dutch, "111222333"),
        (checksums.chinese, "11010519491231002X"),
        (checksums.luhn, "046454286"),
    ],
)
def test_published_examples_pass_and_their_neighbours_do_not(check: object, good: str) -> None:
    assert callable(check)
    assert check(good)
    place = len(good) - 2
    assert not check(good[:place] + str((int(good[place]) + 1) % 10) + good[place + 1 :])


#: What hostile texts are made of: pieces that patterns begin to match again and again.
PIECES = [
    "1",
    "4 ",
    "a",
    "@",
    ".",
    "-",
    "+1",
    "a.",
    "a@",
    ":1",
    "(0",
    "é\u200b",
    "order ",
    "my name is ",
    "DE89 ",
    "12 a b c ",
    "rue de ",
]
PIECES += [
    "a at b dot ",
    "born on ",
    "calle a b ",
    "phone ",
    "password is ",
    "A-",
    "#",
    "#A",
    "0 1",
    "x_straße",
    "\n",
    "1234 ",
    "٣",
    "1 rue ",
]


@pytest.mark.parametrize("piece", PIECES)
def test_time_grows_with_the_length_and_no_faster(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        began = time.process_time()
        find(text)
        return time.process_time() - began

    short = min(seconds(2_000) for _ in range(3))
    assert min(seconds(20_000) for _ in range(2)) < max(0.2, short * 10 * 3)


@given(
    st.lists(
        st.one_of(st.sampled_from(PIECES), st.text(max_size=8), st.sampled_from([one for all_ in FOUND.values() for one in all_]))
    )
)
def test_spans_lie_in_order_within_the_text_and_apart(pieces: list[str]) -> None:
    text = " ".join(pieces)
    spans = find(text)
    ends = [0, *(end for span in spans for end in (span.start, span.end)), len(text)]
    assert ends == sorted(ends)
    assert all(span.start < span.end and span.kind in KINDS for span in spans)
    assert private(text) == bool(spans)


@given(st.sampled_from([(kind, said) for kind, texts in FOUND.items() for said in texts]), st.data())
def test_invisible_signs_and_other_digits_hide_nothing(case: tuple[str, str], data: st.DataObject) -> None:
    kind, said = case
    zero = data.draw(st.sampled_from("0\u0660\u06f0\u0966\uff10\U0001d7ce"))
    other = "".join(chr(ord(zero) + int(sign)) if sign in "0123456789" else sign for sign in said)
    hidden = "".join(sign + data.draw(st.sampled_from(["", "\u200b", "\u2060", "\u00ad", "\ufeff"])) for sign in other)
    assert redact(f"so: {hidden} ok").startswith(f"so: [{kind}]")
