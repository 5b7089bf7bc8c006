"""People rate replies of two systems blind: in the terminal, on a page, broken off and gone on with; and what is made of it."""

import io
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import hypothesis.strategies as st
import pytest
import uvicorn
from hypothesis import given
from playwright.sync_api import expect, sync_playwright
from rich.console import Console

from engine.errors import EvaluationError
from engine.rating import Choice, Judgement, Pair, Session, judgements, pairs, shown, summary
from tests.conftest import missing, wait_for
from workers import rating, rating_page
from workers.embedded import free_port

CHROMIUM = Path("/usr/bin/chromium")
PAIRS = [Pair(question=f"Question {i}?", replies=(f"Ours {i}.", f"Theirs {i}.")) for i in range(40)]


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def session(tmp_path: Path, *, seed: int = 0, rater: str = "ada", count: int = 3) -> Session:
    return Session.begun(PAIRS[:count], tmp_path / "ratings.jsonl", seed=seed, rater=rater)


# -- what is rated --------------------------------------------------------------------------------------------------------------


def test_two_files_are_joined_by_question_and_equal_replies_are_left_out(tmp_path: Path) -> None:
    first = lines(
        tmp_path / "a.jsonl", {"text": "Hi?", "reply": "Hello."}, {"text": "Ho?", "reply": "Same."}, {"text": "Ha?", "reply": "A"}
    )
    second = lines(tmp_path / "b.jsonl", {"question": "Ho?", "answer": "Same. "}, {"text": "Hi?", "reply": "Yo."})

    assert pairs(first, second) == [Pair(question="Hi?", replies=("Hello.", "Yo."))]


def test_one_file_may_hold_both_systems(tmp_path: Path) -> None:
    one = lines(tmp_path / "a.jsonl", {"text": "Hi?", "a": "Hello.", "b": "Yo."})

    assert pairs(one, None) == [Pair(question="Hi?", replies=("Hello.", "Yo."))]


def test_a_row_without_a_reply_is_named_by_its_line(tmp_path: Path) -> None:
    bad = lines(tmp_path / "a.jsonl", {"text": "Hi?", "reply": "x"}, {"text": "Ho?", "said": "y"})

    with pytest.raises(EvaluationError, match=r"a\.jsonl, line 2: no text in reply or answer; it has text, said"):
        pairs(bad, bad)
    with pytest.raises(EvaluationError, match="nothing to rate"):
        pairs(
            lines(tmp_path / "b.jsonl", {"text": "Hi?", "reply": "x"}), lines(tmp_path / "c.jsonl", {"text": "Hm?", "reply": "x"})
        )


@given(st.integers(0, 10**6))
def test_order_and_sides_depend_on_seed_and_rater_alone(seed: int) -> None:
    once = shown(PAIRS, seed=seed, rater="ada")

    assert once == shown(PAIRS, seed=seed, rater="ada") == shown(reversed(PAIRS), seed=seed, rater="ada")
    assert once != shown(PAIRS, seed=seed, rater="bob")
    assert 5 < sum(one.is_swapped for one in once) < 35


@given(st.booleans(), st.sampled_from(["left", "right"]))
def test_a_choice_of_a_side_is_a_choice_of_the_system_that_stood_there(is_swapped: bool, side: str) -> None:
    one = next(one for one in shown(PAIRS, seed=1, rater="ada") if one.is_swapped is is_swapped)
    chosen = one.left if side == "left" else one.right

    judged = one.judged(side, rater="ada")
    assert one.pair.replies[0 if judged.choice is Choice.FIRST else 1] == chosen
    assert one.pair.replies[0 if judged.left is Choice.FIRST else 1] == one.left


# -- sessions -------------------------------------------------------------------------------------------------------------------


def test_a_session_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    first = session(tmp_path)
    assert first.next
    first.judge(first.next, "tie", note="both fine")
    with (tmp_path / "ratings.jsonl").open("ab") as file:
        file.write(b'{"item": "half a li')

    again = session(tmp_path)
    assert again.progress == (1, 3)
    assert again.next
    assert again.next.pair.id not in first.done


def test_what_was_judged_again_counts_once_and_another_rater_begins_anew(tmp_path: Path) -> None:
    ada = session(tmp_path)
    assert ada.next
    ada.judge(ada.next, "left")
    assert ada.undo()
    ada.judge(ada.next, "right")

    [one] = judgements([tmp_path / "ratings.jsonl"])
    assert (one.choice is one.left) is False
    assert session(tmp_path, rater="bob").progress == (0, 3)


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_text('{"item": 3}\n\n')

    with pytest.raises(EvaluationError, match=r"ratings\.jsonl, line 1: no judgement"):
        judgements([path])


def test_the_terminal_shows_two_replies_and_takes_one_key_each(tmp_path: Path) -> None:
    keys = iter("1x2utq")
    screen = io.StringIO()
    rating.rate(session(tmp_path, count=4), read_key=lambda: next(keys), console=Console(file=screen, width=90))

    found = judgements([tmp_path / "ratings.jsonl"])
    assert len(found) == 2
    text = screen.getvalue()
    assert "Ours" in text
    assert "1 of 4" in text
    assert "u undo" in text
    assert next(keys, None) is None


