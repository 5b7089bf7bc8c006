"""An API key opens; anything else is refused in the same way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.auth import ApiKeys
from engine.errors import RejectedRequest

KEYS = ApiKeys(("the-first-key-of-two", "the-second-key-of-two"))


@pytest.mark.parametrize("header", ["Bearer the-first-key-of-two", "bearer the-second-key-of-two", "Bearer  the-first-key-of-two "])
def test_each_key_opens(header: str) -> None:
    KEYS.check(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "the-first-key-of-two",
        "Basic the-first-key-of-two",
        "Bearer the-first-key-of-tw",
        "Bearer é\x00\ud800",
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    with pytest.raises(RejectedRequest, match="API key"):
        KEYS.check(header)


@given(st.text(st.characters()))
def test_junk_is_refused_and_nothing_else_happens(header: str) -> None:
    with pytest.raises(RejectedRequest):
        KEYS.check(header)


def test_without_keys_nobody_gets_in() -> None:
    with pytest.raises(RejectedRequest):
        ApiKeys(()).check("Bearer ")
