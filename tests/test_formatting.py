"""Markdown in each platform's markup, and long replies in parts: safe, complete and within the limits, whatever a model writes."""

import re
import time
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.formatting import split, to_html, to_plain, to_slack, to_telegram, utf16

pytestmark = pytest.mark.one_redis

FAMILY, FLAG, ACCENTED, HANGUL, ARABIC = "👨‍👩‍👧‍👦", "🇩🇪", "e\u0301\u0323", "\u1112\u1161\u11ab", "مرحبا"

#: What models, people and documents write, and what breaks careless code.
PIECES = st.sampled_from(
    [
        *(
            "\n",
            "\n\n",
            " ",
            "  ",
            "    ",
            "\t",
            "\n- ",
            "\n  - ",
            "\n1. ",
            "\n   2) ",
            "\n> ",
            "\n> > ",
            "\n# ",
            "\n### ",
            "\n---\n",
        ),
        *(
            "\n```Þ\n",
            "\n```\n",
            "\n~~~\n",
            "\n> ```\n",
            "```",
            "`",
            "``",
            "*",
            "**",
            "_",
            "__",
            "~~",
            "\\",
            "|",
            "!",
            "[",
            "](",
            ")",
        ),
        *(
            "<",
            ">",
            "&",
            '"',
            "'",
            "<script>alert(1)</script>",
            "&amp;",
            "&lt;b&gt;",
            "&#x202e;",
            "<b>",
            "</b>",
            "<!-- -->",
            "<br/>",
        ),
        *("<!channel>", "<@U024BE7LH>", "<!subteam^S1>", "<#C1>", "<https://a.example|safe>", "<!date^1^x|y>", "@channel"),
        *(
            "[a label](https://a.example/x?y=1&z=2)",
            "[x](javascript:alert(1))",
            "![p](https://a.example/p.png)",
            "<https://a.example>",
        ),
        *(
            "[https://bank.example](https://evil.example)",
            "[m](mailto:a@b.example)",
            "[t](tg://user?id=1)",
            "[r]: https://a.example",
        ),
        *("[**b** `c`](https://a.example/|x>)", "[]()", "[](https://a.example)", "https://a.example/_x_", "_*[]()~`>#+-=|{}.!"),
        *("\u202a", "\u202e", "\u202c", "\u2066", "\u2067", "\u2069", "\u200b", "\u00a0", "\r\n", "\r", "\x00", "\x1b", "\u2028"),
        *(
            FAMILY,
            FLAG,
            ACCENTED,
            HANGUL,
            ARABIC,
            "漢字。",
            "नमस्ते",
            "😀",
            "word",
            "A sentence. ",
            "x" * 30,
            "snake_case_name",
            "2*3*4",
        ),
    ]
)
SOURCES = st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join)
RENDERERS = [to_slack, to_telegram, to_html, to_plain]

each_renderer = pytest.mark.parametrize("render", RENDERERS, ids=lambda render: render.__name__)


class Tags(HTMLParser):
    """Makes sure that tags are balanced and known, and gathers what a person reads."""

    def __init__(self, allowed: dict[str, set[str]]) -> None:
        super().__init__(convert_charrefs=True)
        self.allowed = allowed
        self.open: list[str] = []
        self.read: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.allowed, tag
        for name, value in attrs:
            assert name in self.allowed[tag], (tag, name)
            assert value is not None
            if name == "href":
                assert re.match(r"(https?://|mailto:)[^\s<>\"]+$", value, re.IGNORECASE), value
                self.targets.append(value)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.read.append(data)

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data!r}")

    handle_decl = handle_pi = unknown_decl = handle_comment


TELEGRAM: dict[str, set[str]] = {"b": set(), "i": set(), "u": set(), "s": set(), "pre": set(), "blockquote": set()} | {
    "code": {"class"},
    "a": {"href"},
}
HTML: dict[str, set[str]] = {tag: set() for tag in ("p", "br", "strong", "em", "pre", "ul", "li", "blockquote")} | {
    "code": {"class"},
    "a": {"href", "rel"},
    "ol": {"start"},
}


def read(markup: str, allowed: dict[str, set[str]]) -> Tags:
    tags = Tags(allowed)
    tags.feed(markup)
    tags.close()
    assert not tags.open, tags.open
    return tags


def graphemes(text: str) -> list[str]:
    return [found for found in regex.findall(r"\X", text) if not found.isspace()]


def bones(text: str) -> str:
    """What must be left of a text: all but white space, and the marks that close and open code and quotes again."""
    return re.sub(r"[\s>`~Þ]", "", text)


