"""The data folder gives every process the same Redis and the same keys, and keeps them from other users."""

import dataclasses
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import SettingsError, StartError
from engine.settings import Settings
from workers import home

URL = "redis://:secret@127.0.0.1:1/0"


@pytest.fixture
def bare(tmp_path: Path) -> Settings:
    """Settings as a newcomer has them: nothing set but the folder."""
    return Settings(data_dir=tmp_path / "data")


def test_empty_settings_are_filled_from_the_folder_and_stay_the_same(bare: Settings) -> None:
    home.private_folder(bare.data_dir)
    with home.announced(bare.data_dir, URL):
        first, second = home.complete(bare), home.complete(bare)

    assert first == second
    assert first.redis_url == first.broker_url == URL
    assert len(first.secret_key) >= 43
    assert len(first.api_keys) == 1
    assert first.api_keys[0] != first.secret_key


def test_what_is_set_wins_and_makes_no_files(bare: Settings) -> None:
    given = dataclasses.replace(
        bare, redis_url=URL, broker_url="redis://broker", secret_key="s" * 16, api_keys=("k" * 16,), sealing_keys=("s" * 16,)
    )

    assert home.complete(given) == given
    assert not bare.data_dir.exists()


def test_celery_shares_the_redis_of_the_lanes_unless_told_otherwise(bare: Settings) -> None:
    assert home.complete(dataclasses.replace(bare, redis_url=URL)).broker_url == URL


def test_no_redis_says_what_to_do(bare: Settings) -> None:
    with pytest.raises(StartError, match=r"run `replymill up`, or set REPLYMILL_REDIS_URL"):
        home.complete(bare)


def test_the_address_is_gone_when_the_server_is(bare: Settings) -> None:
    home.private_folder(bare.data_dir)
    with home.announced(bare.data_dir, URL):
        assert home.running_redis(bare.data_dir) == URL

    with pytest.raises(StartError):
        home.running_redis(bare.data_dir)
    assert list(bare.data_dir.iterdir()) == []


def test_nobody_else_can_read_the_folder_or_its_files(bare: Settings) -> None:
    with home.announced(home.private_folder(bare.data_dir), URL):
        home.complete(bare)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in bare.data_dir.iterdir()}

    assert modes == {home.REDIS_URL: 0o600, home.SECRET_KEY: 0o600, home.API_KEY: 0o600, home.SEALING_KEY: 0o600}
    assert stat.S_IMODE(bare.data_dir.stat().st_mode) == 0o700


def test_processes_that_race_for_the_first_key_get_the_same_one(tmp_path: Path) -> None:
    script = "import sys, pathlib; from workers import home; print(home.kept_key(pathlib.Path(sys.argv[1]), 'secret.key'))"
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]

    assert len({racer.communicate(timeout=30)[0] for racer in racers}) == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]


def test_an_operator_may_keep_several_api_keys_in_the_file(bare: Settings) -> None:
    home.write_private(home.private_folder(bare.data_dir) / home.API_KEY, f"{'a' * 20}\n{'b' * 20}\n")

    assert home.complete(dataclasses.replace(bare, redis_url=URL)).api_keys == ("a" * 20, "b" * 20)


@pytest.mark.parametrize("content", ["", " \n", "short", f"{'a' * 20} short"])
@pytest.mark.parametrize("name", [home.SECRET_KEY, home.API_KEY, home.SEALING_KEY])
def test_a_damaged_key_is_refused_and_left_alone(bare: Settings, name: str, content: str) -> None:
    path = home.private_folder(bare.data_dir) / name
    path.write_text(content)

    with pytest.raises(SettingsError, match=f"{name} holds no key of at least 16 characters"):
        home.complete(dataclasses.replace(bare, redis_url=URL))
    assert path.read_text() == content


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = Settings(data_dir=tmp_path / "file" / "data", redis_url=URL)

    with pytest.raises(StartError, match=r"cannot write to .*REPLYMILL_DATA_DIR"):
        home.complete(settings)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_litter(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()

    with pytest.raises(StartError, match=r"cannot write to"):
        home.write_private(tmp_path / "target", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
