"""What the README promises is what is there."""

import re
import subprocess
import sys
from pathlib import Path

from engine.settings import describe

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def settings_table() -> str:
    """The configuration table as it must stand in the README."""
    rows = [f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |" for name, default, meaning in describe()]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def test_the_configuration_table_is_that_of_the_settings() -> None:
    assert settings_table() in README, "run `python -m tests.test_readme` and commit README.md"


def test_every_file_of_the_map_exists() -> None:
    for row in re.findall(r"^\| (`[^|]+) \|", README[README.index("## The house") : README.index("## Commands")], re.M):
        folder = ""
        for name in re.findall(r"`([^`]+)`", row):
            folder = name.rpartition("/")[0] if "/" in name.rstrip("/") else folder
            path = ROOT / name if "/" in name else ROOT / folder / name
            assert path.exists(), f"README names {name}, which is not there"


def test_every_command_it_names_is_one() -> None:
    shown = subprocess.run([sys.executable, "-m", "workers.cli", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for command in ("up", "web", "answer", "deliver", "jobs", "ask", "status", "doctor", "dead", "cache", "model", "version"):
        assert re.search(rf"^│ {command} ", shown.stdout, re.M), command


def test_every_test_that_shows_a_guarantee_exists() -> None:
    there = {name for path in (ROOT / "tests").glob("*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)}
    for page in ("guarantees.md", "upgrades.md"):
        text = (ROOT / "docs" / page).read_text()
        assert set(re.findall(r"`(test_\w+)`", text)) <= there
        assert all((ROOT / "tests" / name).exists() for name in re.findall(r"`(test_\w+\.py)`", text))


if __name__ == "__main__":
    before, marker, rest = README.partition("<!-- settings -->\n")
    after = rest[rest.index("\nRedis: ") :]
    (ROOT / "README.md").write_text(f"{before}{marker}{settings_table()}\n{after}")