def carried(parts: tuple[str, ...], source: str) -> bool:
    """Whether parts hold all of a source; what stands beside a fence may be there again."""
    left, all_of_it = bones("".join(parts)), bones(source)
    if re.search("```|~~~", source):
        rest = iter(left)
        return all(sign in rest for sign in all_of_it)
    return left == all_of_it


def within(limit: int, size: Callable[[str], int] = len) -> Callable[[str], bool]:
    return lambda part: size(part) <= limit


# -- Slack ----------------------------------------------------------------------------------------------------------------------

_OURS = re.compile(r"<(?:https?://|mailto:)[^<>|\s]+(?:\|[^<>\n]+)?>", re.IGNORECASE)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("**bold** *it* ~~gone~~ `code`", "*bold* _it_ ~gone~ `code`"),
        ("***both***", "_*both*_"),
        ("# Head **x**", "*Head x*"),
        ("foo**bar**baz", "foo\u200b*bar*\u200bbaz"),
        ("**two\nlines**", "*two*\n*lines*"),
        ("<!channel> & <@U1>", "&lt;!channel&gt; &amp; &lt;@U1&gt;"),
        ("`<!here>`", "`&lt;!here&gt;`"),
        ("```py\n<!here> & x\n```", "```\n&lt;!here&gt; &amp; x\n```"),
        ("````\n```\n````", "```\n``\u200b`\n```"),
        ("`` a`b ``", "a`b"),
        ("&lt;!channel&gt;", "&lt;!channel&gt;"),
        ("&amp;", "&amp;"),
        ("[docs](https://a.example/x?y=1&z=2)", "<https://a.example/x?y=1&amp;z=2|docs>"),
        ("[a|b>c](https://a.example/|x)", "<https://a.example/%7Cx|a|b&gt;c>"),
        ("[**docs**\nhere](https://a.example)", "<https://a.example|docs here>"),
        ("<https://a.example>", "<https://a.example|https://a.example>"),
        ("[m](mailto:a@b.example)", "<mailto:a@b.example|m>"),
        ("see https://a.example/x?y=1&z=2, please.", "see <https://a.example/x?y=1&amp;z=2>, please."),
        ("(https://a.example/b_(c))", "(<https://a.example/b_(c)>)"),
        ("`https://a.example` https://.", "`https://a.example` https://."),
        ("[x](javascript:alert)", "[x](javascript:alert)"),
        ("[x](slack://user)", "x (slack://user)"),
        ("[https://bank.example](https://evil.example)", "https://bank.example (<https://evil.example|https://evil.example>)"),
        (
            "[good.example](https://good.example.evil.example)",
            "good.example (<https://good.example.evil.example|https://good.example.evil.example>)",
        ),
        ("[good.example](https://good.example/shop)", "<https://good.example/shop|good.example>"),
        (
            "[good.example](https://good.example@evil.example)",
            "good.example (<https://good.example@evil.example|https://good.example@evil.example>)",
        ),
        ("![chart](https://a.example/c.png)", "<https://a.example/c.png|chart>"),
        ("- a\n  - b\n- c", "• a\n  • b\n• c"),
        ("3. a\n4. b\n\n   c", "3. a\n4. b\n\n   c"),
        ("> a\n> b", "> a\n> b"),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
        ("- x\n\n  ```\n  code\n  ```", "• x\n\n```\ncode\n```"),
    ],
)
def test_slack_gets_its_own_markup(source: str, expected: str) -> None:
    assert to_slack(source) == expected


@given(SOURCES)
@example("[<!channel>](https://a.example)")
@example("![<@U1>](https://a.example)")
@example("[x](https://a.example/<!channel>)")
@example("&#60;!channel&#62;")
@example("```\n```\n<!channel>\n```")
def test_nothing_of_a_text_is_a_mention_or_a_tag_in_slack(source: str) -> None:
    left = _OURS.sub("", to_slack(source))

    assert "<" not in left
    assert not re.search(r">(?! |$)", left, re.MULTILINE)
    assert not re.search(r"&(?!amp;|lt;|gt;)", left)


