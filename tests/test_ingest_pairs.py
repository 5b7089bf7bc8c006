"""Pairs of questions and answers: the headers and shapes people export, and each bad row by its number."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Unreadable
from engine.ingest_json import read_json
from engine.ingest_markdown import Document
from engine.ingest_pairs import MOST_NAMED, MOST_QUESTIONS, read_lines, read_table

pytestmark = pytest.mark.one_redis


def said(document: Document) -> dict[str, tuple[str, ...]]:
    return {draft.text: draft.questions for draft in document.drafts}


@pytest.mark.parametrize(
    "table",
    [
        "question,answer\nWhere?,Here.\nWhere is it?,Here.\n",
        "Question;Answer;\r\nWhere?;Here.;\r\nWhere is it?;Here.;\r\n",
        "sep=;\nFrage;Antwort\nWhere?;Here.\nWhere is it?;Here.\n",
        "Q\tA\nWhere?\tHere.\nWhere is it?\tHere.\n",
        "id|Question Text|x|Answers\n",
        "Question 1,question_2,ANSWER\nWhere?,Where is it?,Here.\n",
        'Response,"Questions"\nHere.,"Where?\nWhere is it?"\n',
        "answer,questions,title\nHere.,Where? | Where is it?,Not a question\n",
        "问题,答案\nWhere?,Here.\nWhere is it?,Here.\n",
    ],
)
def test_a_table_is_read_by_the_usual_names_of_its_columns(table: str) -> None:
    if "Question Text" in table:
        with pytest.raises(Unreadable, match="rename its columns"):
            read_table(table)
        return
    assert said(read_table(table)) == {"Here.": ("Where?", "Where is it?")}


def test_a_table_tells_link_language_and_topic_of_each_answer() -> None:
    (draft,) = read_table("category,language,url,question,answer\nOrders > Returns,de,r.html,Wie?,So.\n").drafts

    assert (draft.heading, draft.language, draft.link) == (("Orders", "Returns"), "de", "r.html")


def test_bad_rows_are_named_and_the_others_are_read() -> None:
    found = read_table("question,answer\nWhere?,Here.\n,Lost\nWho?,\nWhen?,On Monday, or so\n\nHow?,So.\n")

    assert said(found) == {"Here.": ("Where?",), "So.": ("How?",)}
    assert [place for place, _ in found.skipped] == ["row 3", "row 4", "row 5"]
    assert "quotation marks" in found.skipped[2][1]


def test_a_quotation_mark_that_is_never_closed_is_named_by_its_row() -> None:
    with pytest.raises(Unreadable, match=r"row 3 \(line \d+\) cannot be read"):
        read_table('question,answer\nWhere?,Here.\nHow?,"So\n' + "more\n" * 50_000)


def test_objects_are_read_one_a_line_in_every_shape_of_phrasings() -> None:
    lines = [
        {"questions": ["a?", "A?", "b?"], "answer": "yes", "link": "x.html"},
        {"question": "c?", "answer": " Yes "},
        {"q": "d?", "alternatives": ["e?"], "a": "no"},
        {"question_1": "f?", "question_2": "g?", "answer": "no"},
        {"input": "h?", "output": "maybe", "title": "i?"},
    ]

    found = read_lines("\ufeff".lstrip("\ufeff") + "\n".join(map(json.dumps, lines)))

    assert said(found) == {"yes": ("a?", "b?", "c?"), "no": ("d?", "e?", "f?", "g?"), "maybe": ("h?", "i?")}
    assert found.drafts[0].link == "x.html"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "no JSON"),
        ("[1]", "no object"),
        ('{"question": "a?"}', "no answer"),
        ('{"answer": "a"}', "no question"),
        ('{"question": {"x": 1}, "answer": "a"}', "neither a text nor a list"),
        ('{"question": "a?", "answer": 5}', "neither a text nor a list"),
        ('{"question": "a?", "answer": "' + "x" * 9_000 + '"}', "longer than 8000 bytes"),
        ('{"question": "' + "x" * 3_000 + '", "answer": "a"}', "longer than 2000 bytes"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong_with_it(line: str, why: str) -> None:
    found = read_lines(f'{{"question": "ok?", "answer": "ok"}}\n{line}\n')

    assert said(found) == {"ok": ("ok?",)}
    ((place, reason),) = found.skipped
    assert place == "line 2"
    assert why in reason


def test_a_file_of_nothing_but_bad_rows_names_some_and_counts_the_rest() -> None:
    found = read_lines("x\n" * 1_000)

    assert len(found.skipped) == MOST_NAMED + 1
    assert found.skipped[-1] == ("", f"{1_000 - MOST_NAMED} more rows could not be read")


def test_an_answer_takes_only_so_many_phrasings() -> None:
    found = read_lines("\n".join(json.dumps({"question": f"{n}?", "answer": "a"}) for n in range(MOST_QUESTIONS + 2)))

    assert len(found.drafts[0].questions) == MOST_QUESTIONS
    assert len(found.skipped) == 2


def test_a_json_list_of_pairs_is_read_as_its_lines_would_be() -> None:
    pairs = [{"question": "a?", "answer": "b"}, {"question": "c?"}]

    for whole in (pairs, {"faq": pairs}):
        found = read_json(json.dumps(whole))
        assert said(found) == {"b": ("a?",)}
        assert found.skipped == (("item 2", "it has no answer"),)
    with pytest.raises(Unreadable, match="line 2 is no JSON"):
        read_json('[\n{"a" 1}]')
    with pytest.raises(Unreadable, match="single value"):
        read_json("5")


@given(st.text(alphabet="question,answer;\"'\n\r\t|xa ", max_size=200))
@settings(max_examples=60)
def test_any_table_is_read_or_refused(table: str) -> None:
    try:
        found = read_table(table)
    except Unreadable:
        return
    assert all(draft.questions and draft.text for draft in found.drafts)


@given(
    st.lists(
        st.one_of(st.text(max_size=40), st.recursive(st.none() | st.integers() | st.text(max_size=9), st.lists).map(json.dumps))
    )
)
@settings(max_examples=60)
def test_any_lines_and_any_json_are_read_or_refused(lines: list[str]) -> None:
    for draft in read_lines("\n".join(lines)).drafts:
        assert draft.questions
    for line in lines:
        try:
            read_json(line)
        except Unreadable:
            continue  # What is no JSON is refused; the property is that nothing else is raised.
