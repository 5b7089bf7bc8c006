"""What is answered to a batch, with a real tiny model and a real cache."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis

from engine.answer import Answer
from engine.errors import ModelError
from engine.generating import Generating, Prepared
from engine.messages import Conversation, InboundMessage, Reply, Role, Source, Turn
from engine.model import Model
from engine.question import Question
from engine.responder import Responder
from engine.settings import Settings
from tests.conftest import wait_for
from tests.desk import address
from tests.loops import small

pytestmark = pytest.mark.one_redis


def question(text: str, *, tenant: str = "acme", said: Sequence[str] = (), streamed: bool = False, thread: str = "t") -> Question:
    to = address(thread, tenant=tenant)
    turns = tuple(Turn(role=role, text=line, at=1) for role, line in zip([Role.USER, Role.ASSISTANT] * 99, said, strict=False))
    message = InboundMessage(
        address=to, sender="ann", text=text, dedupe_ids=(f"logical {text}",), id=f"id {text}", received_at=1000, deadline=9000
    )
    return Question(
        key=f"{thread}/{text}",
        conversation=Conversation(address=to, turns=turns),
        messages=(message,),
        waited_ms=12,
        claimed_at=time.monotonic(),
        streamed=streamed,
    )


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    loaded = Model.load(tiny_model, small(Settings()))
    yield loaded
    loaded.close()


@pytest.fixture
def responder(settings: Settings, redis_client: redis.Redis, model: Model) -> Responder:
    return Responder(small(settings), redis_client, model)


def generate(responder: Responder, *questions: Question) -> dict[str, Reply]:
    """What the model says to each."""
    prepared = [one for one in responder.respond(questions) if isinstance(one, Prepared)]
    generating = responder.generate(prepared, on_text=lambda key, text: None, on_finish=lambda: None)
    replies: dict[str, Reply] = {}

    def done() -> bool:
        replies.update({key: answer.reply for key, answer in generating.ready()})
        return not generating.left

    wait_for(done)
    return replies


def remember(responder: Responder, asked: Question, said: Reply) -> None:
    """As if that were committed."""
    (prepared,) = responder.respond([asked])
    assert isinstance(prepared, Prepared)
    responder.remember(Answer(reply=said, advice=prepared.advice))


def test_a_batch_is_split_into_what_is_known_and_what_the_model_must_be_asked(responder: Responder) -> None:
    known = question("known")
    remember(responder, known, known.reply("An answer.", Source.MODEL))
    first, second = responder.respond([question("new"), question("  KNOWN ")])
    assert isinstance(first, Prepared)
    assert isinstance(second, Answer)
    second = second.reply
    assert (second.text, second.source) == ("An answer.", Source.CACHE)
    assert second.trace["waited_ms"] == 12
    assert second.trace["prepared_ms"] >= 0
    assert second.in_reply_to == ("id   KNOWN ",)
    assert second.reference == "logical   KNOWN "


def test_a_turn_with_context_is_neither_recalled_nor_kept(responder: Responder) -> None:
    plain = question("and then?")
    remember(responder, plain, plain.reply("Out of context.", Source.MODEL))
    inside = question("and then?", said=["I ordered a lamp.", "Fine."])
    assert isinstance(responder.respond([inside])[0], Prepared)
    other = question("what else?", said=["I ordered a lamp.", "Fine."])
    remember(responder, other, other.reply("A shade.", Source.MODEL))
    assert isinstance(responder.respond([question("what else?")])[0], Prepared)


@pytest.mark.parametrize("source", [Source.CACHE, Source.KNOWLEDGE, Source.FALLBACK])
def test_what_the_model_did_not_say_is_not_kept(responder: Responder, source: Source) -> None:
    asked = question("hello")
    remember(responder, asked, asked.reply("Sorry.", source))
    assert isinstance(responder.respond([asked])[0], Prepared)


def test_a_reply_to_a_prompt_that_was_cut_is_marked_and_not_kept(responder: Responder) -> None:
    asked = question("why " * 2000)
    (said,) = generate(responder, asked).values()
    assert said.trace["truncated"] is True
    remember(responder, asked, said)
    assert isinstance(responder.respond([asked])[0], Prepared)


def test_turns_that_do_not_fit_are_counted_in_the_trace(responder: Responder) -> None:
    (said,) = generate(responder, question("and now?", said=["what a long story " * 60, "I see."] * 3)).values()
    assert said.trace["dropped_turns"] > 0
    assert said.trace["truncated"] is False


def test_each_reply_belongs_to_its_question_and_says_how_it_was_made(responder: Responder) -> None:
    asked = [question(f"question {n} {'long ' * n}", thread=f"t{n}") for n in range(5)]
    replies = generate(responder, *asked)
    assert set(replies) == {one.key for one in asked}
    for one in asked:
        said = replies[one.key]
        assert said.in_reply_to == (one.message,)
        assert said.address == one.address
        trace = said.trace
        assert 0 <= trace["first_token_ms"] <= trace["generated_ms"]
        assert trace["batch"] == 5
        assert trace["prompt_tokens"] > 0
        assert 0 < trace["tokens"] <= 6
        assert trace["finish"] in {"stop", "length"}


def test_a_model_that_says_nothing_is_apologised_for_and_nothing_is_kept(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path
) -> None:
    # Whatever it says first that can be printed ends the reply.
    configured = small(settings, stop=tuple(chr(code) for code in range(33, 127)), apology="Sorry.")
    loaded = Model.load(tiny_model, configured)
    try:
        responder = Responder(configured, redis_client, loaded)
        asked = [question(f"question {n}", thread=f"t{n}") for n in range(8)]
        for one, said in zip(asked, generate(responder, *asked).values(), strict=True):
            if said.text == "Sorry.":
                assert said.source is Source.FALLBACK
                remember(responder, one, said)
                assert isinstance(responder.respond([one])[0], Prepared)
                return
        pytest.fail("the model always said something")
    finally:
        loaded.close()


def test_a_streamed_question_is_heard_while_it_grows_and_others_are_not(responder: Responder) -> None:
    heard: list[tuple[str, str]] = []
    prepared = responder.respond([question("one", streamed=True), question("two")])
    finished: list[bool] = []
    generating = responder.generate(
        [one for one in prepared if isinstance(one, Prepared)],
        on_text=lambda key, text: heard.append((key, text)),
        on_finish=lambda: finished.append(True),
    )
    replies: dict[str, Reply] = {}
    wait_for(lambda: replies.update({key: answer.reply for key, answer in generating.ready()}) or not generating.left)
    assert {key for key, _ in heard} == {"t/one"}
    assert heard[-1][1] == replies["t/one"].text
    assert len(finished) == 2
    assert generating.tokens == sum(int(reply.trace["tokens"]) for reply in replies.values())


def test_what_the_engine_does_not_take_is_a_model_error(responder: Responder) -> None:
    (prepared,) = responder.respond([question("hello")])
    assert isinstance(prepared, Prepared)
    empty = dataclasses.replace(prepared, prompt=dataclasses.replace(prepared.prompt, tokens=()))
    with pytest.raises(ModelError, match="did not take a batch of 1"):
        responder.generate([empty], on_text=lambda key, text: None, on_finish=lambda: None)


@pytest.mark.parametrize(
    "change",
    [
        {"system_prompt": "You are rude."},
        {"max_tokens": 7},
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"repetition_penalty": 1.2},
        {"stop": ("END",)},
        {"prompt_tokens": 300},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_setting_that_changes_replies_changes_what_is_recalled(
    settings: Settings, redis_client: redis.Redis, model: Model, change: dict[str, object]
) -> None:
    asked = question("hello")
    remember(Responder(small(settings), redis_client, model), asked, asked.reply("Hello.", Source.MODEL))
    same = Responder(small(settings, lease=99.0), redis_client, model).respond([asked])[0]
    other = Responder(small(settings, **change), redis_client, model).respond([asked])[0]
    assert isinstance(same, Answer)
    assert isinstance(other, Prepared)


def test_fragments_are_one_question_with_the_earliest_deadline() -> None:
    one, two = question("my order").messages[0], question("is late").messages[0]
    later = dataclasses.replace(question("x"), messages=(two, one))
    assert later.text == "is late\nmy order"
    assert later.deadline == 9000
    assert later.message == "id is late"
    assert later.reply("Fine.", Source.MODEL).in_reply_to == ("id is late", "id my order")


def test_the_time_that_a_batch_has_run_grows(responder: Responder) -> None:
    prepared = [one for one in responder.respond([question("hello")]) if isinstance(one, Prepared)]
    generating = responder.generate(prepared, on_text=lambda key, text: None, on_finish=lambda: None)
    assert isinstance(generating, Generating)
    before = generating.seconds
    wait_for(generating.ready)
    assert generating.seconds > before
