"""Reading files and folders into passages: each kind, what is left out and why, and bounds on all of it."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Unreadable
from engine.ingest import Limits, Reading, read
from engine.ingest_cut import MOST, MOST_CODE, Block, pieces, size
from engine.ingest_text import text_of

pytestmark = pytest.mark.one_redis

HELP = """---
title: Help
language: en-GB
---
# Help of the shop

Everything about orders.

## How do I return something?

Print the [label](labels.md#print), then send it back.

## Prices

| plan | price |
|---|---|
| small | 3 |
"""


def reasons(reading: Reading) -> dict[str, str]:
    return dict(reading.skipped)


# -- folders --------------------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_with_the_links_of_its_files_joined_to_its_own(tmp_path: Path) -> None:
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "help page.md").write_text(HELP)
    (tmp_path / "faq.csv").write_text("question,answer,link\nWhere is it?,On its way.,guide/track.html\nHow big?,As a shoe box.,\n")

    found = read(str(tmp_path), link="https://shop.example/docs").passages

    assert [(one.document, one.link) for one in found] == [
        ("faq.csv", "https://shop.example/docs/guide/track.html"),
        ("faq.csv", ""),
        ("guide/help page.md", "https://shop.example/docs/guide/help%20page.md#help-of-the-shop"),
        ("guide/help page.md", "https://shop.example/docs/guide/help%20page.md#how-do-i-return-something"),
        ("guide/help page.md", "https://shop.example/docs/guide/help%20page.md#prices"),
    ]
    assert "[label](https://shop.example/docs/guide/labels.md#print)" in found[3].text
    assert found[3].questions == ("How do I return something?",)
    assert {one.language for one in found[2:]} == {"en"}


def test_one_bad_file_is_named_with_its_reason_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("# Good\n\nThis one can be read.\n")
    (tmp_path / "empty.md").write_text(" \n")
    (tmp_path / "picture.md").write_bytes(b"\x89PNG\0\0\1\2" * 50)
    (tmp_path / "old.txt").write_bytes("Где мой заказ? Он должен был прийти.\n".encode("cp1251"))
    (tmp_path / "letter.docx").write_bytes(b"PK")
    (tmp_path / "front.md").write_text("---\ntitle: [unclosed\n---\nText\n")
    (tmp_path / "only-heading.md").write_text("# Nothing else\n")
    (tmp_path / "big.txt").write_text("word " * 3_000)
    os.mkfifo(tmp_path / "pipe.md")

    found = read(str(tmp_path), limits=Limits(bytes=10_000))

    assert [one.document for one in found.passages] == ["good.md"]
    why = reasons(found)
    assert "empty" in why["empty.md"]
    assert "binary" in why["picture.md"]
    assert "line 1 is not UTF-8" in why["old.txt"]
    assert ".docx is no kind" in why["letter.docx"]
    assert why["front.md"].startswith("line 3: the front matter")
    assert "nothing is said" in why["only-heading.md"]
    assert "larger than" in why["big.txt"]
    assert "no regular file" in why["pipe.md"]


def test_nothing_outside_the_folder_and_nothing_hidden_is_read(tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "kb"
    (secret / "more").mkdir(parents=True)
    (folder / ".git").mkdir(parents=True)
    for path in (secret / "key.md", secret / "more" / "key.md", folder / ".git" / "log.md", folder / ".env.md"):
        path.write_text("secret")
    (folder / "key.md").symlink_to(secret / "key.md")
    (folder / "more").symlink_to(secret / "more")
    (folder / "round").symlink_to(folder)
    (folder / "shown.txt").write_text("Known to all.")

    found = read(str(folder))

    assert [one.text for one in found.passages] == ["Known to all."]
    assert reasons(found) == {
        "key.md": "a link is not followed",
        "more": "a link to a folder is not followed",
        "round": "a link to a folder is not followed",
    }


def test_a_folder_deeper_or_fuller_than_allowed_is_not_read_to_its_end(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "x.md").write_text("deep")
    (tmp_path / "a" / "y.md").write_text("near the top")

    assert reasons(read(str(tmp_path), limits=Limits(depth=1))) == {
        "a": "the folders inside it are not read: they are more than 1 deep"
    }
    with pytest.raises(Unreadable, match="more than 1 files"):
        read(str(tmp_path), limits=Limits(files=1))
    with pytest.raises(Unreadable, match="more than 1 passages"):
        read(str(tmp_path), limits=Limits(passages=1))
    assert all("seconds" in why or " s are over" in why for _, why in read(str(tmp_path), limits=Limits(seconds=0)).skipped)


def test_a_name_that_is_no_text_is_shown_and_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.md")).write_text("Opens at nine.")

    (passage,) = read(str(tmp_path), link="https://x.example/").passages

    assert passage.document == "caf\\xe9.md"
    assert passage.identified() == passage


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="no such file"):
        read(str(tmp_path / "none"))


def test_the_same_content_gets_the_same_ids_wherever_it_lies(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "help.md").write_text(HELP)

    first, second = read(str(tmp_path / "here")), read(str(tmp_path / "there"))

    assert first == second
    assert len({one.id for one in first.passages}) == len(first.passages) == 3


def test_what_a_document_says_twice_under_one_heading_is_kept_once(tmp_path: Path) -> None:
    again = "Call us at 9. " + "We are glad to help you with everything. " * 30
    (tmp_path / "a.md").write_text(f"# A\n\n{again}\n\n# A\n\n{again.upper()}\n\n# A\n\n{again.replace('9', '10')}\n")

    texts = [one.text for one in read(str(tmp_path / "a.md")).passages]

    assert sum("Call us at 9" in text for text in texts) == 1
    assert sum("Call us at 10" in text for text in texts) == 1


def test_facts_in_json_are_sections_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text('{"returns": {"days_allowed": 30, "needs": ["receipt", "box"]}, "gifts": "are wrapped"}')

    found = read(str(tmp_path / "policy.json")).passages

    assert [(one.heading, one.text) for one in found] == [
        ((), "- gifts: are wrapped"),
        (("returns",), "- days allowed: 30\n- needs: receipt; box"),
    ]


# -- encodings ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_a_text_is_read_in_any_encoding_that_can_be_known(encoding: str) -> None:
    text = "Rücksendungen übernehmen wir gerne, für Ihr Päckchen genügt der Aufkleber.\n"

    assert text_of(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("Привет, где мой заказ?", "cp1251"), ("注文はどこですか", "shift_jis"), ("Gdzie jest moje zamówienie? Było złe.", "cp1250")],
)
def test_a_text_in_an_encoding_that_cannot_be_known_is_refused_and_not_garbled(text: str, encoding: str) -> None:
    with pytest.raises(Unreadable, match="line 2 is not UTF-8"):
        text_of(f"first\n{text}\n".encode(encoding))


@given(st.binary(max_size=300))
@settings(max_examples=100)
def test_any_bytes_are_text_or_are_refused(raw: bytes) -> None:
    try:
        text = text_of(raw)
    except Unreadable:
        return
    assert "\0" not in text


# -- cutting --------------------------------------------------------------------------------------------------------------------


def test_long_text_is_cut_between_sentences_and_chinese_into_as_many_tokens() -> None:
    english = pieces([Block("text", "A sentence of no great length stands here. " * 100)])
    chinese = pieces([Block("text", "这是一个不太长的句子。" * 100)])

    assert all(piece.endswith((".", "\N{IDEOGRAPHIC FULL STOP}")) for piece in english + chinese)
    assert all(size(piece) <= MOST for piece in english + chinese)


def test_a_list_is_cut_between_items_a_table_under_its_head_and_code_in_its_fence() -> None:
    items = [f"- item {number} " + "x" * 80 + f"\n  - below {number}" for number in range(40)]
    rows = [f"| {number} | {'y' * 60} |" for number in range(60)]
    code = [f"line_{number} = {'z' * 50}" for number in range(100)]

    lists = pieces([Block("list", "\n".join(items))])
    tables = pieces([Block("table", "\n".join(["| a | b |", "|---|---|", *rows]))])
    codes = pieces([Block("code", "\n".join(["```python", *code, "```"]))])

    assert all(piece.startswith("- item") and "below" in piece.split("\n")[-1] for piece in lists)
    assert all(piece.startswith("| a | b |\n|---|---|\n| ") for piece in tables)
    assert all(piece.startswith("```python\n") and piece.endswith("\n```") for piece in codes)
    assert "\n".join(lists) == "\n".join(items)
    assert len(codes) > 1


def test_code_that_is_not_too_long_and_what_it_is_introduced_with_stay_together() -> None:
    code = "```console\n" + "$ run --with-an-option\n" * 100 + "```"

    assert size(code) < MOST_CODE
    assert pieces([Block("text", "x" * 900 + "."), Block("text", "Run this:"), Block("code", code)])[-1] == f"Run this:\n\n{code}"


@given(st.lists(st.tuples(st.sampled_from(["text", "list", "table", "code"]), st.text(max_size=3_000)), max_size=6))
@settings(max_examples=40)
def test_whatever_is_cut_keeps_its_letters_and_stays_in_bounds(parts: list[tuple[str, str]]) -> None:
    found = pieces([Block(kind, text) for kind, text in parts])  # type: ignore[arg-type]

    assert all(size(piece) <= 2 * MOST_CODE for piece in found)
    letters = {c for _, text in parts for c in text if not c.isspace() and unicodedata.category(c)[0] in "LN"}
    assert letters <= set("".join(found))


def test_a_text_without_any_seam_is_cut_in_linear_time() -> None:
    assert all(size(piece) <= MOST for piece in pieces([Block("text", "x" * 1_000_000)]))