# -- Telegram and HTML ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("**b** *i* ~~s~~ `c`", "<b>b</b> <i>i</i> <s>s</s> <code>c</code>"),
        ("# Head", "<b>Head</b>"),
        ('<script>x</script> &amp; & "', "&lt;script&gt;x&lt;/script&gt; &amp; &amp; &quot;"),
        ("```py\nx < 1\n```", '<pre><code class="language-py">x &lt; 1</code></pre>'),
        ('```"><b>\nx\n```', "<pre>&quot;&gt;&lt;b&gt;\nx</pre>"),
        ("```\nnever closed", "<pre>never closed</pre>"),
        ("    indented", "<pre>indented</pre>"),
        ("_*[]()~`>#+-=|{}.!", "_*[]()~`&gt;#+-=|{}.!"),
        ('[a](https://a.example/?x=1&y="2)', '<a href="https://a.example/?x=1&amp;y=%222">a</a>'),
        ("[t](tg://user?id=1)", "t (tg://user?id=1)"),
        ("> a\n>\n> > b", "<blockquote>a\n\n&gt; b</blockquote>"),
        ("- a\n  1. b", "• a\n  1. b"),
        ("> ```\n> a\n>\n> b\n> ```", "<blockquote><pre>a\n\nb</pre></blockquote>"),
    ],
)
def test_telegram_gets_its_own_html(source: str, expected: str) -> None:
    assert to_telegram(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("**b** *i* `c`", "<p><strong>b</strong> <em>i</em> <code>c</code></p>"),
        ("a\nb", "<p>a<br>\nb</p>"),
        ("# Head", "<p><strong>Head</strong></p>"),
        ("<img src=x onerror=y>", "<p>&lt;img src=x onerror=y&gt;</p>"),
        ("[a](https://a.example)", '<p><a href="https://a.example" rel="nofollow">a</a></p>'),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("3. a", '<ol start="3">\n<li>a</li>\n</ol>'),
        ("> q", "<blockquote>\n<p>q</p>\n</blockquote>"),
        ("~~no~~ yes", "<p>~~no~~ yes</p>"),
        ("#", "<p>#</p>"),
        ("two\nlines\n---", "<p><strong>two<br>\nlines</strong></p>"),
        ("```\na\n\nb\n```", "<pre>a\n\nb</pre>"),
    ],
)
def test_support_tools_get_a_small_part_of_html(source: str, expected: str) -> None:
    assert to_html(source) == expected


@given(SOURCES)
def test_tags_are_balanced_and_known_whatever_a_text_holds(source: str) -> None:
    read(to_telegram(source), TELEGRAM)
    read(to_html(source), HTML)


@each_renderer
@given(source=SOURCES)
def test_a_text_that_says_something_never_becomes_nothing(render: Callable[[str], str], source: str) -> None:
    said = re.compile("word|sentence|xxx|" + ARABIC)

    assert said.search(render(source)) or not said.search(source)


@each_renderer
@given(source=st.text("abc de*_~`#>-+[]()!|\\<&\n", max_size=200))
def test_every_letter_of_a_text_is_shown_in_order(render: Callable[[str], str], source: str) -> None:
    shown = "".join(read(render(source), HTML | TELEGRAM).read) if render in {to_html, to_telegram} else render(source)
    shown = shown if render is not to_slack else shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")

    # A target in brackets is shown with its escapes, or not at all where it is empty; only these add or take letters.
    if "](" not in source:
        assert re.sub("[^a-e]", "", shown) == re.sub("[^a-e]", "", source)


# -- direction and control characters -------------------------------------------------------------------------------------------


@each_renderer
@given(source=SOURCES)
def test_no_line_turns_the_direction_of_the_next_one(render: Callable[[str], str], source: str) -> None:
    shown = render(source)

    assert not re.search("[\u202a-\u202e]", shown)
    for line in shown.split("\n"):
        depth = 0
        for sign in re.findall("[\u2066-\u2069]", line):
            depth += -1 if sign == "\u2069" else 1
            assert depth >= 0
        assert depth == 0


def test_overrides_are_left_out_and_isolates_closed_even_when_written_as_entities() -> None:
    assert to_plain("a\u202eb\u202cc &#x202e;d") == "abc d"
    assert to_plain("\u2067" + ARABIC + " x") == "\u2067" + ARABIC + " x\u2069"
    assert to_plain("a\u2069b") == "ab"
    assert to_slack("```\n\u2066x\n```") == "```\n\u2066x\u2069\n```"


@each_renderer
def test_what_cannot_be_sent_is_replaced(render: Callable[[str], str]) -> None:
    shown = render("a\ud800b\x00c\x1bd")

    assert shown.encode()
    assert not re.search("[\x00-\x08\x1b]", shown)


@each_renderer
def test_texts_made_to_be_slow_or_deep_are_shown_as_they_are_written(render: Callable[[str], str]) -> None:
    begun = time.monotonic()
    for source in (
        "![" * 75_000,
        "[" * 150_000,
        "> " * 75_000 + "x",
        "- " * 200 + "x",
        "\n".join(" " * 2 * n + "- x" for n in range(99)),
    ):
        assert render(source).count("x") >= source.count("x")

    assert time.monotonic() - begun < 5


