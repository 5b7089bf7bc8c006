"""What a worker says of itself in Redis."""

import os

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StoreUnavailable
from engine.keys import worker
from engine.messages import Reply, Source
from engine.roster import LIFE
from engine.settings import Settings
from tests.desk import address
from tests.loops import Cuts, cut_client
from workers.figures import WINDOW, Figures, Rate

pytestmark = pytest.mark.one_redis


def test_figures_count_what_was_done_and_live_ten_seconds(settings: Settings, redis_client: redis.Redis) -> None:
    figures = Figures("answer@here", "answer", settings)
    figures.done(3)
    figures.done()
    figures.failed(2)
    said = Reply(in_reply_to=("a",), address=address(), text="x", source=Source.MODEL, trace={"tokens": 7})
    figures.generated([said, said, Reply(in_reply_to=("b",), address=address(), text="x", source=Source.CACHE)])
    figures.write(redis_client, waiting=5, running=2)
    kept = {name.decode(): value.decode() for name, value in redis_client.hgetall(worker(figures.name)).items()}
    assert kept | {"done": "4", "failed": "2", "tokens": "14", "waiting": "5", "running": "2"} == kept
    assert (kept["name"], kept["loop"], kept["pid"], kept["model"]) == ("answer@here", "answer", str(os.getpid()), settings.model)
    assert float(kept["rate"]) == 4.0
    assert LIFE * 1000 - 2000 < redis_client.pttl(worker(figures.name)) <= LIFE * 1000


def test_a_delivery_loop_names_no_model(settings: Settings) -> None:
    assert Figures("deliver@here", "deliver", settings).snapshot()["model"] == ""


def test_a_worker_that_leaves_takes_its_figures_with_it(settings: Settings, redis_client: redis.Redis) -> None:
    figures = Figures("answer@here", "answer", settings)
    figures.write(redis_client)
    figures.leave(redis_client)
    assert not redis_client.exists(worker(figures.name))


def test_a_worker_can_leave_while_redis_is_away_but_not_write(settings: Settings, redis_client: redis.Redis) -> None:
    with cut_client(settings.redis_url, Cuts(away=True)) as away:
        figures = Figures("answer@here", "answer", settings)
        with pytest.raises(StoreUnavailable):
            figures.write(away)
        figures.leave(away)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 100)), max_size=30))
def test_a_rate_is_what_came_in_the_last_minute(marks: list[tuple[float, int]]) -> None:
    clock = [1000.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.figures.time.monotonic", lambda: clock[0])
        rate = Rate()
        came = []
        for wait, count in marks:
            clock[0] += wait
            rate.add(count)
            came.append((clock[0], count))
        recent = sum(count for at, count in came if at >= clock[0] - WINDOW)
        assert rate.total == sum(count for _, count in marks)
        assert rate.value() == pytest.approx(recent / max(1.0, min(WINDOW, clock[0] - 1000.0)))
        clock[0] += WINDOW + 1
        assert rate.value() == 0
