"""The rows of `make bench`; each starts what it measures, for real, and stops it."""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from engine.convert import ensure
from engine.settings import Settings
from tests.bench.load import percentile, requests, send
from tests.conftest import wait_for
from tests.system import ROOT, Receiver, System
from workers import embedded

QUESTIONS = [
    "How do I reset my password?",
    "Where can I see the status of my order?",
    "Which payment methods do you accept?",
    "How long does shipping to Norway take?",
    "Can I change the delivery address later?",
    "How do I cancel my subscription today?",
    "Is there a student discount for the plan?",
    "Why was my credit card declined again?",
]


@dataclass
class Row:
    value: float
    goal: str
    ok: bool
    detail: dict[str, Any] = field(default_factory=dict)


@contextmanager
def running(*roles: str, **extra: str) -> Iterator[System]:
    """A system on an embedded Redis of its own; the default model is converted beforehand."""
    ensure(Settings().model, Settings.load({}))
    with tempfile.TemporaryDirectory() as name, embedded.serving(Path(name) / "redis", log=Path(name) / "redis.log") as server:
        receiver = Receiver()
        system = System(server.url, embedded.free_port(), Path(name), receiver, {"LEASE": "30", "SEND_TIMEOUT": "10", **extra})
        try:
            system.start(*roles)
            yield system
        finally:
            system.stop_all()
            receiver.close()


def accept_rate() -> Row:
    with running("web") as system:
        asyncio.run(send(system.port, requests(500, port=system.port)))
        paced, _ = asyncio.run(send(system.port, requests(5000, port=system.port), rate=500))
        _, seconds = asyncio.run(send(system.port, requests(5000, port=system.port)))
    p99 = percentile(paced, 99)
    detail = {"p50_ms": percentile(paced, 50), "p99_ms": p99, "offered_per_s": 500, "most_per_s": round(5000 / seconds)}
    return Row(round(5000 / seconds), "500 messages/s with p99 under 100 ms", 5000 / seconds >= 500 and p99 < 100, detail)


def accept_overhead() -> Row:
    overheads = []
    with running("web", "answer", "deliver", MAX_TOKENS="1", CACHE="false") as system:
        system.wait_delivered(system.post("Warm up.")[1].json()["id"])
        for number in range(60):
            posted_at = time.time() * 1000
            _, response = system.post(f"{QUESTIONS[number % len(QUESTIONS)]} ({number})", conversation=f"o{number}")
            timings = system.wait_delivered(response.json()["id"])
            trace = timings["timings"]
            overheads.append(timings["received_at"] + trace["waited_ms"] + trace["prepared_ms"] - posted_at)
    p50, p99 = percentile(overheads, 50), percentile(overheads, 99)
    return Row(p50, "p50 under 10 ms, p99 under 30 ms", p50 < 10 and p99 < 30, {"p50_ms": p50, "p99_ms": p99, "messages": 60})


def cached_reply() -> Row:
    times = []
    with running("web", "answer", "deliver") as system:
        system.wait_delivered(system.post(QUESTIONS[0], conversation="first")[1].json()["id"])
        for number in range(200):
            posted_at = time.time()
            webhook_id, _ = system.post(QUESTIONS[0], conversation=f"r{number}")
            (posted,) = wait_for(lambda wanted=webhook_id: system.receiver.answers_to(wanted))
            assert posted.data["source"] == "cache"
            times.append((posted.at - posted_at) * 1000)
    p50 = percentile(times, 50)
    return Row(p50, "p50 under 25 ms", p50 < 25, {"p50_ms": p50, "p99_ms": percentile(times, 99), "messages": 200})


def journey_ratio() -> Row:
    """Rounds of the bare engine and of the whole journey take turns; a fresh worker each round, its start not counted."""
    # Many, since at the end of a backlog replicas run out of work one by one, which is not saturation.
    count, rounds, length = 320, 5, 48
    texts = [f"{QUESTIONS[number % len(QUESTIONS)]} (case {number + 100})" for number in range(count)]
    bare, whole = [], []
    with running("web", "deliver", CACHE="false", MAX_TOKENS=str(length), DEADLINE_WEBHOOK="600") as system:
        for turn in range(rounds):
            bare.append(bare_rate(system, texts))
            sent = [system.post(text, conversation=f"{turn}-{text}")[1].json()["id"] for text in texts]
            system.start("answer")
            # Asking the web process all the time would take the processor from the engine.
            while len(system.receiver.posted) < count * (turn + 1):
                time.sleep(0.5)
                system.check_alive()
            found = [system.wait_delivered(message_id) for message_id in sent]
            system.stop("answer")
            began = min(one["received_at"] + one["timings"]["waited_ms"] for one in found)
            seconds = (max(one["timings"]["answered_at"] for one in found) - began) / 1000
            whole.append(sum(one["timings"]["tokens"] for one in found) / seconds)
    ratio = round(statistics.median(mine / theirs for mine, theirs in zip(whole, bare, strict=True)), 3)
    detail = {
        "journey_tokens_per_s": [round(rate) for rate in whole],
        "bare_tokens_per_s": [round(rate) for rate in bare],
        "messages": count,
        "most_tokens_a_reply": length,
    }
    return Row(ratio, "at least 0.95", ratio >= 0.95, detail)


