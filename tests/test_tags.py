"""HTML that would keep the reader busy for minutes."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.intercom_items import to_text
from connectors.tags import LONGEST_TAG, bounded
from connectors.zammad_api import text_of

pytestmark = pytest.mark.one_redis

#: Enough for the quadratic ways of the library's reader to take more than a minute.
SIZE = 100_000


@pytest.mark.parametrize("unit", ["<a ", "<!--", "</", "<?", '<a b="', "<a b='\">", "<a/", "<![", "<!", "<script>", "<a b=c "])
@pytest.mark.parametrize("tail", ["", ">", "-->"])
def test_no_html_keeps_the_reader_busy(unit: str, tail: str) -> None:
    html, begun = unit * (SIZE // len(unit)) + tail, time.process_time()
    text_of(html, "text/html")
    to_text(html)

    assert time.process_time() - begun < 5


@pytest.mark.parametrize("html", ["<p>a</p><br/>", '<img src="data:,' + "A" * 10_000 + '">', "1 > 0", "", "no tags"])
def test_html_whose_tags_end_stays_as_it_is(html: str) -> None:
    assert bounded(html) == html


def test_what_only_begins_like_a_tag_is_text() -> None:
    assert bounded("a < b") == "a &lt; b"
    assert bounded("<b>x</b> <i") == "<b>x</b> &lt;i"
    assert bounded("<a " + "x" * LONGEST_TAG + ">") == "&lt;a " + "x" * LONGEST_TAG + ">"
    assert text_of("<p>1 < 2</p>", "text/html") == to_text("<p>1 < 2</p>") == "1 < 2"


@given(st.text(st.sampled_from("<>a!-/?'\"& ")))
def test_nothing_is_lost(html: str) -> None:
    assert bounded(html).replace("&lt;", "<") == html.replace("&lt;", "<")
