"""`replymill eval`: what is read, what is measured, how reports are written, compared and held against gates."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from engine import cases, comparison, public_sets
from engine.cases import Case, Cases
from engine.comparison import Gate
from engine.encoder import Encoder
from engine.errors import EvaluationError
from engine.evaluate import PARTS, chosen, evaluate
from engine.evaluated import Report
from engine.evaluation import Options, Run
from engine.knowledge import Hit, Passage
from engine.knowledge_loading import Given
from engine.knowledge_store import KnowledgeStore
from engine.messages import Role
from engine.model import Model
from engine.near_memory import NearMemory
from engine.retrieval import Index
from engine.settings import Settings
from engine.store import connect
from engine.subject import Origin, Subject, Vectors
from engine.text_quality import nearness
from tests.evaluation import stream_rows
from workers import cli, evaluating, report_page

ROOT = Path(__file__).parents[1]


class Letters:
    """A small encoder: how often each pair of letters stands in a text."""

    identity = "letters"
    dimension = 512

    def encode(self, texts: Sequence[str]) -> Vectors:
        found = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            folded = f" {text.casefold()} "
            for a, b in pairwise(folded):
                found[row, (ord(a) * 31 + ord(b)) % self.dimension] += 1
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), np.float32)


ANSWERS = {
    "hours": ("We are open from nine to five.", "When are you open?", "What are your opening hours?", "Are you open on Monday?"),
    "returns": ("Send it back within 30 days.", "How do I return it?", "Can I send it back?", "What is your return policy?"),
    "pay": ("We take cards and PayPal.", "How can I pay?", "Do you take cards?", "Which payment methods are there?"),
}
KNOWN = [
    Case(question=question, label=label, reference=answer) for label, (answer, *asked) in ANSWERS.items() for question in asked
]
ASKED = [
    Case(question="When do you open on Monday?", label="hours", reference="We are open from nine to five."),
    Case(question="Can I return it?", label="returns", reference="Send it back within 30 days."),
    Case(question="Do you take PayPal and cards?", label="pay"),
    Case(question="How do I send it back, please?", label="returns"),
    Case(question="Qwzx vbnm jkpl?", oos=True),
]


def subject(**changes: Any) -> Subject:
    encoder, passages = Letters(), cases.knowledge(KNOWN, phrasings=3)
    vectors = encoder.encode([text for passage in passages for text in passage.searched])

    def assess(question: str, hits: Sequence[Hit], vector: Vectors) -> float:
        return max(0.0, min(1.0, hits[0].cosine)) if hits else 0.0

    return Subject(**{"encoder": encoder, "index": Index.build(passages, vectors), "assess": assess, **changes})


def ran(asked: Sequence[Case] = ASKED, *parts: str, **options: Any) -> Run:
    wanted = Options(parts=frozenset(parts or PARTS), **options)
    return evaluate(Cases(list(asked)), subject(), wanted, name="shop", progress=lambda *_: None)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows))
    return path


# -- what is read ---------------------------------------------------------------------------------------------------------------


def test_fields_go_by_several_names_and_unknown_ones_are_counted(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "own.jsonl",
        {"question": "Hi?", "key": "hello", "answer": "Hello.", "language": "en", "topic": 1},
        "",
        {"text": "Weather?", "intent": "oos", "topic": 2, "nmae": "x"},
        {"query": "Geöffnet?", "label": 7},
    )
    found = cases.read([path])

    assert [case.question for case in found.cases] == ["Hi?", "Weather?", "Geöffnet?"]
    assert (found.cases[0].label, found.cases[0].reference) == ("hello", "Hello.")
    assert (found.cases[1].oos, found.cases[1].label) == (True, "")
    assert found.cases[2].label == "7"
    assert found.ignored == {"topic": 2, "nmae": 1}


def test_a_conversation_asks_by_its_last_turn(tmp_path: Path) -> None:
    turns = [{"role": "user", "text": "I bought shoes."}, {"role": "assistant", "content": "Nice."}, ["user", "Can I return them?"]]
    [first, second] = cases.read([lines(tmp_path / "a.jsonl", {"turns": turns}, {"turns": ["Hi", "Hello!", "Open today?"]})]).cases

    assert first.question == "Can I return them?"
    assert [turn.role for turn in first.turns] == [Role.USER, Role.ASSISTANT]
    assert second.question == "Open today?"
    assert [turn.role for turn in second.turns] == [Role.USER, Role.ASSISTANT]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{not json", "line 2: not JSON"),
        ("[" * 100_000, "line 2: not JSON"),
        ("[1]", "line 2: list instead of an object"),
        ({"label": "x"}, "line 2: no question"),
        ({"text": "   "}, "line 2: no question"),
        ({"text": ["a"]}, "line 2: text is list, but must be text"),
        ({"text": "a", "oos": "yes"}, "line 2: oos is 'yes', but must be true or false"),
        ({"text": "a", "question": "b"}, "line 2: question says again, and otherwise, what text is"),
        ({"turns": "a"}, "line 2: turns is str, but must be a list"),
        ({"turns": [{"role": "king", "text": "a"}]}, "line 2, turn 1: the role must be"),
        ({"turns": [3]}, "line 2, turn 1: neither a text nor"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path: Path, row: object, said: str) -> None:
    with pytest.raises(EvaluationError, match=re.escape(said)):
        cases.read([lines(tmp_path / "own.jsonl", {"text": "fine"}, row)])


def test_bytes_that_are_no_text_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "with a mark"}\n{"text": "\xff"}\n')
    with pytest.raises(EvaluationError, match="line 2: not JSON"):
        cases.read([tmp_path / "a.jsonl"])
    with pytest.raises(EvaluationError, match="has no question"):
        cases.read([lines(tmp_path / "b.jsonl")])
    with pytest.raises(EvaluationError, match="cannot be read"):
        cases.read([tmp_path / "none.jsonl"])


def test_knowledge_is_made_of_labelled_questions_the_same_for_the_same_seed() -> None:
    made = cases.knowledge([*KNOWN, *(Case(question=f"x{i}?", oos=True) for i in range(3))], phrasings=2)

    assert [(passage.document, len(passage.questions)) for passage in made] == [("hours", 2), ("pay", 2), ("returns", 2)]
    assert made[0].text == "We are open from nine to five."
    assert made == cases.knowledge(list(reversed(KNOWN)), phrasings=2)
    assert [p.questions for p in made] != [p.questions for p in cases.knowledge(KNOWN, phrasings=2, seed=4)]


def test_a_public_set_is_held_out_without_a_question_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "banking77").mkdir()
    rows = [{"text": f"question {i}", "intent": f"i{i % 3}"} for i in range(60)]
    lines(tmp_path / "banking77" / "train.jsonl", *rows)
    lines(tmp_path / "banking77" / "test.jsonl", {"text": "question 3", "intent": "i0"}, {"text": "new", "intent": "i1"})

    final, known = public_sets.load("banking77", str(tmp_path), is_development=False)
    assert [case.question for case in final.cases] == ["new"]
    assert len(known) == 60
    held, fewer = public_sets.load("banking77", str(tmp_path), is_development=True)
    assert not {case.question for case in held.cases} & {case.question for case in fewer}
    assert len(held.cases) + len(fewer) == 60
    assert len(held.cases) > 15


def test_a_set_that_is_not_there_is_explained() -> None:
    with pytest.raises(EvaluationError, match="no such file, and no such set: nothing; the sets are banking77"):
        public_sets.load("nothing", "", is_development=False)
    with pytest.raises(EvaluationError, match="set REPLYMILL_EVAL_DATA"):
        public_sets.load("hwu64", "", is_development=False)
    with pytest.raises(EvaluationError, match=r"hwu64/train\.jsonl is not there"):
        public_sets.load("hwu64", "/nowhere", is_development=False)


# -- what is measured -----------------------------------------------------------------------------------------------------------


def test_search_labels_confidence_and_cache_are_measured_in_one_run() -> None:
    report = ran(ASKED, "retrieval", "labels", "abstention", "cache").report
    figures = report.figures

    assert report.complete
    assert figures["retrieval.recall@1"].value == 1.0
    assert figures["retrieval.recall@1"].low == pytest.approx(0.3976, abs=1e-3)
    assert figures["retrieval.mrr"].cases == 4
    assert figures["labels.accuracy"].value == pytest.approx(0.8)
    assert figures["abstention.oos_auroc"].value == 1.0
    assert figures["abstention.coverage"].value == 1.0
    assert "abstention.target" in report.skipped
    assert figures["cache.hit_rate"].value == 0.0
    assert report.curves["coverage"][-1][0] == 1.0


def test_a_threshold_turns_what_is_unsure_into_silence() -> None:
    report = ran(ASKED, "labels", "abstention", threshold=0.45).report

    assert report.figures["labels.accuracy"].value == 1.0
    assert report.figures["abstention.precision"].value == 1.0
    assert report.figures["abstention.coverage"].value == pytest.approx(0.8)


def test_a_repeated_question_is_a_hit_and_a_wrong_one_is_counted_as_such() -> None:
    asked = [Case(question="Open?", label="hours")] * 3 + [Case(question="open?", label="returns")]
    figures = ran(asked, "cache").report.figures

    assert figures["cache.hit_rate"].value == 0.75
    assert figures["cache.wrong_rate"].cases == 3
    assert figures["cache.wrong_rate"].value in {1 / 3, 1.0}


def test_an_entry_is_right_by_any_of_its_names_or_by_its_answer() -> None:
    [passage] = [passage for passage in cases.knowledge(KNOWN, phrasings=3) if passage.document == "hours"]
    asked = [Case(question=ASKED[0].question, label=passage.id), Case(question=ASKED[0].question, label=passage.title)]
    asked.append(Case(question=ASKED[0].question, reference="we are open from NINE to five. "))

    assert ran(asked, "retrieval").report.figures["retrieval.recall@1"].value == 1.0


def test_what_cannot_be_told_says_why() -> None:
    unlabelled = ran([Case(question="Open?")], "retrieval", "labels", "abstention", "cache", "replies").report
    foreign = ran([Case(question="Open?", label="nowhere")], "retrieval").report

    assert unlabelled.skipped["retrieval"] == "no case has a label or a reference answer"
    assert set(unlabelled.skipped) == {"retrieval", "labels", "abstention", "cache", "replies"}
    assert "no label is the document" in foreign.skipped["retrieval"]
    assert foreign.figures == {}


def test_an_unknown_part_is_refused_before_anything_runs() -> None:
    with pytest.raises(EvaluationError, match="no such part: recall; there are retrieval, labels"):
        ran(ASKED, "recall")


def test_given_replies_are_judged_against_references() -> None:
    asked = [
        Case(question="Open?", reference="We are open from nine to five.", reply="We are open from nine to five."),
        Case(question="Pay?", reference="We take cards and PayPal.", reply="Bananas only"),
    ]
    figures = ran(asked, "replies").report.figures

    assert figures["replies.answered"].value == 1.0
    assert 0 < (figures["replies.bleu"].value or 0) < 1
    assert figures["replies.rouge_l"].value == pytest.approx(0.5)
    assert 0.4 < (figures["replies.similarity"].value or 0) < 1


def test_replies_are_made_by_the_model_and_their_time_tokens_and_cost_told(tiny_model: Path) -> None:
    model = Model.load(tiny_model, Settings(compute_type="float32", replicas=1, max_tokens=8, system_prompt="Be brief."))
    asked = [Case(question=case.question, reference=case.reference or "Yes.", turns=case.turns) for case in ASKED[:3]]
    options = Options(parts=frozenset({"replies"}), batch=2, price=3.6)
    run = evaluate(Cases(asked), subject(model=model, is_verbatim=False), options, name="shop", progress=lambda *_: None)
    model.close()
    figures = run.report.figures

    assert [answer.origin for answer in run.answers.values()] == [Origin.MODEL] * 3
    assert figures["replies.model"].value == 1.0
    assert 0 < (figures["replies.tokens"].value or 0) <= 8
    assert (figures["replies.perplexity"].value or 0) > 1
    assert math.log(figures["replies.perplexity"].value or 0) == pytest.approx(figures["replies.loss"].value, rel=0.5)
    seconds = 1 / (figures["replies.per_s"].value or 0)
    assert figures["replies.cost_per_1000"].value == pytest.approx(seconds)
    assert figures["replies.grounded"].cases == len([answer for answer in run.answers.values() if answer.text])


def test_what_is_sure_is_given_word_by_word_and_what_is_not_is_handed_over() -> None:
    run = ran(ASKED, "retrieval", threshold=0.45)
    given = run.subject.answer(
        [(case, hits, sure >= 0.45) for case, hits, sure in zip(ASKED, run.hits, run.confidence, strict=True)]
    )

    assert [answer.origin for answer in given] == [Origin.VERBATIM] * 4 + [Origin.NOBODY]
    assert given[1].text == "Send it back within 30 days."


def test_words_of_any_script_count_in_rouge() -> None:
    assert nearness(["Größe"], ["Größe"]).each_rouge == [1.0]
    assert nearness(["退货政策"], ["退货地址"], languages=["zh"]).each_rouge == [pytest.approx(0.5)]
    assert nearness(["مرحبا بك"], ["مرحبا بك"], languages=["ar"]).each_chrf == [pytest.approx(1.0)]


def test_an_interrupt_leaves_the_figures_of_what_was_done() -> None:
    asked = [ASKED[i % 4] for i in range(300)]

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "search" and done >= 128:
            raise KeyboardInterrupt

    options = Options(parts=frozenset({"retrieval"}))
    report = evaluate(Cases(asked), subject(), options, name="shop", progress=stop).report

    assert not report.complete
    assert len(report.ids) == 128
    assert report.figures["retrieval.recall@1"].cases == 128


@given(st.integers(1, 30), st.integers(0, 5))
def test_a_limit_chooses_by_question_and_seed_alone(limit: int, seed: int) -> None:
    many = [Case(question=f"question {i}") for i in range(30)]
    found = chosen(many, limit=limit, seed=seed)

    assert len(found) == limit
    assert set(found) == set(chosen(list(reversed(many)), limit=limit, seed=seed))
    assert found == sorted(found, key=many.index)


# -- reports --------------------------------------------------------------------------------------------------------------------


def test_a_report_is_read_back_as_it_was_written_with_a_page_that_opens_offline(tmp_path: Path) -> None:
    run = ran([*ASKED * 4], "retrieval", "labels", "abstention", "cache")
    paths = evaluating.write(run, tmp_path / "new" / "folder")

    assert Report.read(paths[0]) == run.report
    html = paths[1].read_text()
    assert html.count("<svg") == 4
    assert not re.search(r"(src|href)=\"(?!#)", html)
    assert "https://" not in html.replace("http://www.w3.org", "")
    assert "prefers-color-scheme: dark" in html
    assert "var(--accent)" in html
    assert len(set(re.findall(r'\bid="([^"]+)"', html))) == len(re.findall(r'\bid="([^"]+)"', html))


def test_the_page_shows_what_others_wrote_as_text() -> None:
    report = ran(ASKED, "retrieval").report
    report.name = report.subject["model"] = "<script>alert(1)</script>"

    assert "<script" not in report_page.page(report)


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    good = json.loads(ran(ASKED, "retrieval").report.encode())
    for name, changed in (
        ("no report", [1]),
        ("has schema 9", {**good, "schema": 9}),
        ("has not one value a case", {**good, "ids": []}),
    ):
        (tmp_path / "report.json").write_text(json.dumps(changed))
        with pytest.raises(EvaluationError, match=name):
            Report.read(tmp_path / "report.json")
    with pytest.raises(EvaluationError, match="cannot be read"):
        Report.read(tmp_path / "none.json")


# -- comparisons and gates ------------------------------------------------------------------------------------------------------


def report_of(values: Sequence[float | None], ids: Sequence[str] | None = None) -> Report:
    report = Report(name="x", made_at="", seed=0, ids=list(ids or map(str, range(len(values)))))
    report.add_each("retrieval.recall@1", {i: value for i, value in enumerate(values) if value is not None}, is_share=True)
    return report


def test_a_report_against_itself_has_no_difference() -> None:
    report = ran([*ASKED * 4], "retrieval", "abstention").report
    found = comparison.compare(report, report)

    assert all(one.change in (0, None) for one in found.values())
    assert found["retrieval.recall@1"].low == found["retrieval.recall@1"].high == 0
    assert found["abstention.oos_auroc"].cases == 20


def test_a_clear_change_is_told_from_chance() -> None:
    worse, better = [0.0] * 60 + [1.0] * 40, [0.0] * 20 + [1.0] * 80
    clear = comparison.compare(report_of(worse), report_of(better))["retrieval.recall@1"]
    chance = comparison.compare(report_of(worse), report_of([*worse[1:], 1.0]))["retrieval.recall@1"]

    assert clear.change == pytest.approx(0.4)
    assert clear.is_clear
    assert not chance.is_clear


def test_only_cases_that_both_have_are_paired_in_whatever_order() -> None:
    first = report_of([1.0, 0.0, None, 1.0], ["a", "b", "c", "d"])
    second = report_of([1.0, 1.0, 1.0, 0.0], ["b", "a", "c", "e"])

    found = comparison.compare(first, second)["retrieval.recall@1"]
    assert (found.cases, found.change) == (2, pytest.approx(0.5))


@hypothesis_settings(max_examples=20)
@given(st.lists(st.booleans(), min_size=2, max_size=40), st.integers(0, 3))
def test_comparing_the_other_way_round_turns_the_sign(right: list[bool], seed: int) -> None:
    first, second = report_of([float(one) for one in right]), report_of([float(not one) for one in right])
    there = comparison.compare(first, second, seed=seed)["retrieval.recall@1"]
    back = comparison.compare(second, first, seed=seed)["retrieval.recall@1"]

    assert there.change == pytest.approx(-(back.change or 0))
    assert there.low == pytest.approx(-(back.high or 0))


@pytest.mark.parametrize(
    ("text", "is_met"),
    [
        ("retrieval.recall@1>=0.8", True),
        ("retrieval.recall@1 < 0.8", False),
        ("retrieval.recall@1.low>0.7", True),
        ("change:retrieval.recall@1>=-0.01", False),
        ("change:retrieval.recall@1.high<=0", True),
    ],
)
def test_gates_ask_for_figures_bounds_and_changes(text: str, is_met: bool) -> None:
    first, second = report_of([1.0] * 100), report_of([1.0] * 80 + [0.0] * 20)
    values = comparison.values(second, comparison.compare(first, second))

    assert Gate.parse(text).check(values)[0] is is_met


def test_a_gate_without_its_figure_or_form_is_refused_and_one_that_says_nothing_is_not_met() -> None:
    with pytest.raises(EvaluationError, match="is no gate: write one as"):
        Gate.parse("recall is good")
    with pytest.raises(EvaluationError, match="no figure speed for the gate"):
        Gate.parse("speed>1").check({"a": 1.0})
    assert Gate.parse("a>=0").check({"a": None}) == (False, None)
    with pytest.raises(EvaluationError, match="no figure in common"):
        comparison.compare(report_of([1.0]), Report(name="x", made_at="", seed=0))


def test_the_stream_goes_through_the_near_cache_too_which_keeps_no_personal_data() -> None:
    memory = NearMemory(Letters(), threshold=0.5)
    for question, label in (("When do you open on Monday?", "hours"), ("My card is 4111 1111 1111 1111, can I pay?", "pay")):
        memory.keep(question, label)

    assert memory.recall("when do you open on monday?") == "hours"
    assert memory.recall("When do you open on a Monday?") in ("hours", None)
    assert memory.recall("My card is 4111 1111 1111 1112, can I pay?") is None
    assert ran(ASKED, "cache").report.subject["cache"] == "exact"


# -- the row of the stream -------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["order {{Order Number}} to {{Delivery City}}", "{{Currency Symbol}}{{Refund Amount}}", "{{Something New}}"])
)
def test_placeholders_become_values_that_the_text_alone_decides(text: str) -> None:
    assert "{" not in stream_rows.filled(text)
    assert stream_rows.filled(text) == stream_rows.filled(text)


def test_a_stream_is_decided_about_as_a_worker_would(default_encoder: Encoder) -> None:
    refund, hours = ("How do I get a refund?", "How can I get my money back?"), ("When are you open?", "What are your hours?")
    answers = {"refund": refund, "hours": hours}
    passages = [Passage(document=name, text=f"About {name}.", questions=asked).identified() for name, asked in answers.items()]
    labels = {"When are you open?": "hours", "How do I get a refund?": "hours", "Who won the cup in 1998?": "none"}
    stream = [Case(question=text, label=label) for text, label in labels.items()]

    told = stream_rows.played(stream, Given(passages, default_encoder), Settings())

    assert (told["share"], told["wrong"], told["wrong_share"]) == (0.6667, 1, 0.5)
    assert told["decided"]["answer"] == 2


# -- what is published ----------------------------------------------------------------------------------------------------------


@pytest.mark.one_redis
def test_without_a_file_the_questions_go_to_what_the_tenant_has_published(settings: Settings) -> None:
    passages = cases.knowledge(KNOWN, phrasings=3)
    with connect(settings) as client:
        shared = KnowledgeStore(settings, client)
        with pytest.raises(EvaluationError, match="no knowledge base is published"):
            evaluating.published(settings, "shop")
        shared.add(passages, source="faq")
        shared.publish(shared.draft_ids(), encoder="letters")

        found = evaluating.published(settings, "shop")
    assert {passage.id for passage in found} == {passage.id for passage in passages}


# -- the command ----------------------------------------------------------------------------------------------------------------


def test_the_command_evaluates_a_file_of_ones_own_and_holds_it_against_gates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(tmp_path / "kb.jsonl", *({"text": case.question, "label": case.label, "answer": case.reference} for case in KNOWN))
    lines(tmp_path / "own.jsonl", *({"text": case.question, "label": case.label, "oos": case.oos, "x": 1} for case in ASKED))
    out = str(tmp_path / "out")
    wanted = ["--json", "--out", out, "--gate", "retrieval.recall@1>=0.75", "--knowledge", str(tmp_path / "kb.jsonl")]
    command = [sys.executable, "-m", "workers.cli", "eval", str(tmp_path / "own.jsonl"), *wanted]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["figures"]["retrieval.recall@3"]["cases"] == 4
    assert told["ignored"] == {"x": 5}
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000

    report = str(tmp_path / "out" / "report.json")
    assert status_of("eval", "--compare", report, report, "--gate", "change:retrieval.mrr>0.1") == 1
    assert capsys.readouterr().err == "replymill: not met: change:retrieval.mrr>0.1, but it is 0\n"


def status_of(*arguments: str) -> int:
    try:
        return cli.run(arguments)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nothing.jsonl"], 1, "no such file, and no such set"),
        (["hwu64"], 1, "set REPLYMILL_EVAL_DATA"),
        (["--gate", "x"], 1, "is no gate"),
        (["--only", "retrieval"], 2, "name a JSONL file"),
        (["rate", "nothing.jsonl"], 1, "cannot be read"),
        (["rate", "a", "b", "c"], 2, "two files of replies"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    assert status_of("eval", *arguments) == status
    assert said in capsys.readouterr().err
