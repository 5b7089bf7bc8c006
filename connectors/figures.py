"""What `/metrics` shows: counters of this process, and the backlog and the workers as Redis knows them."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from engine import roster
from engine.keys import Direction
from engine.lanes import Lanes
from engine.moves import Backlog
from engine.store import AsyncClient

CONTENT_TYPE = CONTENT_TYPE_LATEST

#: Seconds; the goal for the acknowledgement of a message is 0.1.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: What of a worker is text, and names it.
_WORKER_LABELS = ("name", "loop")


class Figures:
    """The metrics of one web process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("replymill_requests", "HTTP requests", ["route", "status"], registry=registry)
        self._inbound = Counter("replymill_inbound", "What became of verified messages", ["platform", "verdict"], registry=registry)
        self._accept = Histogram(
            "replymill_accept_seconds", "From a request to its acknowledgement", ["route"], buckets=_BUCKETS, registry=registry
        )
        self._tabs = Gauge("replymill_page_tabs", "Chat pages that are open", registry=registry)
        self._redis = Gauge("replymill_redis_up", "1 while Redis answers", registry=registry)

    def requested(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()
        if status == 202:
            self._accept.labels(route).observe(seconds)

    def settled(self, platform: str, verdict: str) -> None:
        """A verified message met its verdict."""
        self._inbound.labels(platform, verdict).inc()

    def tabs(self, count: int) -> None:
        self._tabs.set(count)

    def redis(self, *, up: bool) -> None:
        self._redis.set(1 if up else 0)

    def text(self) -> bytes:
        """The figures of this process as Prometheus reads them."""
        return generate_latest(self._registry)


async def shared_text(lanes: Lanes, client: AsyncClient) -> bytes:
    """The figures of all processes, from Redis; a registry of its own, so that a worker that is gone leaves no line behind.

    :raises StoreUnavailable: if Redis is away.
    """
    registry = CollectorRegistry()
    _show_backlog(registry, [await lanes.backlog(shard).run_async(client) for shard in lanes.shards])
    _show_workers(registry, await roster.read_async(client))
    return generate_latest(registry)


def _show_backlog(registry: CollectorRegistry, backlogs: Sequence[tuple[Backlog, Backlog]]) -> None:
    names = {
        "messages": "Messages waiting",
        "deferred": "Of these, waiting for a time",
        "lanes": "Conversations ready or leased",
        "leased": "Conversations a worker holds",
    }
    gauges = {name: Gauge(f"replymill_backlog_{name}", text, ["direction"], registry=registry) for name, text in names.items()}
    age = Gauge("replymill_backlog_age_seconds", "Age of the oldest unanswered message", ["direction"], registry=registry)
    for position, direction in enumerate((Direction.IN, Direction.OUT)):
        for name, gauge in gauges.items():
            gauge.labels(direction).set(sum(getattr(pair[position], name) for pair in backlogs))
        age.labels(direction).set(max((pair[position].age_ms for pair in backlogs), default=0) / 1000)


def _show_workers(registry: CollectorRegistry, workers: Sequence[Mapping[str, str]]) -> None:
    gauges: dict[str, Gauge] = {}
    for worker in workers:
        labels = [worker.get(name, "") for name in _WORKER_LABELS]
        for field, value in worker.items():
            number = _number(value)
            if field in _WORKER_LABELS or number is None:
                continue
            if field not in gauges:
                gauges[field] = Gauge(f"replymill_worker_{field}", f"`{field}` of a worker", _WORKER_LABELS, registry=registry)
            gauges[field].labels(*labels).set(number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