def test_the_terminal_obeys_nothing_that_a_reply_holds(tmp_path: Path) -> None:
    pair = Pair(question="Hi \x1b[2J?", replies=("\x1b]0;owned\x07", "b"))
    screen = io.StringIO()
    rating.rate(
        Session.begun([pair], tmp_path / "r.jsonl", seed=0, rater="ada"),
        read_key=lambda: "t",
        console=Console(file=screen, width=90),
    )

    assert "\x1b" not in screen.getvalue()


# -- what is made of it ---------------------------------------------------------------------------------------------------------


def judged(*votes: tuple[str, str, Choice]) -> list[Judgement]:
    return [Judgement(item=item, rater=rater, choice=choice, left=Choice.FIRST) for rater, item, choice in votes]


def test_the_summary_counts_a_pair_once_by_its_majority() -> None:
    first, second, tie = Choice.FIRST, Choice.SECOND, Choice.TIE
    found = summary(
        judged(
            ("a", "1", first), ("b", "1", first), ("c", "1", second),
            ("a", "2", second), ("b", "2", first),
            ("a", "3", tie), ("a", "4", second),
        )
    )  # fmt: skip

    assert found["wins"] == {"first": 1, "second": 1, "tie": 2}
    assert found["win_rate"] == 0.5
    assert found["win_rate_without_ties"]["low"] < 0.5 < found["win_rate_without_ties"]["high"]
    assert found["raters"] == {"a": 4, "b": 2, "c": 1}
    assert "kappa" not in found["agreement"]


def test_two_raters_get_kappa_over_what_both_judged() -> None:
    first, second = Choice.FIRST, Choice.SECOND
    votes = [("a", str(i), first if i < 25 else second) for i in range(50)]
    votes += [("b", str(i), first if i < 20 or 25 <= i < 35 else second) for i in range(50)]

    found = summary(judged(*votes, ("a", "extra", first)))
    assert found["agreement"]["kappa"] == pytest.approx(0.4)
    assert found["agreement"]["both"] == 50


def test_a_summary_of_nothing_says_nothing() -> None:
    found = summary([])

    assert found["win_rate"] is None
    assert found["agreement"]["alpha"] is None
    assert not math.isnan(found["win_rate_without_ties"]["low"])


# -- the page -------------------------------------------------------------------------------------------------------------------


@contextmanager
def served(page: rating_page.RatingPage) -> Iterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(page.app(), host=rating_page.HOST, port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{port}/{page.token}/"
    finally:
        server.should_exit = True
        thread.join(10)


def test_the_page_is_for_whoever_has_the_token_and_on_this_machine_alone(tmp_path: Path) -> None:
    one = session(tmp_path)
    with served(rating_page.RatingPage(one)) as url, httpx.Client(trust_env=False) as http:
        root = url.rsplit("/", 2)[0]
        assert http.get(url + "next").json()["total"] == 3
        assert http.get(f"{root}/wrong/next").status_code == 404
        assert http.get(url + "next", headers={"host": "evil.example:80"}).status_code == 404
        assert http.get(url + "../../workers/cli.py").status_code == 404
        assert http.post(url + "judge", content=b"[" * 100_000).status_code in (400, 413)
        assert http.post(url + "judge", content=b"{}").status_code == 400
        assert http.post(url + "judge", json={"item": "nobody", "side": "left"}).status_code == 404
        assert http.post(url + "judge", json={"item": PAIRS[0].id, "side": "up"}).status_code == 400
        assert "'none'" in http.get(url).headers["content-security-policy"]
    assert not one.done


def test_the_page_never_says_which_system_a_reply_is_of(tmp_path: Path) -> None:
    with served(rating_page.RatingPage(session(tmp_path))) as url, httpx.Client(trust_env=False) as http:
        assert set(http.get(url + "next").json()) == {"done", "total", "item", "question", "left", "right"}


def test_a_person_rates_by_keys_and_clicks_in_a_browser(tmp_path: Path) -> None:
    if not CHROMIUM.exists():
        missing(str(CHROMIUM))
    one = session(tmp_path)
    with served(rating_page.RatingPage(one)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.set_default_timeout(10_000)
        tab.goto(url)
        expect(tab.locator("#progress")).to_have_text("0 of 3")
        tab.keyboard.press("n")
        tab.keyboard.type("12 reasons")
        tab.keyboard.press("Escape")
        tab.keyboard.press("1")
        expect(tab.locator("#progress")).to_have_text("1 of 3")
        tab.get_by_role("button", name="Neither is better").click()
        expect(tab.locator("#progress")).to_have_text("2 of 3")
        tab.keyboard.press("u")
        expect(tab.locator("#progress")).to_have_text("1 of 3")
        tab.keyboard.press("t")
        expect(tab.locator("#progress")).to_have_text("2 of 3")
        tab.locator("#right").click()
        expect(tab.locator("#end")).to_be_visible()
        browser.close()

    found = judgements([tmp_path / "ratings.jsonl"])
    assert [judgement.note for judgement in found if judgement.note] == ["12 reasons"]
    assert sum(judgement.choice is Choice.TIE for judgement in found) == 1
