"""Tools called for claimed turns: real lanes, a real server, and whatever can go wrong between them."""

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import redis

from connectors.simulators.orders import SimulatedOrders
from connectors.simulators.server import Fault
from engine.answer import Answer
from engine.keys import Direction, acted
from engine.messages import Source
from engine.question import Question
from engine.settings import Settings
from engine.tools import Call, Tools
from engine.tools_file import load
from tests.conftest import wait_for
from tests.desk import address
from tests.loops import Mill, mill, small
from tests.registered import registered
from workers.acting import AHEAD, Acted, Acting

pytestmark = pytest.mark.one_redis

ROOT = Path(__file__).parents[1]
ORDER = {"state": "shipped", "parcels": [{"carrier": "DHL"}]}


@pytest.fixture
def shop() -> Iterator[SimulatedOrders]:
    with SimulatedOrders() as server:
        server.orders = {str(number): ORDER for number in range(123456, 123476)}
        yield server


@dataclasses.dataclass
class Stage:
    """A worker's turns, its tools and what calls them."""

    it: Mill
    tools: Tools
    acting: Acting
    woken: threading.Event

    def claims(self, *texts: str, conversation: str = "c") -> list[Question]:
        """Messages, each of a conversation of its own, as the worker has claimed them."""
        for number, text in enumerate(texts):
            self.it.desk.accept(text, to=address(f"{conversation}{number}", tenant="shop"))
        lanes = self.it.desk.lanes
        claim = lanes.claim(lanes.shards[0], Direction.IN, items=100, tokens=10**6, empty=True).run(self.it.desk.client)
        return self.it.loop.turns.hold(claim)

    def decided(self, question: Question) -> tuple[Question, Call | None]:
        found = self.tools.match(question.text, "en", "shop")
        return question, found if isinstance(found, Call) else None

    def acts(self, *texts: str) -> list[Acted]:
        """What becomes of messages that call a tool."""
        assert self.acting.admit([self.decided(question) for question in self.claims(*texts)]) == []
        return self.ended(len(texts))

    def ended(self, many: int = 1) -> list[Acted]:
        found: list[Acted] = []
        wait_for(lambda: found.extend(self.acting.ready()) or len(found) >= many)
        return found


@contextmanager
def staged(settings: Settings, model: Path, client: redis.Redis) -> Iterator[Stage]:
    with mill(small(settings), model, client) as it:
        woken = threading.Event()
        acting = Acting(settings, it.loop.turns, on_begin=lambda question: None, on_ready=woken.set)
        try:
            yield Stage(it, load(settings), acting, woken)
        finally:
            acting.close()


@pytest.fixture
def configured(settings: Settings, tmp_path: Path, shop: SimulatedOrders) -> Settings:
    return registered(settings, tmp_path, shop.url)


@pytest.fixture
def stage(configured: Settings, redis_client: redis.Redis, tiny_model: Path) -> Iterator[Stage]:
    with staged(configured, tiny_model, redis_client) as stage:
        yield stage


def test_a_tool_answers_a_turn_with_what_its_server_says(stage: Stage, shop: SimulatedOrders) -> None:
    (ended,) = stage.acts("where is my order 123456?")

    assert ended.reply.text == "Order 123456 is on its way with DHL."
    assert (ended.reply.source, ended.reply.evidence, ended.hand_over) == (Source.KNOWLEDGE, ("tool:order_status",), False)
    assert (ended.reply.trace["tool"], ended.reply.trace["tool_result"]) == ("order_status", "found")
    assert stage.woken.is_set()
    assert not stage.acting.keys
    stage.it.loop.turns.answer(ended.question.key, Answer(reply=ended.reply))
    stage.it.loop.turns.save()
    assert [delivery.reply.text for delivery in stage.it.posted()] == [ended.reply.text]
    assert "idempotency-key" not in shop.calls[0].headers