# -- parts ----------------------------------------------------------------------------------------------------------------------


def test_a_text_that_fits_is_its_only_part_unchanged() -> None:
    for text in ("", "a", "\n a \r\n", "```\nx"):
        assert split(text, within(100)) == (text,)


@given(SOURCES, st.integers(1, 120))
def test_parts_carry_the_whole_text_within_the_limit_and_none_is_empty(source: str, limit: int) -> None:
    parts = split(source, within(limit))

    assert parts
    assert carried(parts, source)
    if source.strip():
        assert all(part.strip() and len(part) <= limit for part in parts)


@given(SOURCES, st.integers(40, 120))
def test_parts_are_within_the_limit_in_utf_16_units_once_they_are_html(source: str, limit: int) -> None:
    parts = split(source, lambda part: utf16(to_telegram(part)) <= limit)

    assert carried(parts, source)
    for part in parts:
        assert utf16(to_telegram(part)) <= limit or not source.strip()
        read(to_telegram(part), TELEGRAM)
        assert "<" not in _OURS.sub("", to_slack(part))


@given(
    st.lists(
        st.sampled_from([FAMILY, FLAG, ACCENTED, HANGUL, ARABIC, "नि", "👍🏽", "a", " ", " \u0301", "\n", "🇫", "क्ष"]), min_size=1
    ).map("".join),
    st.integers(12, 40),
)
def test_no_grapheme_is_cut(source: str, limit: int) -> None:
    parts = split(source, within(limit))

    assert [found for part in parts for found in graphemes(part)] == graphemes(source)


@given(SOURCES)
@settings(max_examples=30)
def test_splitting_ends_even_if_nothing_fits(source: str) -> None:
    parts = split(source, lambda part: False)

    assert carried(parts, source)


def test_a_grapheme_longer_than_the_limit_is_cut_between_code_points() -> None:
    source = "a" + "\u0301" * 100

    assert "".join(split(source, within(40))) == source
    assert max(map(len, split(source, within(40)))) == 40


