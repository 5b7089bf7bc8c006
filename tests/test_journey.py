"""The main job, end to end: real Redis, web, answering and delivery processes, the default model, a real receiver."""

import json
import re
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import wait_for
from tests.system import CALLBACK_SECRET, Receiver, System, sign
from workers import embedded

pytestmark = pytest.mark.slow


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def system(redis_url: str, tmp_path: Path, receiver: Receiver) -> Iterator[System]:
    system = System(redis_url, embedded.free_port(), tmp_path, receiver)
    yield system
    system.stop_all()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One of each process on a Redis of their own, for tests that need nothing special; each talks in conversations of its own."""
    folder = tmp_path_factory.mktemp("running")
    receiver = Receiver()
    with embedded.serving(folder / "redis", log=folder / "redis.log") as server:
        system = System(server.url, embedded.free_port(), folder, receiver)
        try:
            system.start("web", "answer", "deliver")
            yield system
        finally:
            system.stop_all()
            receiver.close()


def test_a_signed_webhook_message_is_answered_by_the_model_and_posted_back(system: System) -> None:
    system.start("web", "answer", "deliver")
    webhook_id, response = system.post("What is the capital of France?")
    assert response.status_code == 202
    message = system.wait_delivered(response.json()["id"])
    (posted,) = system.receiver.answers_to(webhook_id)
    assert posted.data["text"] == message["reply"]["text"]
    assert posted.data["source"] == "model"
    headers = posted.headers
    expected = sign(CALLBACK_SECRET, headers["webhook-id"], headers["webhook-timestamp"], posted.body)
    assert headers["webhook-signature"] == expected
    assert message["timings"]["generated_ms"] > 0


def test_the_same_question_again_comes_from_the_cache_and_a_conversation_keeps_its_context(running: System) -> None:
    _, first = running.post("What is the capital of Spain?", conversation="one")
    answer = running.wait_delivered(first.json()["id"])
    _, again = running.post("  what is the CAPITAL of Spain? ", conversation="two")
    cached = running.wait_delivered(again.json()["id"])
    assert answer["reply"]["source"] == "model"
    assert cached["reply"]["source"] == "cache"
    assert cached["reply"]["text"] == answer["reply"]["text"]
    _, inside = running.post("What is the capital of Spain?", conversation="one")
    assert running.wait_delivered(inside.json()["id"])["reply"]["source"] == "model"


def test_a_repeat_gets_the_same_id_and_no_second_reply(running: System) -> None:
    webhook_id, first = running.post("Say hello.", conversation="repeat")
    _, repeat = running.post("Say hello.", conversation="repeat", webhook_id=webhook_id)
    assert (repeat.status_code, repeat.json()["id"]) == (202, first.json()["id"])
    running.wait_delivered(first.json()["id"])
    _, late = running.post("Say hello.", conversation="repeat", webhook_id=webhook_id)
    assert late.json()["id"] == first.json()["id"]
    _, other = running.post("Say goodbye.", conversation="after the repeat")
    running.wait_delivered(other.json()["id"])
    assert len(running.receiver.answers_to(webhook_id)) == 1


@pytest.mark.one_redis
def test_questions_of_one_conversation_are_answered_in_their_order_and_each_once(system: System) -> None:
    system.start("web")
    ids = [system.post(f"What is {n} plus {n}?", conversation=f"c{n % 3}")[1].json()["id"] for n in range(12)]
    system.start("answer", "deliver")
    for message_id in ids:
        system.wait_delivered(message_id)
    # What waits in one lane is one turn: three conversations, three replies, each naming its first question.
    assert len(system.receiver.posted) == 3


@pytest.mark.one_redis
def test_killing_the_answering_worker_in_the_middle_loses_nothing_and_says_nothing_twice(system: System) -> None:
    system.extra["MAX_TOKENS"] = "200"
    system.start("web", "answer", "deliver")
    sent = [system.post(f"Tell me a long story about the number {n}.", conversation=f"k{n}") for n in range(6)]
    wait_for(lambda: any(system.message(r.json()["id"])["state"] == "answering" for _, r in sent), timeout=30)
    system.stop("answer", by=signal.SIGKILL)
    system.extra["MAX_TOKENS"] = "8"
    system.start("answer")
    for webhook_id, response in sent:
        system.wait_delivered(response.json()["id"])
        assert len(system.receiver.answers_to(webhook_id)) == 1


@pytest.mark.one_redis
def test_a_warm_shutdown_finishes_or_gives_back_every_lease(system: System, redis_client: redis.Redis) -> None:
    system.extra |= {"BATCH_ITEMS": "1", "REPLICAS": "1", "LEASE": "30", "SEND_TIMEOUT": "10"}
    system.start("web", "answer")
    sent = [system.post(f"What is {n} times {n}?", conversation=f"w{n}")[1].json()["id"] for n in range(6)]
    wait_for(lambda: any(system.message(message_id)["state"] == "answering" for message_id in sent), timeout=30)
    assert system.stop("answer") == 0
    assert redis_client.zcard("rm:{0}:in:leased") == 0
    states = {system.message(message_id)["state"] for message_id in sent}
    assert states <= {"waiting", "answered"}
    system.start("answer", "deliver")
    for message_id in sent:
        system.wait_delivered(message_id)
    assert len(system.receiver.posted) == len(sent)


def test_a_callback_that_fails_is_tried_again_with_the_same_id(running: System) -> None:
    running.receiver.script = [500, 0, 503]
    webhook_id, response = running.post("Say yes.", conversation="fails")
    running.wait_delivered(response.json()["id"])
    posted = running.receiver.answers_to(webhook_id)
    assert len(posted) == 4
    assert len({one.headers["webhook-id"] for one in posted}) == 1


def test_a_callback_that_is_refused_for_good_becomes_a_dead_letter(running: System) -> None:
    running.receiver.script = [410]
    webhook_id, response = running.post("Say no.", conversation="refused")
    found = running.wait_state(response.json()["id"], "dead")
    assert "410" in json.dumps(found)
    assert len(running.receiver.answers_to(webhook_id)) == 1


@pytest.mark.one_redis
def test_a_fifty_thousand_character_question_is_answered_and_the_trace_says_it_was_cut(system: System) -> None:
    system.extra["PROMPT_TOKENS"] = "256"
    system.start("web", "answer", "deliver")
    _, response = system.post("Why is the sky blue? " + "really " * 7140)
    assert system.wait_delivered(response.json()["id"])["timings"]["truncated"] is True


@pytest.mark.one_redis
def test_while_redis_is_away_messages_are_refused_and_answering_resumes_by_itself(tmp_path: Path, receiver: Receiver) -> None:
    server = embedded.EmbeddedRedis(tmp_path / "redis", log=tmp_path / "redis.log")
    server.start()
    system = System(server.url, embedded.free_port(), tmp_path, receiver)
    try:
        system.start("web", "answer", "deliver")
        system.wait_delivered(system.post("Say one.")[1].json()["id"])
        server.stop()
        _, refused = system.post("Say two.", webhook_id="msg_refused")
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        server.start()
        wait_for(system.ready, timeout=20)
        _, accepted = system.post("Say two.", webhook_id="msg_refused")
        system.wait_delivered(accepted.json()["id"])
        assert len(receiver.answers_to("msg_refused")) == 1
    finally:
        system.stop_all()
        server.stop()
        server.close()


@pytest.mark.one_redis
def test_a_message_that_nobody_answers_gets_an_apology_at_its_deadline(system: System) -> None:
    system.extra |= {"DEADLINE_WEBHOOK": "2", "APOLOGY": "Sorry, too late."}
    system.start("web", "deliver")
    started = time.monotonic()
    webhook_id, _ = system.post("Is anybody there?")
    wait_for(lambda: system.receiver.answers_to(webhook_id), timeout=15)
    assert time.monotonic() - started >= 2
    assert system.receiver.answers_to(webhook_id)[0].data["text"] == "Sorry, too late."


def test_no_text_and_no_secret_is_logged(running: System) -> None:
    word = "xylophone" + secrets.token_hex(4)
    _, response = running.post(f"Repeat this word: {word}", conversation="logged")
    message = running.wait_delivered(response.json()["id"])["id"]

    def committed() -> bool:
        """The line of a commit may come after its effect."""
        events = [json.loads(line) for line in running.log("answer").splitlines() if line.startswith("{")]
        return message in {event["message"] for event in events if event.get("action") == "answer.committed"}

    wait_for(committed)
    logs = "".join(running.log(role) for role in ("web", "answer", "deliver"))
    for secret in (word, "whsec_", CALLBACK_SECRET.removeprefix("whsec_"), re.sub(r".*:(.*)@.*", r"\1", running.redis_url)):
        assert secret not in logs
