"""`replymill cache` says why a question is a near match or not, counts, and forgets."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from engine.encoder import Encoder
from engine.near import Answer, NearCache, NearKey, Outcome
from engine.settings import PREFIX, Settings
from workers import near_desk
from workers.commands import app

pytestmark = pytest.mark.one_redis

ASKED, AGAIN = "How do I reset my password?", "hello, how can I reset my password please"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(Settings.load({}))


@pytest.fixture
def chosen(settings: Settings) -> Settings:
    return dataclasses.replace(settings, near="on", near_check=0.0, cache_dir=Settings.load({}).cache_dir)


@pytest.fixture
def cache(chosen: Settings, redis_client: redis.Redis, encoder: Encoder) -> Iterator[NearCache]:
    near = NearCache(chosen, redis_client, NearKey.of(chosen, encoder.identity))
    vectors = encoder.encode([ASKED])
    near.keep("acme", "en", ASKED, vectors[0], Answer(key="reset", reply="Press forgot password."))
    return near


def replymill(monkeypatch: pytest.MonkeyPatch, chosen: Settings, *arguments: str) -> str:
    for name, value in chosen.to_environ().items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["cache", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_hit_is_explained_by_its_entries_and_features(cache: NearCache, chosen: Settings) -> None:
    told = near_desk.explain(chosen, AGAIN, "acme", "en")
    assert told["would_hit"] is True
    assert told["entries"][0]["question"] == ASKED
    assert {"feature", "value", "adds"} == set(told["features"][0])
    assert told["p"] >= told["threshold"]
    assert told["digest"] == near_desk.digest(chosen, "acme")


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Where is my order 88421?", "identifier"),
        ("my mail is jane@example.com", "personal data"),
        ("hello!", "asks for nothing"),
        ("I want to talk to a human", "a person"),
        ("", "no text"),
    ],
)
def test_what_bars_a_question_is_said(cache: NearCache, chosen: Settings, question: str, why: str) -> None:
    told = near_desk.explain(chosen, question, "acme", "en")
    assert why in told["barred"]
    assert told["would_hit"] is False


def test_the_command_says_it_in_words_and_in_json(cache: NearCache, chosen: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "Hit: the answer to" in replymill(monkeypatch, chosen, "explain", AGAIN, "--tenant", "acme", "--language", "en")
    assert "nothing is kept for this tenant" in replymill(monkeypatch, chosen, "explain", AGAIN, "--language", "en")
    assert json.loads(replymill(monkeypatch, chosen, "explain", AGAIN, "--tenant", "acme", "--json"))["language"] == "en"


def test_hits_and_comparisons_are_counted_by_tenant_and_a_purge_forgets_all(
    cache: NearCache, chosen: Settings, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = encoder.encode([AGAIN, "Do you ship to Norway?"])
    verdicts = cache.lookup("acme", "en", [AGAIN, "Do you ship to Norway?"], vectors)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.HIT, Outcome.MISS]
    cache.confirm(verdicts[0], right=True)
    found = json.loads(replymill(monkeypatch, chosen, "stats", "--json"))
    assert found["near_entries"] == 1
    assert found["near"][near_desk.digest(chosen, "acme")] == {
        "hits": 1,
        "would_be_hits": 0,
        "misses": 1,
        "compared_right": 1,
        "compared_wrong": 0,
        "threshold": chosen.near_threshold,
    }
    assert "Near matches by tenant" in replymill(monkeypatch, chosen, "stats")
    assert json.loads(replymill(monkeypatch, chosen, "purge", "--json")) == {"purged": 1}
    cache.sync()
    assert cache.lookup("acme", "en", [AGAIN], vectors[:1])[0].entry is None


def test_a_question_without_end_is_refused(chosen: Settings) -> None:
    with pytest.raises(Exception, match="characters is never a near match"):
        near_desk.explain(chosen, "x" * 10_000, "acme", "en")


def test_the_verifier_is_part_of_the_package() -> None:
    assert (Path(near_desk.__file__).parent.parent / "engine" / "verifier.json").stat().st_size < 8_000
