"""Markdown for tools that render it themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.commonmark import is_harmless, to_markdown

pytestmark = pytest.mark.one_redis

PIECES = st.sampled_from(
    [
        *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--", "-->", "<?", "<![CDATA[", "</p>", "<", ">", "&lt;"),
        *("![a](https://e.example/leak)", "![", "](", ")", "[x](javascript:alert(1))", "[x](JaVa\nScript:1)", "[x]: javascript:1"),
        *(
            "[x](<data:text/html,1>)",
            "[x](&#106;avascript:1)",
            "[x](//e.example)",
            "[x](/a)",
            "<https://e.example>",
            "<a@e.example>",
        ),
        *("`", "```", "```\n", "\n```\n", "~~~\n", "\n", "\n\n", "    ", "- ", "> ", "\\", "**bold**", "word ", "[x]", "[x][y]"),
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text())
def test_whatever_a_model_writes_no_reader_finds_html_images_or_odd_links_in_it(text: str) -> None:
    assert is_harmless(to_markdown(text))


@pytest.mark.parametrize(
    "text",
    [
        "It is **on its way**, see [the page](https://shop.example/a?b=c) or <https://shop.example>.",
        "- one\n- two\n\n> said\n\n```html\n<img src=x>\n![a](b)\n```\n",
        "Use `vec![1]` and `<b>`; mail [us](mailto:a@b.example).",
        "a & b, 1 > 0, it's fine!",
    ],
)
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert to_markdown(text) == text


def test_what_is_not_is_shown_as_it_was_written() -> None:
    assert to_markdown("a <img src=x onerror=alert(1)> b") == "a &lt;img src=x onerror=alert(1)> b"
    assert to_markdown("![map](https://e.example/a.png)") == "\\![map](https://e.example/a.png)"
    assert to_markdown("**so** [x](javascript:alert(1))") == "**so** [x\\](javascript:alert(1))"
    assert to_markdown("**so** [x](/help)") == "**so** [x\\](/help)"
