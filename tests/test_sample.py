"""The sample knowledge base says what is true: its links lead somewhere, its commands exist, its figures are documented."""

import json
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import click
import pytest
import typer.main

from engine.ingest_links import Anchors
from engine.ingest_markdown import plain
from engine.sample import read_sample, sources
from engine.settings import describe
from workers.commands import app

pytestmark = pytest.mark.one_redis

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = [json.loads(line) for line in (ROOT / "deploy" / "sample-kb" / "faq.jsonl").read_text().splitlines()]
_FIGURE = re.compile(r"\d[\d,.]*\d|\d")

each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["questions"][0][:40])


@cache
def page(name: str) -> str:
    return (ROOT / name).read_text()


@cache
def anchors(name: str) -> frozenset[str]:
    """Of every heading outside code."""
    made = Anchors()
    prose = re.sub(r"^```.*?^```", "", page(name), flags=re.M | re.S)
    return frozenset(made.of(plain(heading)) for heading in re.findall(r"^#+ (.*)$", prose, re.M))


def command(words: list[str]) -> bool:
    """Whether the first words after `replymill` name a command."""
    group: click.Command = typer.main.get_command(app)
    for word in words:
        if not hasattr(group, "commands"):
            return True
        if word not in group.commands:
            return False
        group = group.commands[word]
    return True


@each_entry
def test_the_link_of_an_answer_leads_to_a_heading_that_is_there(entry: dict[str, str]) -> None:
    name, _, anchor = entry["link"].partition("#")

    assert (ROOT / name).is_file()
    assert not anchor or anchor in anchors(name), sorted(anchors(name))


@each_entry
def test_an_answer_holds_no_figure_that_its_page_does_not(entry: dict[str, str]) -> None:
    said = page(entry["link"].partition("#")[0])

    assert set(_FIGURE.findall(entry["answer"])) <= set(_FIGURE.findall(said))


@each_entry
def test_commands_and_settings_in_an_answer_exist(entry: dict[str, str]) -> None:
    names = {name for name, *_ in describe()}
    for code in re.findall(r"`([^`]+)`", entry["answer"]):
        words = code.split()
        if words[0] == "replymill":
            named = [word for word in words[1:] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
            assert command(named), code
        if re.fullmatch(r"REPLYMILL_\w+", code):
            pattern = re.compile(r"(REPLYMILL_(?:WEBHOOK|SLACK|TELEGRAM|ZENDESK))_SHOP_")
            assert pattern.sub(r"\1_<NAME>_", code) in names, code
        if re.fullmatch(r"--[\w-]+", code):
            assert code in page(entry["link"].partition("#")[0]), code


def test_each_answer_has_several_phrasings_and_no_two_answers_share_one() -> None:
    asked = [question.casefold() for entry in ENTRIES for question in entry["questions"]]

    assert all(3 <= len(entry["questions"]) <= 8 for entry in ENTRIES)
    assert len(set(asked)) == len(asked)
    assert all(len(entry["answer"]) <= 500 for entry in ENTRIES)


def test_the_sample_is_read_whole_with_links_to_its_own_pages() -> None:
    found = read_sample()

    assert not found.skipped
    assert {"faq.jsonl", "README.md", "docs/slack.md"} <= {one.document for one in found.passages}
    assert sum(one.verbatim for one in found.passages) >= len(ENTRIES)
    assert {"en", "de", "zh", "ar"} <= {one.language for one in found.passages}
    assert all(one.link.partition("#")[0] in sources() for one in found.passages)


@pytest.mark.slow
def test_a_wheel_holds_the_sample_and_what_it_is_made_of(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "docs", "deploy", "engine", "connectors", "workers"):
        (tree / name).symlink_to(ROOT / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(tree)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")

    names = [name.partition(".data/data/share/replymill/")[2] for name in zipfile.ZipFile(wheel).namelist()]

    assert {"sample-kb/faq.jsonl", "README.md", "docs/slack.md"} <= set(names)
    assert {name for name in sources() if name != "faq.jsonl"} <= set(names)