def bare_rate(system: System, texts: list[str]) -> float:
    """Tokens per second of CTranslate2 alone, in a process of its own, with the prompts and settings of the journey."""
    command = [sys.executable, "-m", "tests.bench.bare"]
    done = subprocess.run(
        command, input=json.dumps(texts), capture_output=True, text=True, check=True, env=system.environ, cwd=ROOT
    )
    return float(json.loads(done.stdout.splitlines()[-1])["tokens_per_s"])


def cold_start() -> Row:
    times = []
    with running("web") as system:
        for number in range(5):
            message_id = system.post(f"Say {number}.", conversation=f"s{number}")[1].json()["id"]
            started = time.time()
            system.start("answer")
            times.append(wait_answered(system, message_id)["timings"]["answered_at"] / 1000 - started)
            system.stop("answer")
    median = round(statistics.median(times), 2)
    return Row(median, "under 2 s", median < 2, {"seconds": [round(one, 2) for one in times]})


def wait_answered(system: System, message_id: str) -> dict[str, Any]:
    return system.wait_state(message_id, "answered", "delivered")


def proportional_set_size(pid: int) -> float:
    """Megabytes of one process, shared pages divided among their users."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def worker_memory() -> Row:
    with running("web", "answer") as system:
        wait_answered(system, system.post("Say hello.")[1].json()["id"])
        size = round(proportional_set_size(system.processes["answer"].pid))
    return Row(size, "under 450 MB", size < 450, {"unit": "MB, proportional set size"})


#: What the web process must never load.
HEAVY = ("ctranslate2", "transformers", "torch", "celery")


def web_memory() -> Row:
    with running("web") as system:
        asyncio.run(send(system.port, requests(2000, port=system.port)))
        pid = system.processes["web"].pid
        size = round(proportional_set_size(pid))
        mapped = Path(f"/proc/{pid}/maps").read_text()
    program = f"import sys, connectors.web; print([name for name in {HEAVY} if name in sys.modules])"
    heavy = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    ok = size < 120 and heavy == "[]" and "ctranslate2" not in mapped
    detail = {"unit": "MB, proportional set size", "heavy_modules": heavy}
    return Row(size, "under 120 MB, without ctranslate2 and transformers", ok, detail)


def used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])


def bytes_per_message() -> Row:
    count = 10_000
    text = "Where is my order number 4711, please?"
    with running("web") as system, redis.Redis.from_url(system.redis_url) as client:
        asyncio.run(send(system.port, requests(100, port=system.port, text=text)))
        client.flushall()
        before = used(client)
        asyncio.run(send(system.port, requests(count, port=system.port, text=text)))
        each = (used(client) - before) / count - len(text)
    return Row(round(each), "under 1,000", each < 1000, {"messages": count, "conversations": count})


#: What is left an hour after an answer: everything but history and the keys that will have gone by then.
HOUR_MS = 3_600_000


def bytes_after_answer() -> Row:
    count = 64
    with running("web", "answer", "deliver", CACHE="false", MAX_TOKENS="4") as system:
        client = redis.Redis.from_url(system.redis_url)
        system.wait_delivered(system.post("Warm up.")[1].json()["id"])
        before = set(client.scan_iter(count=1000))
        asyncio.run(send(system.port, requests(count, port=system.port)))
        wait_for(lambda: len(system.receiver.posted) == count + 1, timeout=120)
        wait_for(lambda: client.hget("rm:{0}:out:stats", "messages") == b"0")
        left = [name for name in client.scan_iter(count=1000) if name not in before and outlives_hour(client, name)]
        each = sum(int(client.memory_usage(name) or 0) for name in left) / count
        client.close()
    return Row(round(each), "under 300", each < 300, {"messages": count, "keys": len(left)})


def outlives_hour(client: Any, name: bytes) -> bool:
    life = client.pttl(name)
    return b":h:" not in name and (life == -1 or life > HOUR_MS)


ROWS: dict[str, Callable[[], Row]] = {
    "accept-overhead": accept_overhead,
    "accept-rate": accept_rate,
    "cached-reply": cached_reply,
    "journey-ratio": journey_ratio,
    "cold-start": cold_start,
    "worker-memory": worker_memory,
    "web-memory": web_memory,
    "bytes-per-message": bytes_per_message,
    "bytes-after-answer": bytes_after_answer,
}