def test_what_calls_no_tool_goes_on_at_once(stage: Stage) -> None:
    questions = stage.claims("hello", "order 123456")

    kept = stage.acting.admit([stage.decided(question) for question in questions])

    assert [question.text for question in kept] == ["hello"]
    assert len(stage.acting.keys) == 1


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault(status=404), "There is no order 123456."),
        (Fault(status=500), "Order 123456 is on its way with DHL."),
        (Fault(drop=True), "Order 123456 is on its way with DHL."),
        (Fault(status=302, headers={"location": "http://169.254.169.254/"}), "Order 123456 is on its way with DHL."),
        (Fault(status=200, body="x" * 70_000), "Order 123456 is on its way with DHL."),
        (Fault(status=200, headers={"content-encoding": "gzip"}), "Order 123456 is on its way with DHL."),
    ],
)
def test_a_call_that_changes_nothing_is_made_once_more_where_it_fails(
    stage: Stage, shop: SimulatedOrders, fault: Fault, text: str
) -> None:
    shop.go_wrong("/orders/123456", fault)

    (ended,) = stage.acts("order 123456")

    assert ended.reply.text == text
    assert not [call for call in shop.calls if not call.path.startswith("/orders/")]


def test_a_server_that_is_down_or_slow_is_told_to_the_person(
    configured: Settings, redis_client: redis.Redis, tiny_model: Path, shop: SimulatedOrders, tmp_path: Path
) -> None:
    shop.go_wrong("/orders/123456", *[Fault(delay=1.0)] * 2)
    path = Path(configured.tools)
    path.write_text(path.read_text().replace("timeout = 2", "timeout = 0.2"))
    with staged(configured, tiny_model, redis_client) as stage:
        (slow,) = stage.acts("order 123456")
        down = registered(configured, tmp_path)  # nobody listens at its port
        found = load(down).match("order 123457", "en", "shop")
        (question,) = stage.claims("order 123457", conversation="d")
        assert isinstance(found, Call)
        stage.acting.admit([(question, found)])
        (gone,) = stage.ended()

    for ended in (slow, gone):
        assert ended.reply.text == "I cannot look orders up now."
        assert (ended.reply.source, ended.hand_over, ended.reply.evidence) == (Source.FALLBACK, False, ("tool:order_status",))


def test_no_batch_waits_for_a_tool(stage: Stage, shop: SimulatedOrders) -> None:
    shop.go_wrong("/orders/123456", Fault(delay=1.5))

    questions = stage.claims("order 123456", "order 123457")
    stage.acting.admit([stage.decided(question) for question in questions])
    first = stage.ended()[0]

    assert first.question.text == "order 123457"


def test_a_worker_holds_no_more_calls_than_it_can_make(
    configured: Settings, redis_client: redis.Redis, tiny_model: Path, shop: SimulatedOrders
) -> None:
    shop.go_wrong("/orders/123456", Fault(delay=0.5))
    with staged(dataclasses.replace(configured, tools_at_once=1), tiny_model, redis_client) as stage:
        questions = stage.claims(*(f"order {number}" for number in range(123456, 123456 + AHEAD + 2)))
        assert stage.acting.admit([stage.decided(question) for question in questions]) == []
        assert len(stage.acting.keys) == AHEAD
        assert len(stage.it.loop.turns) == AHEAD
        assert len(stage.ended(AHEAD)) == AHEAD


def test_a_turn_that_is_lost_gets_nothing(stage: Stage, shop: SimulatedOrders) -> None:
    shop.go_wrong("/orders/123456", Fault(delay=0.3))
    (question,) = stage.claims("order 123456")
    stage.acting.admit([stage.decided(question)])

    stage.acting.drop({question.key})

    assert (stage.acting.ready(), list(stage.acting.keys)) == ([], [])


# -- what changes something -----------------------------------------------------------------------------------------------------

CANCEL = "cancel order 123456, it comes too late"


def test_a_retried_turn_does_not_act_twice(
    stage: Stage, configured: Settings, redis_client: redis.Redis, shop: SimulatedOrders
) -> None:
    (question,) = stage.claims(CANCEL)
    for _ in range(3):
        stage.acting.admit([stage.decided(question)])
        (ended,) = stage.ended()
        assert ended.reply.text == "Order 123456 is cancelled."

    assert shop.cancelled == ["123456"]
    assert [call.headers["idempotency-key"] for call in shop.calls] == [f"{question.message}-cancel_order"]
    assert shop.calls[0].body == {"order": "123456", "by": "ann", "why": "late"}
    key = acted(question.message, "cancel_order")
    assert 0 < redis_client.pttl(key) <= 1000 * (configured.deadline_webhook + 2 * configured.lease)


