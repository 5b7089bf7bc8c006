"""Every fault of a body is named, and whatever the bytes are, nothing but `MalformedRequest` comes out."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.bodies import answerable, read_object, well_formed
from engine.errors import MalformedRequest, NothingToAnswer


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not UTF-8: byte 0"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"a": 1', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1} x', "not JSON"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"b": {"a": 1, "a": 1}}', "'a' stands twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "too long"),
    ],
)
def test_each_fault_is_named(raw: bytes, fault: str) -> None:
    with pytest.raises(MalformedRequest, match=fault):
        read_object(raw)


@given(st.binary())
def test_any_bytes_give_an_object_or_a_named_fault(raw: bytes) -> None:
    with suppress(MalformedRequest):
        assert isinstance(read_object(raw), dict)


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text())))
def test_an_object_is_read_as_it_was_written(found: dict[str, object]) -> None:
    assert read_object(json.dumps(found).encode()) == found


@given(st.text(st.characters()))
def test_a_text_can_always_be_written(text: str) -> None:
    fixed = well_formed(text)

    assert fixed.encode().decode() == fixed
    assert fixed == text or "�" in fixed


@pytest.mark.parametrize("text", [None, "", " ", "\n\t\r", "\u200b", "\u202e\u2066", "\x00", "\ufeff", "\u3000"])
def test_a_text_without_anything_to_see_is_nothing_to_answer(text: str | None) -> None:
    with pytest.raises(NothingToAnswer):
        answerable(text)


@pytest.mark.parametrize("text", ["?", "👍", "שלום", "\u202eabc", "a\x00b", "हिन्दी", "0"])
def test_any_visible_character_is_a_text(text: str) -> None:
    assert answerable(text) == text
