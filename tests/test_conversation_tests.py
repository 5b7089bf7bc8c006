"""`replymill test`: files are read strictly, replies are checked, and conversations go through a real private copy."""

import json
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from engine.errors import UnusableTest
from engine.settings import foreign_environ
from tests.system import ROOT
from workers.chaos import echo
from workers.rehearsal.expectations import Said, failures
from workers.rehearsal.files import Case, Expectation, Suite, Turn, found, read
from workers.rehearsal.report import figures, write_junit
from workers.rehearsal.run import Fault, Verdict

WHOLE = """\
tenant: shop
people: false
knowledge: [.]
conversations:
  - name: Return of a parcel
    tags: [returns, smoke]
    repeat: 3
    turns:
      - user: [How do I, "return a parcel?"]
        edit: return two parcels?
        wait: 0.5
        expect:
          contains: [label, 14]
          not_contains: sorry
          matches: "(?i)ret.rn"
          source: [knowledge, cache]
          evidence: returns.md
          confidence_at_least: 0.6
          choices: [By post, In a shop]
          handed_over: false
          language: en
          max_seconds: 5
"""


def written(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


def test_a_file_says_all_that_a_conversation_needs(tmp_path: Path) -> None:
    suite = read(written(tmp_path, WHOLE))

    (case,) = suite.cases
    (turn,) = case.turns
    assert (suite.tenant, suite.people, suite.knowledge) == ("shop", False, (tmp_path.resolve(),))
    assert (case.name, case.tags, case.repeat, case.line) == ("Return of a parcel", ("returns", "smoke"), 3, 5)
    assert (turn.says, turn.edit, turn.wait, turn.line) == (("How do I", "return a parcel?"), "return two parcels?", 0.5, 9)
    assert turn.expect == Expectation(
        contains=("label", "14"),
        not_contains=("sorry",),
        matches=("(?i)ret.rn",),
        source=("knowledge", "cache"),
        evidence=("returns.md",),
        confidence_at_least=0.6,
        choices=("By post", "In a shop"),
        handed_over=False,
        language="en",
        max_seconds=5.0,
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("tenant: shop", "tenant: [shop]", 1, "tenant"),
        ("people: false", "people: maybe", 2, "people"),
        ("knowledge: [.]", "knowledge: nowhere", 3, "knowledge"),
        ("knowledge: [.]", "knowlege: [.]", 3, "knowlege"),
        ("knowledge: [.]", "tenant: again", 3, "tenant"),
        ("repeat: 3", "repeat: often", 7, "conversations[0].repeat"),
        ("wait: 0.5", "wait: -1", 11, "conversations[0].turns[0].wait"),
        ("edit: return two parcels?", "edit: ''", 10, "conversations[0].turns[0].edit"),
        ("(?i)ret.rn", "(ret", 15, "conversations[0].turns[0].expect.matches"),
        ("[knowledge, cache]", "[knowlege]", 16, "conversations[0].turns[0].expect.source"),
        ("0.6", "6", 18, "conversations[0].turns[0].expect.confidence_at_least"),
        ("language: en", "language: English", 21, "conversations[0].turns[0].expect.language"),
        ("max_seconds: 5", "silent: true", 12, "conversations[0].turns[0].expect"),
        ("- name: Return of a parcel", "- title: Return", 5, "conversations[0].title"),
    ],
)
def test_a_bad_file_is_refused_with_its_line_and_key(tmp_path: Path, old: str, new: str, line: int, key: str) -> None:
    path = written(tmp_path, WHOLE.replace(old, new, 1))

    with pytest.raises(UnusableTest) as refused:
        read(path)

    told = str(refused.value)
    assert told.startswith(f"{path}:")
    assert f": {key}: " in told
    assert abs(int(told.removeprefix(f"{path}:").partition(":")[0]) - line) <= 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("conversations: []", "at least one"),
        ("tenant: a", "missing"),
        ("a: &x [1]\nb: *x", "anchors"),
        ("conversations: " + "[" * 5_000, "nested"),
        ("a: [", "YAML"),
        ("\x00", "YAML"),
        ("!!python/object/apply:os.system ['true']", "must have keys"),
        ("conversations:\n- {name: a, turns: [{user: b}]}\n- {name: a, turns: [{user: b}]}", "twice"),
    ],
)
@pytest.mark.timeout(30)
def test_a_file_that_is_no_test_is_refused_before_it_costs_anything(tmp_path: Path, text: str, why: str) -> None:
    path = written(tmp_path, text)

    with pytest.raises(UnusableTest, match=why):
        read(path)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(UnusableTest, match="more than the 1000000"):
        read(written(tmp_path, "#" * 1_000_001))


def test_folders_are_searched_and_a_folder_without_tests_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    written(tmp_path / "deep", WHOLE, "b.yml")

    assert [suite.path.name for suite in found([tmp_path])] == ["b.yml"]
    with pytest.raises(UnusableTest, match="no test"):
        found([])


def test_the_examples_can_be_read() -> None:
    assert sum(len(suite.cases) for suite in found([ROOT / "deploy" / "sample-tests"])) == 3


