"""`replymill kb` as a person types it and as a script calls it, and what `replymill doctor` says of knowledge."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from engine.encoder import Encoder
from engine.errors import KnowledgeError, NotIndexed, ReplymillError
from engine.indexing import Job, work, write_job
from engine.ingest import Reading
from engine.knowledge import Passage
from engine.knowledge_store import KnowledgeStore
from engine.publishing import publish
from engine.sample import FAQ, read_sample
from engine.settings import Settings
from tests.test_cli import environ, replymill  # noqa: F401 - fixtures
from workers import doctor_knowledge, kb_desk, kb_reading, sample

pytestmark = pytest.mark.one_redis

Kb = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def kb(replymill: Kb, settings: Settings) -> Kb:  # noqa: F811 - a fixture
    """Runs `replymill kb ...` on the Redis of the test."""
    variables = {"REPLYMILL_REDIS_URL": settings.redis_url, "REPLYMILL_SECRET_KEY": settings.secret_key, "COLUMNS": "160"}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        done = replymill("kb", *arguments, **variables)
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def store(settings: Settings, redis_client: redis.Redis) -> KnowledgeStore:
    return KnowledgeStore(settings, redis_client)


def rows(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_documents_are_added_published_found_and_rolled_back(
    kb: Kb, store: KnowledgeStore, settings: Settings, default_encoder: Encoder, tmp_path: Path
) -> None:
    folder = tmp_path / "help"
    folder.mkdir()
    (folder / "shipping.md").write_text("# Shipping\n\nParcels to Germany take two days.\n")
    (folder / "opening.md").write_text("# Opening hours\n\nThe shop opens at nine.\n")
    (folder / "hours\x1b[2J.xyz").write_text("It clears the terminal of whoever prints its name.\n")

    added = kb("add", str(folder), "--link", "https://shop.example/help/", "--here", "--json")
    assert added.stderr.startswith("not read: hours\\x1b[2J.xyz: .xyz is no kind")
    progress = [json.loads(line) for line in added.stdout.splitlines()]
    assert progress[-1]["removed"] == []
    assert len(progress[-1]["added"]) == 2
    assert progress[-2]["indexing"]["done"] == progress[-2]["indexing"]["total"] > 0
    assert [state for _, state in kb_desk.documents(store)] == ["indexed", "indexed"]

    (hit,) = rows(kb("search", "how long does a parcel to Germany take?", "-k", "1", "--draft", "--json"))
    assert "two days" in hit["text"]
    assert hit["link"].startswith("https://shop.example/help/")
    assert 0 < hit["cosine"] <= 1

    published = kb("publish", "--note", "the first", "--here")
    assert published.stdout.startswith("version 1 is published: 2 documents"), published.stderr
    (folder / "opening.md").write_text("# Opening hours\n\nThe shop opens at ten.\n")
    place, passages, _ = kb_reading.read(str(folder), link="https://shop.example/help/", name="")
    change = store.add(passages, source=place)
    assert (len(change.replaced), len(change.unchanged)) == (1, 1)
    assert work(store, lambda: default_encoder, seconds=60)
    assert publish(store, settings, encoder=default_encoder.identity).number == 2
    assert kb("rollback").stdout.startswith("version 1 is used again")
    assert [(row["version"], row["current"], row["note"]) for row in kb_desk.versions(store)] == [
        (2, False, ""),
        (1, True, "the first"),
    ]
    _, found = kb_desk.search(settings, store, "when do you open?", k=1, draft=False)
    hits = found.hits
    assert "The shop opens at nine." in hits[0].passage.text


def test_what_cannot_be_done_is_said_in_one_line_with_what_to_do(kb: Kb, store: KnowledgeStore, settings: Settings) -> None:
    store.add([Passage(document="faq", text="x").identified()], source="/faq")
    refused = kb("rollback", "3")
    assert refused.returncode == 1
    assert refused.stderr == "replymill: version 3 is not kept: `replymill kb versions` shows which there are\n"
    with pytest.raises(KnowledgeError, match="no knowledge base is published"):
        kb_desk.search(settings, store, "x", k=1, draft=False)
    with pytest.raises(NotIndexed, match="`replymill kb publish` indexes"):
        kb_desk.search(settings, store, "x", k=1, draft=True)
    assert kb("remove", "faq").stdout.startswith("faq is out of the draft")


def test_a_document_that_left_the_draft_is_listed_until_the_next_version(
    store: KnowledgeStore, settings: Settings, default_encoder: Encoder
) -> None:
    store.add([Passage(document=name, text=name).identified() for name in "ab"], source="/help")
    assert work(store, lambda: default_encoder, seconds=60)
    publish(store, settings, encoder=default_encoder.identity)
    store.remove("a")
    store.add([Passage(document="c", text="c").identified()], source="/c")
    states = {document.name: state for document, state in kb_desk.documents(store)}
    assert states == {"a": "leaves with the next publish", "b": "published", "c": "to be indexed"}


def test_reading_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_text("")
    with pytest.raises(ReplymillError, match=r"empty\.md"):
        kb_reading.read(str(tmp_path / "empty.md"), link="", name="")


def test_an_address_of_the_own_network_is_read_where_its_host_is_named(kb: Kb, free_port: Callable[[], int]) -> None:
    address = f"http://127.0.0.1:{free_port()}/faq.md"

    refused, unreached = kb("add", address), kb("add", address, "--inside", "127.0.0.1")

    assert refused.stderr == f"replymill: {address}: it leads to an address inside: `--inside 127.0.0.1` allows that\n"
    assert "it cannot be reached" in unreached.stderr


def test_documents_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nOne.\n")
    (tmp_path / "b.md").write_text("# B\n\nTwo.\n")
    place, passages, _ = kb_reading.read(str(tmp_path / "a.md"), link="", name="faq")
    assert {passage.document for passage in passages} == {"faq"}
    assert place == f"{tmp_path / 'a.md'} as faq"
    _, several, _ = kb_reading.read(str(tmp_path), link="", name="faq")
    assert {passage.document for passage in several} == {"faq/a.md", "faq/b.md"}
    assert all(passage.id == passage.identified().id for passage in several)


def test_the_sample_is_published_once_where_nobody_has_a_knowledge_base(
    store: KnowledgeStore, settings: Settings, default_encoder: Encoder
) -> None:
    # As an earlier try that was killed has left it.
    store.add([Passage(document="faq.jsonl", text="x").identified()], source=sample.SOURCE)
    page = Passage(document="page.md", text="A page.").identified()
    answers = Reading(passages=(*(one for one in read_sample().passages if one.document == FAQ), page))
    version = sample.publish_sample(settings, store.client, lambda: answers)
    assert version
    assert (version.number, version.note, version.encoder) == (2, sample.NOTE, default_encoder.identity)
    assert [one.passages for one in store.versions()] == [len(answers.passages), len(answers.passages) - 1], "questions come first"
    assert sample.publish_sample(settings, store.client, lambda: answers) is None
    _, found = kb_desk.search(settings, store, "How do I connect Slack?", k=3, draft=False)
    hits = found.hits
    assert any("slack" in (hit.passage.text + hit.passage.title).lower() for hit in hits)


def test_the_sample_leaves_a_base_that_somebody_has_begun_alone(store: KnowledgeStore, settings: Settings, tmp_path: Path) -> None:
    KnowledgeStore(settings, store.client, "shop").add([Passage(document="faq", text="x").identified()], source="/faq")
    assert sample.publish_sample(settings, store.client) is None


def test_doctor_says_what_is_used_and_what_is_wrong(store: KnowledgeStore, settings: Settings, default_encoder: Encoder) -> None:
    def said() -> list[tuple[str, bool, str]]:
        return [(check.what, check.ok, check.found) for check in doctor_knowledge.look(settings)]

    assert said() == [("knowledge", True, "none: answers come from the model alone")]
    store.add([Passage(document="faq", text="x").identified()], source="/faq")
    assert said() == [("knowledge", False, "nothing is published")]
    assert work(store, lambda: default_encoder, seconds=60)
    publish(store, settings, encoder=default_encoder.identity)
    ((_, fine, found),) = said()
    assert fine
    assert found.startswith("version 1, 1 passages, encoder ")
    for document in store.draft():
        store.documents.forget_vectors([document.id], but=[])
    ((_, fine, found),) = said()
    assert not fine
    assert "1 texts lack vectors" in found
    write_job(store, Job(state="failed", error="no encoder"))
    assert said() == [("knowledge", False, "indexing failed: no encoder")]
