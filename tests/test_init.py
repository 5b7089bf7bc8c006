"""`replymill init` writes settings that load, keeps what is there, and says what to do at the platform."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from dotenv import dotenv_values

from engine.accounts import SECTIONS, parts
from engine.errors import SettingsError
from engine.settings import Settings
from tests.system import ROOT
from workers import init

#: Values that a parser takes, by the end of the variable.
PLAUSIBLE = {"URL": "https://bot.example/x", "EMAIL": "bot@example.com", "KEY": 'it\'s a #secret "with" $signs \\ in it'}


def plausible(variable: str, meaning: str, hidden: bool) -> str:
    return PLAUSIBLE.get(variable.rpartition("_")[2], "a value of some length, 123")


@pytest.mark.parametrize("platform", init.PLATFORMS)
def test_what_it_writes_is_read_back_as_it_was_said(platform: str, tmp_path: Path) -> None:
    given = init.answers(platform, "my-shop", plausible)
    init.write(tmp_path / ".env", [init.written(platform, "my-shop", given)])

    found = {name: value for name, value in dotenv_values(tmp_path / ".env").items() if value is not None}
    assert found == {name: value for name, value in given.items() if value}
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_the_tokens_of_slack_are_asked_for_and_may_be_left_empty() -> None:
    given = init.answers(
        "slack", "shop", lambda variable, meaning, hidden: "" if variable.endswith("APP_TOKEN") else "a value of 16 signs"
    )

    assert list(given) == [f"REPLYMILL_SLACK_SHOP_{word}" for word in ("SIGNING_SECRET", "BOT_TOKEN", "APP_TOKEN")]
    assert "# REPLYMILL_SLACK_SHOP_APP_TOKEN=" in init.written("slack", "shop", given)


@pytest.mark.parametrize("platform", SECTIONS)
def test_every_variable_of_an_account_stands_in_the_file_with_its_meaning(platform: str) -> None:
    text = init.written(platform, "shop", {})

    for word, one in parts(SECTIONS[platform]).items():
        assert f"# {init.stem(platform, 'shop')}_{word}=" in text
        assert one.metadata["meaning"] in text


@pytest.mark.parametrize("platform", init.PLATFORMS)
def test_it_says_what_to_do_at_every_platform(platform: str) -> None:
    assert "shop" in init.steps(platform, "shop")


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINE=1\n")

    with pytest.raises(SettingsError, match="not touched"):
        init.write(tmp_path / ".env", ["# theirs"])
    assert (tmp_path / ".env").read_text() == "MINE=1\n"


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REPLYMILL_")}
    command = [sys.executable, "-m", "workers.cli", "init", *arguments]
    environ = kept | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def test_a_script_names_the_platforms_and_gets_a_file_that_loads(tmp_path: Path) -> None:
    done = run(tmp_path, "--platform", "webhook", "--name", "my-shop")

    assert done.returncode == 0, done.stderr
    values = {name: value for name, value in dotenv_values(tmp_path / ".env").items() if value is not None}
    assert Settings.load(values).webhooks["my-shop"].secrets[0].startswith("whsec_")
    assert "/webhooks/my-shop" in done.stdout


def test_the_manifest_of_slack_is_printed_and_lies_beside_the_settings(tmp_path: Path) -> None:
    done = run(tmp_path, "--platform", "slack", "--name", "my-shop", "--address", "https://bot.acme.example")
    text = (tmp_path / "slack-my-shop-manifest.yaml").read_text()
    found = yaml.safe_load(text)

    assert done.returncode == 0, done.stderr
    assert text in done.stdout
    assert "slack-my-shop-manifest.yaml" in done.stdout
    assert found["settings"]["event_subscriptions"]["request_url"] == "https://bot.acme.example/slack/my-shop/events"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name at least one"),
        (("--platform", "icq"), "no platform 'icq'"),
        (("--platform", "webhook", "--name", "My Shop"), "a name is"),
    ],
)
def test_wrong_usage_is_said_with_what_there_is(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / ".env").exists()
