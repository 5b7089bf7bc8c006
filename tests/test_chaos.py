"""`replymill chaos` for real, in small: the faults, the parts it stands on, and a bot that must not pass."""

import asyncio
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.signatures import secret_bytes, sign
from connectors.simulators.webhook import WebhookReceiver
from engine.convert import ensure
from engine.generation import Request
from engine.model import Model
from engine.settings import Settings
from tests.conftest import wait_for
from tests.system import CALLBACK_SECRET, ROOT
from workers import cli
from workers.chaos import echo
from workers.chaos.faults import FAULTS
from workers.chaos.ledger import Kind
from workers.chaos.plan import Plan, Planned
from workers.chaos.run import Run
from workers.chaos.sides import WebhookSide
from workers.chaos.world import World
from workers.embedded import free_port
from workers.processes import Child

#: A run of seconds with every fault.
SHORT = ["--messages", "90", "--conversations", "21", "--rate", "12", "--spacing", "0.8", "--lease", "2", "--deadline", "60"]


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workers.cli", "chaos", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)


@pytest.mark.slow
def test_a_short_run_with_every_fault_loses_nothing_says_nothing_twice_and_keeps_the_order() -> None:
    done = chaos(*SHORT, "--seed", "4", "--json")

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["ok"]
    assert sum(one["accepted"] for one in found["platforms"].values()) == 90
    assert set(found["recovery"]) == set(FAULTS) - {"duplicate", "reorder"}
    assert set(found["platforms"]) == {"webhook", "slack", "telegram"}


