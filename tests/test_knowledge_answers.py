"""Answers from a knowledge base through the whole answering loop: real lanes, real encoder, real search, a tiny real model.

The tiny model writes letters by chance, so whatever a person gets to read here came from the knowledge base or is a fixed text.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from connectors.story import Moment, moments
from engine.encoder import Encoder
from engine.handoff import BRIDGE, literal
from engine.indexing import work
from engine.knowledge import Passage
from engine.knowledge_store import KnowledgeStore
from engine.messages import Action, Address, Delivery, Reply, Source
from engine.publishing import publish
from engine.settings import Settings
from engine.trail import Event, Trail, of_message
from tests.desk import address
from tests.loops import Gated, Mill, mill, small

pytestmark = pytest.mark.one_redis

#: In a support tool there is always somebody to hand over to.
STAFFED = Address(platform="zammad", tenant="acme", channel="desk", thread="7")
REFUNDS = "https://shop.example/refunds"


def answer(text: str, *questions: str, link: str = "", document: str = "faq.jsonl", language: str = "en") -> Passage:
    return Passage(document=document, text=text, questions=questions, link=link, language=language).identified()


REFUND = answer(
    "You get your money back within 14 days.",
    "How long does a refund take?",
    "When do I get my money back?",
    "How soon will I be refunded?",
    link=REFUNDS,
)
GERMANY = answer("Shipping to Germany costs 5 euros.", "How much is shipping to Germany?", "What does delivery to Germany cost?")
FRANCE = answer("Shipping to France costs 7 euros.", "How much is shipping to France?", "What does delivery to France cost?")
PASSWORD = answer("Reset it on the sign-in page.", "How do I reset my password?", "I forgot my password")
CANCEL = answer("You can cancel an order until it is sent.", "How do I cancel my order?", "Can I cancel an order?")
WARRANTY = Passage(
    document="guide.md",
    heading=("Guide", "Warranty"),
    text="Lamps have a warranty of three years. Batteries have a warranty of one year.",
    link="https://shop.example/guide#warranty",
    language="en",
).identified()
FOREIGN = (
    answer("Bestellungen können Sie bis zum Versand stornieren.", "Wie storniere ich meine Bestellung?", language="de"),
    answer("订单发货前可以取消。", "如何取消订单？", "我可以取消订单吗？", language="zh"),
    answer("يمكنك إلغاء الطلب قبل إرساله.", "كيف ألغي طلبي؟", "هل يمكنني إلغاء الطلب؟", language="ar"),
)
SHOP = (REFUND, GERMANY, FRANCE, PASSWORD, CANCEL, WARRANTY, *FOREIGN)


def published(
    settings: Settings, client: redis.Redis, encoder: Encoder, passages: Sequence[Passage] = SHOP, *, tenant: str = ""
) -> KnowledgeStore:
    """A knowledge base that consists of these passages from now on."""
    store = KnowledgeStore(settings, client, tenant)
    store.add(passages, source="/shop")
    assert work(store, lambda: encoder, seconds=60)
    publish(store, settings, encoder=encoder.identity)
    return store


@dataclasses.dataclass
class Shop:
    """A worker that answers, and whoever writes to it."""

    it: Mill
    names: Iterator[str] = dataclasses.field(default_factory=lambda: map("m{}".format, itertools.count()))

    def says(self, text: str, *, to: Address | None = None, thread: str = "", tenant: str = "acme") -> Delivery:
        """What is posted to whoever writes this, in a conversation of its own unless one is named."""
        name = next(self.names)
        accepted = self.it.desk.accept(text, name, to=to or address(thread or name, tenant=tenant))
        self.it.until(lambda: self.it.settled(accepted))
        (posted,) = [delivery for delivery in self.it.posted() if delivery.id == f"{accepted.id}-0"]
        return posted

    def replies(self, text: str, **where: Any) -> Reply:
        return self.says(text, **where).reply

    def trail(self, posted: Delivery) -> Trail:
        lanes, message = self.it.desk.lanes, posted.id.removesuffix("-0")
        return of_message(lanes, message).run(self.it.desk.client).about(message)

    def traced(self, posted: Delivery) -> Event:
        """The event of the trace in which it was answered."""
        return next(event for event in self.trail(posted).events if event.kind in "ah")

    def moments(self, posted: Delivery) -> list[Moment]:
        """The trace as `replymill trace` and its page show it."""
        return moments(self.trail(posted), {})


@contextmanager
def opened(settings: Settings, model: Path | Gated, client: redis.Redis, **changes: Any) -> Iterator[Shop]:
    with mill(small(settings, **{"small_talk": True} | changes), model, client) as it:
        assert it.loop.responder.knowledge.settle(60)
        yield Shop(it)


@pytest.fixture
def shop(settings: Settings, redis_client: redis.Redis, tiny_model: Path, default_encoder: Encoder) -> Iterator[Shop]:
    published(settings, redis_client, default_encoder)
    with opened(settings, tiny_model, redis_client) as shop:
        yield shop


# -- the three bands ------------------------------------------------------------------------------------------------------------


def test_an_approved_answer_is_given_word_by_word_with_its_link_and_what_it_rests_on(shop: Shop) -> None:
    posted = shop.says("how long until my refund arrives?")

    reply = posted.reply
    assert reply.source is Source.KNOWLEDGE
    assert reply.text.startswith(REFUND.text)
    assert REFUNDS in reply.text
    assert reply.evidence == (f"How long does a refund take? <{REFUNDS}>",)
    assert reply.confidence
    assert reply.confidence > 0.7
    record = shop.it.record(posted.id.removesuffix("-0"))
    assert (record["state"], record["source"]) == ("answered", "knowledge")
    facts = shop.traced(posted).facts
    assert facts["evidence"] == list(reply.evidence)
    assert facts["confidence"] == pytest.approx(reply.confidence, abs=1e-4)
    assert facts["similarity"] > 0.8
    (told,) = [moment for moment in shop.moments(posted) if moment.what == "answered"]
    assert f"rests on {reply.evidence[0]}" in told.detail
    assert "by the knowledge base" in told.detail
    assert "confidence 9" in told.detail


def test_what_nobody_wrote_down_is_not_known_and_nothing_is_made_up(shop: Shop) -> None:
    reply = shop.replies("Who won the world cup in 1990?")

    assert (reply.text, reply.source, reply.evidence) == (Settings.unknown, Source.FALLBACK, ())


def test_where_there_are_people_they_get_what_is_not_known_with_what_came_nearest(shop: Shop) -> None:
    posted = shop.says("Who won the world cup in 1990?", to=STAFFED)

    assert (posted.action, posted.reply.text) == (Action.HAND_OVER, Settings.handing_over)
    record = shop.it.record(posted.id.removesuffix("-0"))
    assert (record["state"], record["reason"]) == ("handed-over", "unsure")
    assert record["evidence"]
    facts = shop.traced(posted).facts
    assert facts["evidence"]
    assert 0 < facts["confidence"] < 0.3
    (told,) = [moment for moment in shop.moments(posted) if moment.what == "left to a person"]
    assert told.detail.startswith("unsure, similarity ")
    assert "rests on" in told.detail


def test_the_people_behind_the_bridge_read_what_came_nearest_with_its_link(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, default_encoder: Encoder
) -> None:
    published(settings, redis_client, default_encoder, [REFUND, GERMANY])
    with opened(
        settings, tiny_model, redis_client, bridge="slack:acme/C0STAFF", answer_confidence=1.0, clarify_confidence=1.0
    ) as shop:
        shop.says("how long until my refund arrives?")
        (told,) = [one.reply.text for one in shop.it.posted() if one.reply.address.platform == BRIDGE]

    assert "the bot is not sure of its answer" in told
    assert literal(REFUND.text) in told
    assert literal(REFUNDS) in told


@pytest.mark.parametrize("choice", ["2", "the second one", "How much is shipping to France?", "France"])
def test_a_question_that_two_answers_fit_is_asked_back_and_the_choice_is_answered(shop: Shop, choice: str) -> None:
    asked = shop.replies("How much is shipping?", thread="one")

    assert asked.text == Settings.clarify
    assert set(asked.choices) == {GERMANY.questions[0], FRANCE.questions[0]}
    first = asked.choices[0] == GERMANY.questions[0]
    expected = FRANCE if first or "France" in choice else GERMANY
    given = shop.replies(choice, thread="one")
    assert (given.source, given.text) == (Source.KNOWLEDGE, expected.text)


def test_it_is_never_asked_back_twice_in_a_row(shop: Shop) -> None:
    assert shop.replies("How much is shipping?", thread="one").choices
    assert not shop.replies("Tell me about shipping costs", thread="one").choices


def test_a_question_that_was_approved_word_by_word_needs_no_asking_back(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, default_encoder: Encoder
) -> None:
    names = ("start", "configure", "stop", "update", "remove")
    pages = [answer(f"Run make {name}.", f"How do I {name} Replymill?", f"Replymill: {name}") for name in names]
    published(settings, redis_client, default_encoder, pages)
    with opened(settings, tiny_model, redis_client, answer_confidence=0.999) as shop:
        assert shop.replies("how do I start replymill").text == "Run make start."


def test_what_follows_up_on_a_question_is_answered_as_a_whole_one(shop: Shop) -> None:
    assert shop.replies("How much is shipping to France?", thread="one").text == FRANCE.text
    assert shop.replies("and for Germany?", thread="one").text == GERMANY.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Wie kann ich meine Bestellung stornieren?", 0), ("怎么取消订单？", 1), ("كيف يمكنني إلغاء طلبي؟", 2)],
)
def test_a_language_that_the_model_does_not_speak_gets_what_was_approved_in_it(shop: Shop, text: str, expected: int) -> None:
    reply = shop.replies(text)

    assert (reply.source, reply.text) == (Source.KNOWLEDGE, FOREIGN[expected].text)


@pytest.mark.parametrize("text", ["Verkaufen Sie auch Fahrräder für Kinder?", "你们卖自行车吗？", "هل تبيعون الدراجات الهوائية؟"])
def test_and_a_person_or_the_truth_where_there_is_nothing_in_it(shop: Shop, text: str) -> None:
    plain, handed = shop.says(text), shop.says(text, to=STAFFED)

    assert plain.reply.source is Source.FALLBACK
    assert plain.reply.evidence == ()
    assert handed.action is Action.HAND_OVER
