"""A person asks on the chat page, in a real browser, and sees the reply, where it came from, and what went wrong if it did."""

import asyncio
import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from connectors import page
from connectors.platforms import STREAMING, table
from engine.errors import DeliveryRefused, RetryLater
from engine.keys import Direction, progress
from engine.lanes import Lanes
from engine.messages import Address, Delivery, InboundMessage, Receipt, Reply, Source
from engine.moves import Outcome
from engine.settings import Settings
from engine.store import connect, connect_async
from tests.conftest import missing, wait_for
from tests.doors import Door, opened, ready
from workers import embedded

T = TypeVar("T")

CHROMIUM = Path("/usr/bin/chromium")
TAB = "t" * 32


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    with opened(dataclasses.replace(settings, quiet_chat=0, quiet_chat_max=0)) as door:
        wait_for(lambda: ready(door))
        yield door


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing(str(CHROMIUM))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(10_000)
    yield context
    context.close()


class Worker:
    """What the workers do for one message: claim it, show progress, commit and deliver the reply."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lanes = Lanes(settings)
        self.client = connect(settings)

    def claim(self) -> InboundMessage:
        """The next message, off its lane."""

        def take() -> InboundMessage | None:
            calls = [self.lanes.claim(shard, Direction.IN, items=1, tokens=10**6, empty=True) for shard in self.lanes.shards]
            for lane in [lane for call in calls for lane in call.run(self.client).lanes]:
                self.lanes.commit(lane, Outcome(record={"state": "answered"})).run(self.client)
                return InboundMessage.from_entry(lane.entries[0])
            return None

        message = wait_for(take)
        assert message
        return message

    def answer(self, message: InboundMessage, text: str, **fields: Any) -> Receipt:
        reply = Reply(
            in_reply_to=(message.id,),
            address=message.address,
            text=text,
            reference=message.dedupe_ids[0],
            **{"source": Source.MODEL, **fields},
        )
        return send(self.settings, Delivery(id=f"{message.id}-0", reply=reply))


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread of its own, because the browser's driver runs a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def send(settings: Settings, delivery: Delivery) -> Receipt:
    """Deliver as the delivery worker does."""

    async def sending() -> Receipt:
        client = await connect_async(settings)
        try:
            return await table(settings, client)["page"].send(delivery)
        finally:
            await client.aclose()

    return run_apart(sending())


@pytest.fixture
def worker(door: Door) -> Iterator[Worker]:
    worker = Worker(door.settings)
    yield worker
    worker.client.close()


def open_page(context: BrowserContext, door: Door) -> Page:
    tab = context.new_page()
    tab.goto(door.url)
    expect(tab.locator("#connection-text")).to_have_text("Connected")
    return tab


def ask(tab: Page, text: str) -> None:
    tab.get_by_label("Your message").fill(text)
    tab.get_by_label("Your message").press("Enter")


# -- in the browser ----------------------------------------------------------------------------------------------------------------


def test_a_person_gets_an_answer_and_sees_how_it_was_made(context: BrowserContext, door: Door, worker: Worker) -> None:
    tab = open_page(context, door)
    ask(tab, "Where is my order?")
    expect(tab.locator("li.mine .bubble")).to_contain_text("Where is my order?")
    expect(tab.locator(".typing")).to_be_visible()

    message = worker.claim()
    assert message.text == "Where is my order?"
    channel = progress(message.address.channel)
    wait_for(lambda: worker.client.pubsub_numsub(channel)[0][1] == 1)
    page.announce(worker.client, message.address, "text", "It is on")
    expect(tab.locator("li.draft .bubble")).to_have_text("It is on")
    page.announce(worker.client, message.address, "text", "It is on its way")
    expect(tab.locator("li.draft .bubble")).to_have_text("It is on its way")
    trace = {
        "waited_ms": 3.2,
        "prepared_ms": 1,
        "first_token_ms": 80,
        "generated_ms": 400,
        "tokens": 20,
        "prompt_tokens": 52,
        "batch": 4,
    }
    worker.answer(message, "It is on its way.", trace=trace)

    expect(tab.locator("li.theirs:not(.draft) .bubble")).to_contain_text("It is on its way.")
    expect(tab.locator("li.draft")).to_have_count(0)
    expect(tab.locator(".source")).to_have_text("Model")
    tab.locator(".facts summary").click()
    steps = tab.locator(".steps")
    for name in ("Received", "Waited for its turn", "Prepared", "Generated", "Delivered", "In all"):
        expect(steps).to_contain_text(name)
    expect(steps).to_contain_text("20 tokens at 50 a second, the first after 80 ms, from a prompt of 52, in a batch of 4.")


@pytest.mark.one_redis
@pytest.mark.parametrize(
    ("source", "shown"), [(Source.CACHE, "Cache"), (Source.FALLBACK, "Fixed text"), (Source.KNOWLEDGE, "Knowledge base")]
)
def test_every_source_has_a_name(context: BrowserContext, door: Door, worker: Worker, source: Source, shown: str) -> None:
    tab = open_page(context, door)
    ask(tab, "hello")
    worker.answer(worker.claim(), "Hello.", source=source)

    expect(tab.locator(".source")).to_have_text(shown)


@pytest.mark.one_redis
def test_what_is_written_is_shown_as_text(context: BrowserContext, door: Door, worker: Worker) -> None:
    hostile = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>\n\u202eabc & <b>bold</b>"
    tab = open_page(context, door)
    ask(tab, hostile.replace("\n", " "))
    worker.answer(worker.claim(), hostile)

    expect(tab.locator("li.theirs .bubble")).to_contain_text("<b>bold</b>")
    expect(tab.locator("li.mine .bubble")).to_contain_text("<b>bold</b>")
    assert tab.locator("#log img, #log script, #log b").count() == 0
    assert tab.title() == "Replymill"


@pytest.mark.one_redis
def test_two_tabs_of_one_browser_do_not_mix(context: BrowserContext, door: Door, worker: Worker) -> None:
    left, right = open_page(context, door), open_page(context, door)
    ask(left, "from the left")
    from_left = worker.claim()
    ask(right, "from the right")
    from_right = worker.claim()
    assert from_left.address != from_right.address

    worker.answer(from_right, "to the right")
    worker.answer(from_left, "to the left")

    expect(left.locator("li.theirs .bubble")).to_have_text("Reply: to the left")
    expect(right.locator("li.theirs .bubble")).to_have_text("Reply: to the right")


@pytest.mark.one_redis
def test_a_reload_keeps_the_conversation_and_gets_what_came_meanwhile(context: BrowserContext, door: Door, worker: Worker) -> None:
    tab = open_page(context, door)
    ask(tab, "first")
    worker.answer(worker.claim(), "the first answer")
    expect(tab.locator("li.theirs .bubble")).to_have_count(1)
    ask(tab, "second")
    message = worker.claim()
    tab.goto("about:blank")
    worker.answer(message, "the second answer")
    tab.go_back()

    expect(tab.locator("li.theirs .bubble")).to_have_text(["Reply: the first answer", "Reply: the second answer"])
    expect(tab.locator("li.mine .bubble")).to_have_count(2)
    tab.reload()
    expect(tab.locator("li.theirs .bubble")).to_have_count(2)


@pytest.mark.one_redis
def test_a_copy_of_a_tab_is_another_conversation(context: BrowserContext, door: Door, worker: Worker) -> None:
    tab = open_page(context, door)
    ask(tab, "from the first")
    first = worker.claim()
    kept = tab.evaluate("sessionStorage.getItem('chat')")
    copy = context.new_page()
    copy.add_init_script(f"sessionStorage.setItem('chat', {json.dumps(kept)})")
    copy.goto(door.url)
    expect(copy.locator("#connection-text")).to_have_text("Connected")
    ask(copy, "from the copy")

    assert worker.claim().address != first.address
    expect(copy.locator("li.mine")).to_have_count(1)


@pytest.mark.one_redis
def test_a_repeated_delivery_is_shown_once(context: BrowserContext, door: Door, worker: Worker) -> None:
    tab = open_page(context, door)
    ask(tab, "hello")
    message = worker.claim()
    worker.answer(message, "once")
    worker.answer(message, "once")
    ask(tab, "again")
    worker.answer(worker.claim(), "twice")

    expect(tab.locator("li.theirs .bubble")).to_have_text(["Reply: once", "Reply: twice"])


@pytest.mark.one_redis
def test_an_error_is_shown_in_words_and_the_text_can_be_sent_again(context: BrowserContext, door: Door, worker: Worker) -> None:
    tab = open_page(context, door)
    tab.route("**/page/messages", lambda route: route.abort())
    ask(tab, "keep me")
    expect(tab.locator(".note")).to_contain_text("The service cannot be reached")
    expect(tab.locator("li.mine.failed .bubble")).to_contain_text("keep me")
    expect(tab.locator(".typing")).to_have_count(0)

    tab.unroute("**/page/messages")
    tab.get_by_role("button", name="Try again").click()
    expect(tab.locator(".note")).to_have_count(0)
    worker.answer(worker.claim(), "kept")
    expect(tab.locator("li.theirs .bubble")).to_have_text("Reply: kept")


@pytest.mark.one_redis
def test_a_text_that_is_too_long_says_so(context: BrowserContext, settings: Settings) -> None:
    with opened(dataclasses.replace(settings, max_body=2048)) as door:
        wait_for(lambda: ready(door))
        tab = open_page(context, door)
        ask(tab, "x" * 3000)
        expect(tab.locator(".note")).to_contain_text("too long")


@pytest.mark.one_redis
def test_a_full_conversation_says_so(context: BrowserContext, settings: Settings) -> None:
    with opened(dataclasses.replace(settings, lane_messages=1)) as door:
        wait_for(lambda: ready(door))
        tab = open_page(context, door)
        ask(tab, "one")
        expect(tab.locator("li.mine")).to_have_count(1)
        ask(tab, "two")
        expect(tab.locator(".note")).to_contain_text("Too many messages are waiting here. Try again in 5 seconds.")


@pytest.mark.one_redis
def test_an_outage_is_shown_and_what_was_delivered_after_it_arrives(context: BrowserContext, tmp_path: Path) -> None:
    with embedded.serving(tmp_path / "redis", log=tmp_path / "log") as server:
        settings = Settings(redis_url=server.url, secret_key="a secret key of the tests", port=embedded.free_port(), quiet_chat=0)
        with opened(settings) as door:
            wait_for(lambda: ready(door))
            tab = open_page(context, door)
            ask(tab, "hello")
            worker = Worker(settings)
            message = worker.claim()

            server.stop()
            expect(tab.locator("#banner")).to_contain_text("The message store is away")
            ask(tab, "not taken")
            expect(tab.locator(".note")).to_contain_text("The service is away for a moment")

            server.start()
            expect(tab.locator("#banner")).to_be_hidden()
            expect(tab.locator("#connection-text")).to_have_text("Connected")
            worker.answer(message, "welcome back")
            expect(tab.locator("li.theirs .bubble")).to_have_text("Reply: welcome back")
            tab.get_by_role("button", name="Try again").click()
            worker.answer(worker.claim(), "taken now")
            expect(tab.locator("li.theirs .bubble")).to_have_count(2)
            worker.client.close()


@pytest.mark.one_redis
def test_a_lost_connection_is_shown_and_made_again(context: BrowserContext, settings: Settings) -> None:
    with opened(settings) as door:
        wait_for(lambda: ready(door))
        tab = open_page(context, door)
    expect(tab.locator("#banner")).to_contain_text("The connection is lost")
    with opened(settings):
        expect(tab.locator("#banner")).to_be_hidden(timeout=15_000)
        expect(tab.locator("#connection-text")).to_have_text("Connected")


@pytest.mark.one_redis
def test_it_works_by_keyboard_and_is_named_for_screen_readers(context: BrowserContext, door: Door, worker: Worker) -> None:
    tab = open_page(context, door)
    expect(tab.get_by_label("Your message")).to_be_focused()
    tab.keyboard.type("line one")
    tab.keyboard.press("Shift+Enter")
    tab.keyboard.type("line two")
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("button", name="Send")).to_be_focused()
    tab.keyboard.press("Enter")
    message = worker.claim()
    assert message.text == "line one\nline two"
    worker.answer(message, "Both lines read.")

    expect(tab.get_by_role("log", name="Conversation")).to_contain_text("Both lines read.")
    assert tab.locator("#log").get_attribute("aria-live") == "polite"
    tab.get_by_label("Your message").press("Enter")
    expect(tab.locator("li.mine")).to_have_count(1)


@pytest.mark.one_redis
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, door: Door, worker: Worker, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 640})
    tab = open_page(context, door)
    ask(tab, "w" * 300)
    worker.answer(worker.claim(), "A long answer. " * 40 + "x" * 300, trace={"waited_ms": 1, "generated_ms": 900})
    tab.locator(".facts summary").click()

    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("#composer").bounding_box()["y"] < 640  # type: ignore[index]
    context.close()


@pytest.mark.one_redis
def test_the_page_loads_nothing_from_elsewhere_and_complains_of_nothing(
    context: BrowserContext, door: Door, worker: Worker
) -> None:
    tab = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda line: complaints.append(line.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(door.url)
    ask(tab, "hello")
    worker.answer(worker.claim(), "Hello.")
    expect(tab.locator("li.theirs .bubble")).to_have_text("Reply: Hello.")

    assert {url for url in asked if not url.startswith(door.url)} == set()
    assert complaints == []


@pytest.mark.one_redis
def test_a_foreign_page_cannot_use_it(context: BrowserContext, settings: Settings, door: Door) -> None:
    """A page under another host name, and so another origin, tries what a malicious site would."""
    open_page(context, door)
    foreign = context.new_page()
    foreign.goto(f"http://localhost:{door.settings.port}/")
    script = f"""async () => (await fetch('{door.url}/page/messages', {{
        method: 'POST', mode: 'no-cors', credentials: 'include', headers: {{'content-type': 'text/plain'}},
        body: JSON.stringify({{tab: '{TAB}', text: 'forged'}})}})).type"""
    with contextlib.suppress(Error):
        foreign.evaluate(script)

    assert Lanes(settings).backlog(Lanes(settings).shards[0]).run(connect(settings))[0].messages == 0


# -- without a browser -------------------------------------------------------------------------------------------------------------


def with_session(door: Door) -> dict[str, str]:
    """The headers of a browser that has loaded the page."""
    return {"cookie": door.http.get("/").headers["set-cookie"].partition(";")[0], "origin": door.url}


def typed(door: Door, content: Any, **headers: str) -> httpx.Response:
    door.http.cookies.clear()
    raw = content if isinstance(content, bytes) else json.dumps(content)
    return door.http.post("/page/messages", content=raw, headers={"content-type": "application/json", **headers})


@pytest.mark.one_redis
def test_the_page_is_locked_down(door: Door) -> None:
    answered = door.http.get("/")
    policy = answered.headers["content-security-policy"]
    cookie = answered.headers["set-cookie"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "set-cookie" not in door.http.get("/").headers
    styles = (("palette.css", "text/css"), ("page.css", "text/css"))
    for name, media in (*styles, ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        asset = door.http.get(f"/static/{name}")
        assert asset.headers["content-type"].startswith(media)
        assert door.http.get(f"/static/{name}", headers={"if-none-match": asset.headers["etag"]}).status_code == 304


@pytest.mark.one_redis
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[junk"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"cookie": ""}, 403),
        ({"cookie": "replymill-page=short"}, 403),
        ({"cookie": "replymill-page=" + "ü" * 40}, 403),
        ({"content-type": "text/plain"}, 400),
        ({"content-type": ""}, 400),
        ({}, 202),
    ],
)
def test_only_our_own_page_may_post(door: Door, headers: dict[str, str], status: int) -> None:
    given = {**with_session(door), **headers}
    encoded = {name: value.encode() for name, value in given.items()}

    answered = typed(door, {"tab": TAB, "text": "hello"}, **encoded)  # type: ignore[arg-type]

    assert answered.status_code == status


@pytest.mark.one_redis
def test_a_bent_host_name_gets_nothing(door: Door) -> None:
    for path in ("/", f"/page/events?tab={TAB}"):
        assert door.http.get(path, headers={"host": "evil.example:8080"}).status_code == 403
    for host in ("localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:8080", "app.localhost"):
        assert door.http.get("/", headers={"host": host}).status_code == 200


@pytest.mark.one_redis
def test_the_operators_host_name_is_known(settings: Settings) -> None:
    with opened(dataclasses.replace(settings, page_hosts=("chat.example.com",))) as door:
        assert door.http.get("/", headers={"host": "Chat.Example.com"}).status_code == 200
        assert door.http.get("/", headers={"host": "other.example.com"}).status_code == 403


@pytest.mark.one_redis
@pytest.mark.parametrize(
    ("content", "status", "fault"),
    [
        (b"{", 400, "not JSON"),
        ([], 400, "JSON object"),
        ({"text": "x"}, 400, "tab"),
        ({"tab": "short", "text": "x"}, 400, "`tab`"),
        ({"tab": TAB + "\n", "text": "x"}, 400, "`tab`"),
        ({"tab": TAB, "text": "x", "id": "a b"}, 400, "`id`"),
        ({"tab": TAB, "text": 5}, 400, "text"),
        ({"tab": TAB, "text": " \n"}, 422, "I can only read text"),
        ({"tab": TAB}, 422, "I can only read text"),
    ],
)
def test_a_fault_of_the_page_is_named(door: Door, content: Any, status: int, fault: str) -> None:
    answered = typed(door, content, **with_session(door))

    assert answered.status_code == status
    assert fault in answered.json()["error"]["message"]


@pytest.mark.one_redis
def test_the_same_message_sent_again_is_queued_once(door: Door, redis_client: redis.Redis) -> None:
    headers = with_session(door)
    first, second = (typed(door, {"tab": TAB, "text": "hello", "id": "i" * 32}, **headers) for _ in range(2))

    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert Lanes(door.settings).backlog(Lanes(door.settings).shards[0]).run(redis_client)[0].messages == 1


def test_a_console_reads_what_a_tab_would(settings: Settings, redis_client: redis.Redis) -> None:
    session = page.new_session()
    message = page.message(session, "hello", message_id="1")
    reply = Reply(in_reply_to=("a-0",), address=message.address, text="Hello.", source=Source.CACHE, reference="x")
    assert page.events_after(redis_client, session, "0", wait=0.05) == []

    for _ in range(2):
        assert send(settings, Delivery(id="a-0-0", reply=reply)).platform_id
    send(settings, Delivery(id="b-0-0", reply=reply))

    first, repeat, other = page.events_after(redis_client, session, "0", wait=1)
    assert first.delivery == repeat.delivery == Delivery(id="a-0-0", reply=reply)
    assert page.events_after(redis_client, session, repeat.id) == [other]
    assert 0 < redis_client.ttl(f"rm:page:{session}") <= page.LIFE
    assert message.address == page.address(session)
    assert message.address.platform in STREAMING


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The URL of a Redis Cluster of one node."""
    port = next(port for port in iter(embedded.free_port, 0) if port < 55_000)  # its bus is 10,000 above
    command = [str(embedded.find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--save", ""]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            wait_for(lambda: _answers(client))
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
            wait_for(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return client.ping() is True
    return False


def test_a_tab_hears_everything_on_a_cluster_too(tmp_path: Path) -> None:
    with cluster(tmp_path) as url, opened(Settings(redis_url=url, shards=3, port=embedded.free_port(), quiet_chat=0)) as door:
        wait_for(lambda: ready(door))
        headers = with_session(door)
        worker = Worker(door.settings)
        with httpx.stream("GET", f"{door.url}/page/events", params={"tab": TAB}, headers=headers, trust_env=False) as stream:
            chunks = stream.iter_raw()
            assert b"hello" in next(chunks)
            assert typed(door, {"tab": TAB, "text": "hello"}, **headers).status_code == 202
            message = worker.claim()
            channel = progress(message.address.channel)
            wait_for(lambda: worker.client.pubsub_numsub(channel)[0][1] == 1)
            page.announce(worker.client, message.address, "text", "so far")
            assert b"so far" in next(chunks)
            worker.answer(message, "the reply")
            assert b"the reply" in next(chunks)
        worker.client.close()


@pytest.mark.one_redis
def test_a_stream_does_not_grow_without_end(settings: Settings, redis_client: redis.Redis) -> None:
    session = page.new_session()
    reply = Reply(in_reply_to=("a-0",), address=page.address(session), text="x", source=Source.CACHE)

    async def sending() -> None:
        client = await connect_async(settings)
        platform = table(settings, client)["page"]
        for number in range(page.KEPT * 3):
            await platform.send(Delivery(id=f"{number}", reply=reply))
        await client.aclose()

    run_apart(sending())

    assert page.KEPT <= redis_client.xlen(f"rm:page:{session}") < page.KEPT * 2


@pytest.mark.one_redis
def test_a_reply_without_a_session_is_refused(settings: Settings) -> None:
    address = Address(platform="page", tenant="default", channel="")
    reply = Reply(in_reply_to=("a-0",), address=address, text="x", source=Source.CACHE)

    with pytest.raises(DeliveryRefused):
        send(settings, Delivery(id="a-0-0", reply=reply))


@pytest.mark.one_redis
def test_a_reply_during_an_outage_is_delivered_later(tmp_path: Path) -> None:
    with embedded.serving(tmp_path / "redis", log=tmp_path / "log") as server:
        settings = Settings(redis_url=server.url)
        reply = Reply(in_reply_to=("a-0",), address=page.address(page.new_session()), text="x", source=Source.CACHE)

        async def sending() -> Receipt:
            client = await connect_async(settings)
            platform = table(settings, client)["page"]
            server.stop()
            with pytest.raises(RetryLater):
                await platform.send(Delivery(id="a-0-0", reply=reply))
            server.start()
            try:
                return await platform.send(Delivery(id="a-0-0", reply=reply))
            finally:
                await client.aclose()

        assert run_apart(sending()).delivery == "a-0-0"


def test_neither_cookie_nor_tab_alone_makes_a_session() -> None:
    sessions = {page.tab_session(browser, tab) for browser in ("b" * 43, "c" * 43) for tab in ("t" * 32, "u" * 32)}

    assert len(sessions) == 4
    assert all(len(session) == 32 for session in sessions)


def test_choices_are_buttons_that_say_their_text(door: Door, worker: Worker, context: BrowserContext) -> None:
    tab = context.new_page()
    tab.goto(door.url)
    tab.get_by_label("Your message").fill("My order")
    tab.keyboard.press("Enter")
    topics = ("Delivery time", "Refund <b>status</b>", "A question about something that takes many more words than the others do")
    worker.answer(worker.claim(), "What would you like to know?", source=Source.FALLBACK, choices=topics)
    group = tab.get_by_role("group", name="Choose one, or type your answer")
    expect(group.get_by_role("button")).to_have_text(list(topics))

    group.get_by_role("button", name="Refund").click()

    assert worker.claim().text == "Refund <b>status</b>"
    expect(tab.locator("li.mine .bubble").last).to_contain_text("Refund <b>status</b>")
    expect(group.get_by_role("button").first).to_be_disabled()
