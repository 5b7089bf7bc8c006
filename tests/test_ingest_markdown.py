"""Markdown into passages: headings, anchors, questions, links, and hostile documents."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Unreadable
from engine.ingest_links import Anchors, standing_alone
from engine.ingest_markdown import Draft, read_markdown

pytestmark = pytest.mark.one_redis

BASE = "https://x.example/docs/a.md"


def drafts(text: str, base: str = "") -> tuple[Draft, ...]:
    return read_markdown(text, base=base).drafts


def answers(text: str) -> dict[tuple[str, ...], str]:
    return {draft.questions: draft.text for draft in drafts(text) if draft.questions}


def test_a_passage_knows_the_headings_above_it() -> None:
    found = drafts("Before.\n\n# A\n\nIn A.\n\n## B `code`\n\nIn B.\n\n### C\n\nIn C.\n\n## D\n\nIn D.\n\nE\n===\n\nIn E.\n")

    assert [(draft.heading, draft.text) for draft in found] == [
        ((), "Before."),
        (("A",), "In A."),
        (("A", "B code"), "In B."),
        (("A", "B code", "C"), "In C."),
        (("A", "D"), "In D."),
        (("E",), "In E."),
    ]


def test_a_heading_inside_code_is_none() -> None:
    (found,) = drafts("# A\n\n```sh\n# not a heading\nls\n```\n")

    assert found.heading == ("A",)
    assert "# not a heading" in found.text


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Two commands", "two-commands"),
        ("What's new, really?", "whats-new-really"),
        ("`replymill up` & more", "replymill-up--more"),
        ("Über uns", "über-uns"),
        ("退款 政策", "退款-政策"),
        ("snake_case - and dash", "snake_case---and-dash"),
    ],
)
def test_anchors_are_those_that_github_makes(heading: str, anchor: str) -> None:
    assert Anchors().of(heading.replace("`", "")) == anchor
    assert drafts(f"# {heading}\n\ntext\n")[0].anchor == anchor


def test_a_repeated_heading_gets_a_number_and_one_that_names_its_anchor_keeps_it() -> None:
    found = drafts("# A\n\n1\n\n# A\n\n2\n\n# A-1\n\n3\n\n# A\n\n4\n\n# B {#my-b}\n\n5\n")

    assert [draft.anchor for draft in found] == ["a", "a-1", "a-1-1", "a-2", "my-b"]
    assert found[-1].heading == ("B",)


def test_front_matter_says_title_link_and_language() -> None:
    found = read_markdown(
        "---\ntitle: The guide\nlink: https://x.example/guide\nlanguage: de\n---\nText.\n\n## B\n\n[c](c.html)\n", base=BASE
    )

    assert (found.link, found.language) == ("https://x.example/guide", "de")
    assert [draft.heading for draft in found.drafts] == [("The guide",), ("The guide", "B")]
    assert found.drafts[1].text == "[c](https://x.example/c.html)"
    assert read_markdown('+++\ntitle = "T"\n+++\nText.\n').drafts[0].heading == ("T",)
    assert [draft.text for draft in drafts("---\n\nText.\n\n---\n\nMore.\n")] == ["Text.\n\nMore."]


def test_a_heading_that_asks_makes_its_section_an_answer_with_all_phrasings_above_it() -> None:
    found = answers(
        "# FAQ\n\n### How do I pay?\n\n### 2. Which cards do you take?\n\nAny card.\n\n- Visa\n\n"
        "### Q: Refunds\n\nIn 5 days.\n\n### Imprint\n\nUs.\n"
    )

    assert found == {("How do I pay?", "Which cards do you take?"): "Any card.\n\n- Visa", ("Refunds",): "In 5 days."}


def test_questions_in_bold_with_labels_or_that_unfold_are_answers_too() -> None:
    found = answers(
        "# FAQ\n\n**How do I pay?**\n\nBy card.\n\n**And when?**\nAt once.\n\n"
        "Q: May I return it?\nA: You may.\n\nQ: Really?\n\nA: Yes.\n\n"
        "<details>\n<summary>Is it <b>new</b>?</summary>\n\nIt is.\n\n</details>\n\nNot an answer.\n"
    )

    assert found == {
        ("How do I pay?",): "By card.",
        ("And when?",): "At once.",
        ("May I return it?",): "You may.",
        ("Really?",): "Yes.",
        ("Is it new?",): "It is.",
    }


def test_an_article_under_a_question_is_cut_and_not_given_word_by_word() -> None:
    found = drafts("# Why?\n\n# Why so long?\n\n" + "A long story goes on and on here. " * 200)

    assert len(found) > 3
    assert not any(draft.questions for draft in found)


def test_links_mean_the_same_away_from_their_document() -> None:
    def alone(text: str, base: str = BASE) -> str:
        return standing_alone(text, base, {"REF": {"href": "../r.md"}})

    assert alone('[a](b.md#c "title") ![pic](p.png) <br> [x][ref] [ref]') == (
        "[a](https://x.example/docs/b.md#c) pic   [x](https://x.example/r.md) [ref](https://x.example/r.md)"
    )
    assert (
        alone("[a](b.md) [w](https://w.example/) [j](javascript:alert(1)) [h](#here)", "")
        == "a [w](https://w.example/) [j](javascript:alert(1)) h"
    )
    assert alone("`[a](b.md) <b>` <b>bold</b> <https://w.example>") == "`[a](b.md) <b>` bold <https://w.example>"
    assert alone("[![badge](b.svg)](ci.html)") == "[badge](https://x.example/docs/ci.html)"
    assert alone("[d](data:text/html,x)", "") == "d"


#: Two to the power of sixty words, in two kilobytes.
LAUGHS = "a0: &a0 [x,x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1},*a{n - 1}]\n" for n in range(1, 60)) + "title: *a59\n"


@pytest.mark.parametrize("front", ["title: " + "[" * 3_900, LAUGHS], ids=["deep", "laughs"])
def test_hostile_front_matter_is_refused_or_harmless(front: str) -> None:
    began = time.perf_counter()
    try:
        found = drafts(f"---\n{front}\n---\nText.\n")
    except Unreadable as error:
        assert "front matter" in str(error)  # noqa: PT017 - either way is right
    else:
        assert [draft.heading for draft in found] == [()]
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        ">" * 50_000,
        "- " * 20_000,
        "[" * 50_000,
        "[a](" * 20_000,
        "<!--" * 50_000,
        "<summary>" * 20_000,
        "*_" * 30_000,
        "`" * 60_000,
        "# " + "?" * 60_000,
        "|" * 60_000 + "\n" + "-|" * 30_000,
        "<a " * 30_000,
        "**Q: " * 20_000,
        "![" * 30_000,
    ],
    ids=lambda text: text[:4],
)
def test_hostile_markdown_takes_no_time_to_speak_of(text: str) -> None:
    began = time.perf_counter()
    drafts(text, BASE)

    assert time.perf_counter() - began < 5


@given(st.text(alphabet="#ab?\n-*_`[]()<>|:! \t>1.{}&", max_size=300))
@settings(max_examples=100)
def test_any_markdown_at_all_is_read(text: str) -> None:
    for draft in drafts(text, BASE):
        assert draft.text.strip()