def test_the_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended_with:
        cli.run(["chaos", "--list"])

    assert ended_with.value.code == 0
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()] == list(FAULTS)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("--faults kill-wrker", "kill-wrker"),
        ("--platforms fax", "fax"),
        ("--unclear maybe", "at-most-once"),
        ("--model gguf:x", "--platforms webhook"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(wrong: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.run(["chaos", *wrong.split()])

    assert refused.value.code == 2
    assert named in " ".join(capsys.readouterr().err.replace("│", " ").split())


# -- a bot that must not pass ---------------------------------------------------------------------------------------------------


class Careless(ThreadingHTTPServer):
    """A bot that acknowledges everything, and then does with each message what it must not."""

    daemon_threads = True

    def __init__(self, side: WebhookSide) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        environ = side.environ()
        self.callback = environ["WEBHOOK_CHAOS_CALLBACK_URL"]
        self.secret = environ["WEBHOOK_CHAOS_SECRET"]
        self.said = 0

    def say(self, conversation: str, text: str) -> None:
        self.said += 1
        body = json.dumps({"data": {"conversation": conversation, "text": text}}).encode()
        headers = sign(secret_bytes(self.secret), f"reply-{self.said}", timestamp=int(time.time()), body=body)
        httpx.post(self.callback, content=body, headers=headers, trust_env=False).raise_for_status()

    def answer(self, conversation: str, text: str) -> None:
        if text == "m1":
            self.say(conversation, "m1")
            self.say(conversation, "m1")
        elif text == "m3":
            self.say("555", "m3")
        elif text == "m4":
            self.say(conversation, "m4")
            self.say(conversation, "m2")


class Answering(BaseHTTPRequestHandler):
    server: Careless

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.answer(asked["conversation"], asked["text"])
        self.send_response(202)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def careless() -> Iterator[World]:
    """A world in which that bot runs."""
    side = WebhookSide()
    with ExitStack() as stack:
        stack.enter_context(side.server)
        server = stack.enter_context(Careless(side))
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        stack.callback(server.shutdown)
        yield World({}, {"webhook": side}, f"http://127.0.0.1:{server.server_address[1]}", 0.3, lambda: 0)


def test_a_bot_that_forgets_repeats_itself_and_mixes_things_up_does_not_pass() -> None:
    messages = [Planned(number=number, platform="webhook", conversation=1, at=number / 2) for number in range(5)]
    with careless() as world:
        result = Run(world, Plan(messages), deadline=10, unclear="at-least-once", tell=lambda _: None).carry_out()

    found = result.accounts["webhook"]
    assert found.repeated == 1  # m1
    assert dict(found.wrong) == {"misplaced": [3], "lost": [0, 3], "reordered": [2]}
    assert result.breaches() == {"webhook": ["2 lost", "1 said twice", "1 out of order", "1 misplaced"]}


def test_of_another_model_the_ids_of_a_reply_tell_what_it_answers() -> None:
    side = WebhookSide()
    side.by_ids = True
    said = {"conversation": "3", "text": "Whatever.", "source": "model"}
    with side.server:
        for number in (7, 8):
            message = Planned(number=number, platform="webhook", conversation=3, at=0.0)
            side.accepted(message, json.dumps({"id": f"id-{number}"}).encode())
        side.keep({**said, "ids": ["id-7", "id-8"]})
        side.keep({**said, "ids": ["id-7"], "source": "fallback", "text": Settings.apology})
        side.keep({**said, "ids": ["id-9"]})
        answer, apology, foreign = side.posts()

    assert (answer.kind, answer.covers) == (Kind.ANSWER, (7, 8))
    assert (apology.kind, apology.covers) == (Kind.APOLOGY, ())
    assert foreign.covers
    assert not {7, 8} & set(foreign.covers)


# -- the parts ------------------------------------------------------------------------------------------------------------------


def test_the_model_repeats_its_question_whatever_it_is_and_however_long(tmp_path: Path) -> None:
    settings = Settings(
        cache_dir=tmp_path / "cache", compute_type="float32", replicas=1, system_prompt="", repetition_penalty=1.0, max_tokens=1000
    )
    folder = ensure(f"path:{echo.write(tmp_path / 'echo')}", settings)
    model = Model.load(folder, settings)
    rng = random.Random(3)
    letters = "0123456789m \n[]~"
    questions = ["m1", "m12\nm13", "A question, isn't it?", "x" * 900]
    questions += ["m" + "".join(rng.choice(letters) for _ in range(rng.randrange(1, 900))).strip() for _ in range(4)]

    replies = model.generate([Request(tokens=model.prompter.build(question).tokens) for question in questions])

    assert [reply.text for reply in replies] == questions
    model.close()


@contextmanager
def sleeping(*names: str) -> Iterator[World]:
    """A world of processes that do nothing."""
    children = {name: Child(name, ["/bin/sleep", "600"]) for name in names}
    with World(children, {}, "", 0.2, lambda: 0) as world:
        for name in names:
            world.bring_back(name)
        yield world


def state(child: Child) -> str:
    """`S` sleeping, `T` stopped, as /proc has it; `-` where there is no process."""
    if child.pid is None or child.ended() is not None:
        return "-"
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_kill_and_a_pause_hit_one_process_of_their_roles_and_are_taken_back() -> None:
    async def struck(world: World, name: str) -> list[str]:
        before = {one: child.pid for one, child in world.children.items()}
        strike = asyncio.create_task(FAULTS[name].inject(world, random.Random(5)))
        seen: set[str] = set()
        while not strike.done():
            seen |= {one for one, child in world.children.items() if state(child) in "-T" or child.pid != before[one]}
            await asyncio.sleep(0.005)
        await strike
        return sorted(seen | {one for one, child in world.children.items() if child.pid != before[one]})

    with sleeping("web", "answer-1", "deliver-1", "redis", "proxy") as world:
        wait_for(lambda: all(Path(f"/proc/{child.pid}/comm").read_text() == "sleep\n" for child in world.children.values()))
        assert asyncio.run(struck(world, "kill-web")) == ["web"]
        assert asyncio.run(struck(world, "kill-redis")) == ["redis"]
        assert asyncio.run(struck(world, "cut-connections")) == ["proxy"]
        (paused,) = asyncio.run(struck(world, "pause-worker"))
        assert paused in ("answer-1", "deliver-1")
        wait_for(lambda: {state(child) for child in world.children.values()} == {"S"})


def test_a_process_that_ends_by_itself_is_counted_and_started_again() -> None:
    async def tended(world: World) -> None:
        tending = asyncio.create_task(world.tend())
        world.children["web"].signal(9)  # type: ignore[arg-type]
        while not world.ended:  # noqa: ASYNC110 - the world tells nobody
            await asyncio.sleep(0.01)
        tending.cancel()

    with sleeping("web") as world:
        before = world.children["web"].pid
        asyncio.run(asyncio.wait_for(tended(world), 10))

        assert world.ended == {"web": 1}
        assert world.children["web"].pid not in (None, before)


def test_the_proxy_passes_on_both_ways_and_a_kill_cuts_what_goes_through_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = free_port()
        proxy = Child("proxy", [sys.executable, "-m", "workers.chaos.proxy", str(port), str(server.getsockname()[1])], folder=ROOT)
        proxy.spawn()
        try:
            client = wait_for(lambda: reached(port))
            far, _ = server.accept()
            with client, far:
                client.sendall(b"x" * 100_000)
                assert len(far.recv(100_000, socket.MSG_WAITALL)) == 100_000
                far.sendall(b"back")
                assert client.recv(4) == b"back"
                proxy.sweep()
                assert ended(client)
                assert ended(far)
        finally:
            proxy.sweep()


def reached(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=10)
    except ConnectionRefusedError:
        return None


def ended(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_receiver_of_callbacks_takes_what_is_signed_and_each_id_once() -> None:
    body = json.dumps({"data": {"conversation": "c", "text": "hello"}}).encode()
    with WebhookReceiver(CALLBACK_SECRET) as receiver, httpx.Client(trust_env=False) as client:
        headers = sign(secret_bytes(CALLBACK_SECRET), "one", timestamp=int(time.time()), body=body)
        statuses = [client.post(receiver.callback, content=body, headers=headers).status_code for _ in range(2)]
        forged = client.post(receiver.callback, content=body, headers={**headers, "webhook-signature": "v1,AAAA"})

    assert (statuses, forged.status_code) == ([204, 204], 400)
    assert receiver.replies == [{"conversation": "c", "text": "hello"}]
    assert receiver.ids == ["one", "one"]


def test_every_fault_says_in_the_documentation_what_it_does() -> None:
    page = (ROOT / "docs" / "chaos.md").read_text()

    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, re.M)) == set(FAULTS)