@pytest.mark.parametrize("units", [4095, 4096, 4097])
def test_telegram_counts_in_utf_16_units(units: int) -> None:
    text = "😀" * (units // 2) + "x" * (units % 2)
    parts = split(text, within(4096, utf16))

    assert utf16(text) == units
    assert len(parts) == 1 + (units > 4096)
    assert "".join(parts) == text


def test_2049_emoji_are_two_parts() -> None:
    assert [len(part) for part in split("😀" * 2049, within(4096, utf16))] == [2048, 1]


@pytest.mark.parametrize(
    ("source", "limit", "expected"),
    [
        ("aaa aaa aaa.\n\nbbb bbb.\nccc", 23, ("aaa aaa aaa.", "bbb bbb.\nccc")),
        ("One two. Three four.\nFive six. Seven", 24, ("One two. Three four.", "Five six. Seven")),
        ("One two three. Four five.", 22, ("One two three.", "Four five.")),
        ("aaaa bbbb cccc", 10, ("aaaa bbbb", "cccc")),
        ("aaaa bbbbbbbbbbbb", 10, ("aaaa bbbbb", "bbbbbbb")),
        ("see the [long label](https://a.example) now", 36, ("see the", "[long label](https://a.example) now")),
        ("call `some code here` twice, please", 22, ("call `some code here`", "twice, please")),
        ("it is **very much so** today", 20, ("it is", "**very much so**", "today")),
        ("# Title\n\naaaa bbbb\n\n# Next\n\ncccc", 24, ("# Title\n\naaaa bbbb", "# Next\n\ncccc")),
        (
            "One two three four five.\n\nSix seven. Eight nine ten eleven.",
            42,
            ("One two three four five.", "Six seven. Eight nine ten eleven."),
        ),
        ("x - y z 1. q", 8, ("x - y", "z 1. q")),
    ],
)
def test_cuts_are_where_a_reader_would_make_them(source: str, limit: int, expected: tuple[str, ...]) -> None:
    assert split(source, within(limit)) == expected


@pytest.mark.parametrize(
    ("source", "limit", "expected"),
    [
        ("```py\naaaa\nbbbb\ncccc\n```\nend", 22, ("```py\naaaa\nbbbb\n```", "```py\ncccc\n```\nend")),
        ("```py\naaaa\nbbbb\ncccc", 19, ("```py\naaaa\nbbbb\n```", "```py\ncccc")),
        ("````\n```\naaaa\nbbbb\n````", 20, ("````\n```\naaaa\n````", "````\nbbbb\n````")),
        ("```\n  aaaa\n    bbbb\n```", 18, ("```\n  aaaa\n```", "```\n    bbbb\n```")),
        ("> ```\n> aaaa\n> bbbb\n> ```\n> end", 20, ("> ```\n> aaaa\n> ```", "> ```\n> bbbb\n> ```", "> end")),
        ("- x\n\n  ```\n  aaaa\n  bbbb\n  ```\n- y", 25, ("- x\n\n  ```\n  aaaa\n  ```", "```\nbbbb\n```\n- y")),
        ("1. aaaa\n   bbbb\n2. cccc\n3. dddd", 22, ("1. aaaa\n   bbbb", "2. cccc\n3. dddd")),
        ("1. aaaa bbbb\n   cccc dddd\n2. eeee", 20, ("1. aaaa bbbb", "cccc dddd\n\n2. eeee")),
        ("> aaaa bbbb cccc", 12, ("> aaaa bbbb", "> cccc")),
        ("- aaaa\n    - bbbb\n    - cccc\n- dddd", 24, ("- aaaa\n    - bbbb", "- cccc\n- dddd")),
    ],
)
def test_code_quotes_and_lists_go_on_in_the_next_part(source: str, limit: int, expected: tuple[str, ...]) -> None:
    assert split(source, within(limit)) == expected


PARAGRAPHS = st.lists(
    st.sampled_from(["alpha", "beta.", FAMILY, "`code x`", "**bold y**", "[label z](https://a.example/x)", "snake_case"]),
    min_size=1,
    max_size=12,
).map(" ".join)
FENCES = st.lists(st.sampled_from(["x = 1", "    y()", "", "# z", "- q", "**no**", "\t<b>", "[n](o)"]), min_size=1, max_size=8).map(
    lambda lines: "```py\n" + "\n".join(["first", *lines, "last"]) + "\n```"
)


def prefixed(text: str, first: str, others: str) -> str:
    return first + text.replace("\n", "\n" + others)


def containers(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    blocks = st.lists(inside, min_size=1, max_size=3).map("\n\n".join)
    bullets = st.lists(blocks.map(lambda text: prefixed(text, "- ", "  ")), min_size=1, max_size=3).map("\n".join)
    numbers = st.lists(blocks, min_size=1, max_size=3).map(
        lambda texts: "\n".join(prefixed(text, f"{number}. ", "   ") for number, text in enumerate(texts, 1))
    )
    return bullets | numbers | blocks.map(lambda text: prefixed(text, "> ", "> "))


DOCUMENTS = st.lists(st.recursive(PARAGRAPHS | FENCES, containers, max_leaves=6), min_size=1, max_size=4).map("\n\n".join)


@given(DOCUMENTS, st.integers(60, 200))
@settings(max_examples=50)
def test_what_is_code_and_what_is_not_stays_so_in_every_part(source: str, limit: int) -> None:
    def shown(text: str) -> str:
        return re.sub(r"\d+\.|[\s>]", "", to_plain(text))

    assert "".join(map(shown, split(source, within(limit)))) == shown(source)


LONG = {
    "paragraphs": "Hello **bold** world, this is a sentence with `code` and [a link](https://a.example/x). " * 5
    + "\n\n- a\n- b\n\n",
    "one paragraph": "This is a sentence that goes on and on. ",
    "code": "```py\n" + "    x = 1\n" * 20_000 + "```\n",
    "one word": "a",
    "families": FAMILY,
    "ideographs": "漢字。",
    "quotes": "> quoted words here\n",
}


@pytest.mark.parametrize("name", LONG)
def test_150000_characters_are_split_in_a_moment(name: str) -> None:
    source = (LONG[name] * (150_000 // len(LONG[name]) + 1))[:150_000]
    asked = 0

    def fits(part: str) -> bool:
        nonlocal asked
        asked += len(part)
        return len(part) <= 4000

    begun = time.process_time()
    parts = split(source, fits)

    assert time.process_time() - begun < 2
    assert len(parts) < 60
    # The whole text once, then a few candidates of the length of a part for each part.
    assert asked < 10 * 150_000


def test_a_short_title_or_end_does_not_slow_the_rest_down() -> None:
    source = "# T\n\n" + "word " * 30_000
    calls = 0

    def fits(part: str) -> bool:
        nonlocal calls
        calls += 1
        return len(part) <= 4000

    assert min(map(len, split(source, fits)[:-1])) > 2000
    assert calls < 20 * 40