SAID = Said(
    text="Print the label within 14 days.\n\n1. By post\n2. In a shop",
    source="knowledge",
    evidence=("returns.md > Returns",),
    confidence=0.7,
    handed_over=False,
    seconds=0.4,
)


@pytest.mark.parametrize(
    ("expected", "fails"),
    [
        (Expectation(contains=("LABEL", "14")), False),
        (Expectation(contains=("label", "30 days")), True),
        (Expectation(not_contains=("sorry",)), False),
        (Expectation(not_contains=("Label",)), True),
        (Expectation(matches=(r"within \d+ days",)), False),
        (Expectation(matches=(r"^within",)), True),
        (Expectation(matches=(r"(.*)*x{20}(.*)*$",)), True),
        (Expectation(source=("cache", "knowledge")), False),
        (Expectation(source=("model",)), True),
        (Expectation(evidence=("returns.md",)), False),
        (Expectation(evidence=("faq.md",)), True),
        (Expectation(confidence_at_least=0.7), False),
        (Expectation(confidence_at_least=0.71), True),
        (Expectation(choices=("by post",)), False),
        (Expectation(choices=("by air",)), True),
        (Expectation(handed_over=False), False),
        (Expectation(handed_over=True), True),
        (Expectation(language="en"), False),
        (Expectation(language="de"), True),
        (Expectation(max_seconds=0.5), False),
        (Expectation(max_seconds=0.3), True),
        (Expectation(silent=True), True),
    ],
)
def test_each_expectation_is_looked_at(expected: Expectation, fails: bool) -> None:
    assert len(failures(expected, SAID)) == fails


def test_silence_is_right_where_it_is_expected_alone() -> None:
    assert failures(Expectation(silent=True), None) == []
    assert failures(Expectation(), None) == ["no reply came"]


def test_the_report_holds_whatever_was_said(tmp_path: Path) -> None:
    case = Case(name="a <b> \x01", line=1, turns=(Turn(line=2, says=("x",)),))
    suite = Suite(path=Path("t/a.yaml"), cases=(case,))
    fault = Fault(line=2, turn=1, asked="x", said="\ud800\x00 & <", failures=("does not contain 'y'",))
    verdicts = [
        Verdict(suite=suite, case=case, round=1, seconds=0.5, fault=fault),
        Verdict(suite=suite, case=case, round=1, seconds=1),
    ]

    write_junit(tmp_path / "j.xml", verdicts)

    root = ET.parse(tmp_path / "j.xml").getroot()
    (junit,) = root
    assert (junit.get("tests"), junit.get("failures"), junit.get("time")) == ("2", "1", "1.500")
    assert figures(verdicts)["failed"] == 1


@pytest.mark.one_redis
def test_conversations_go_through_a_private_copy_and_one_that_goes_wrong_is_told(tmp_path: Path) -> None:
    written(
        tmp_path,
        """\
        conversations:
          - name: Fragments
            turns:
              - user: [one, two]
                expect: {contains: [one, two], source: model, handed_over: false}
              - user: first
                edit: second
                expect: {contains: second, not_contains: first}
          - name: Person
            turns:
              - user: I want to talk to a human
                expect: {handed_over: true}
              - user: anybody there?
                expect: {silent: true}
          - name: Wrong
            turns:
              - user: green
                expect: {contains: blue}
        """,
    )

    done = replymill(tmp_path, "test", ".", "--json", "--junit", "junit.xml")

    told = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert (told["passed"], told["failed"]) == (2, 1)
    (wrong,) = [one for one in told["results"] if not one["passed"]]
    assert (wrong["name"], wrong["line"], wrong["said"], wrong["failures"]) == ("Wrong", 17, "green", ["does not contain 'blue'"])
    assert (tmp_path / "junit.xml").exists()


def test_a_bad_file_ends_with_status_2_before_anything_starts(tmp_path: Path) -> None:
    written(tmp_path, "conversations:\n  - name: a\n    turns: [{usr: b}]\n")

    done = replymill(tmp_path, "test", "a.yaml")

    assert done.returncode == 2
    assert "a.yaml:3: conversations[0].turns[0].usr: is not known here" in done.stderr


def replymill(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command in a folder, on a model that repeats its question."""
    settings = {
        "MODEL": f"path:{echo.write(folder / 'echo')}",
        "SYSTEM_PROMPT": "",
        "REPETITION_PENALTY": "1",
        "COMPUTE_TYPE": "float32",
        "MAX_TOKENS": "1000",
        "PROMPT_TOKENS": str(echo.LONGEST),
        "CACHE_DIR": str(folder / "cache"),
        "SLACK_SHOP_SIGNING_SECRET": "of the user's own account",
        "SLACK_SHOP_BOT_TOKEN": "xoxb-of-the-user",
    }
    environ = {**foreign_environ(), "PYTHONPATH": str(ROOT), **{f"REPLYMILL_{name}": value for name, value in settings.items()}}
    return subprocess.run(
        [sys.executable, "-P", "-m", "workers.cli", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