def test_two_workers_at_one_turn_act_once_and_both_know_how_it_ended(
    stage: Stage, configured: Settings, shop: SimulatedOrders
) -> None:
    shop.go_wrong("/cancel", Fault(delay=0.4))
    (question,) = stage.claims(CANCEL)
    other = Acting(configured, stage.it.loop.turns, on_begin=lambda question: None, on_ready=lambda: None)
    stage.acting.admit([stage.decided(question)])
    other.admit([stage.decided(question)])
    found: list[Acted] = []
    wait_for(lambda: found.extend((*stage.acting.ready(), *other.ready())) or len(found) == 2)
    other.close()

    assert {one.reply.text for one in found} == {"Order 123456 is cancelled."}
    assert shop.cancelled == ["123456"]


def test_a_call_goes_on_when_its_turn_is_lost_and_the_next_attempt_learns_its_end(stage: Stage, shop: SimulatedOrders) -> None:
    shop.go_wrong("/cancel", Fault(delay=0.4))
    (question,) = stage.claims(CANCEL)
    stage.acting.admit([stage.decided(question)])
    wait_for(lambda: shop.calls)

    stage.acting.drop({question.key})
    stage.acting.admit([stage.decided(question)])

    assert stage.ended()[0].reply.text == "Order 123456 is cancelled."
    assert shop.cancelled == ["123456"]


def test_an_attempt_whose_end_nobody_knows_is_not_repeated_and_a_person_takes_over(
    stage: Stage, redis_client: redis.Redis, shop: SimulatedOrders
) -> None:
    (question,) = stage.claims(CANCEL)
    # A worker has died at it.
    redis_client.set(acted(question.message, "cancel_order"), b"begun", px=60_000)

    stage.acting.admit([stage.decided(question)])
    (ended,) = stage.ended()

    assert (ended.reply.text, ended.hand_over, shop.cancelled) == ("A person helps.", True, [])


@pytest.mark.parametrize("fault", [Fault(drop=True, after_effect=True), Fault(status=500, after_effect=True)])
def test_a_call_that_may_have_acted_is_not_made_again(stage: Stage, shop: SimulatedOrders, fault: Fault) -> None:
    shop.go_wrong("/cancel", fault)
    (question,) = stage.claims(CANCEL)
    for _ in range(2):
        stage.acting.admit([stage.decided(question)])
        (ended,) = stage.ended()
        assert (ended.reply.text, ended.hand_over) == ("A person helps.", True)

    assert shop.cancelled == ["123456"]


def test_a_host_that_leads_inside_is_not_called(
    configured: Settings, redis_client: redis.Redis, tiny_model: Path, shop: SimulatedOrders
) -> None:
    # `localhost` looks like a name of the open Internet, and is none.
    path = Path(configured.tools)
    path.write_text(path.read_text().replace("http://127.0.0.1", "https://localhost").replace("private = true", ""))
    allowed = dataclasses.replace(configured, tool_hosts=("localhost",))
    with staged(allowed, tiny_model, redis_client) as stage:
        (ended,) = stage.acts("order 123456")

    assert (ended.reply.text, shop.calls) == ("I cannot look orders up now.", [])


# -- the commands ---------------------------------------------------------------------------------------------------------------


def test_the_commands_show_what_a_message_would_call_and_make_the_call(
    configured: Settings, shop: SimulatedOrders, tmp_path: Path
) -> None:
    environ = {
        "REPLYMILL_TOOLS": configured.tools,
        "REPLYMILL_TOOL_HOSTS": configured.tool_hosts[0],
        "REPLYMILL_TOOL_SECRETS": "shop=a-key-of-the-shop",
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "workers.cli", "tools", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "REPLYMILL_DATA_DIR": str(tmp_path / "data"), **environ}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    listed = msgspec.json.decode(run("check", "--json"))
    assert shop.calls == []
    printed = run("try", "where is my order 123456", "--send", "--json")
    sent = msgspec.json.decode(printed)

    assert [one["tool"] for one in listed] == ["cancel_order", "order_status", "visit"]
    assert (sent["request"], sent["parameters"]) == (f"GET {shop.url}/orders/123456", {"order": "123456"})
    assert "a-key-of-the-shop" not in printed
    assert (sent["result"], sent["reply"]) == ("found", "Order 123456 is on its way with DHL.")
