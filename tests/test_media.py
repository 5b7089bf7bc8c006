"""Voice notes and images of every platform: what a message carries where they are read, and how each file is fetched."""

import asyncio
import base64
import dataclasses
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from connectors import slack_events
from connectors.attachments import MOST_FILES, File, legible
from connectors.contract import Edit, Fetching, Inbound, Notice, Request
from connectors.platforms import table
from connectors.simulators import freshchat, sunshine, zendesk
from connectors.simulators.chatwoot import SimulatedChatwoot
from connectors.simulators.freshchat import FreshchatSimulator
from connectors.simulators.intercom import IntercomSimulator
from connectors.simulators.server import Fault, Simulator
from connectors.simulators.slack import Slack as SlackServer
from connectors.simulators.sunshine import SunshineSimulator
from connectors.simulators.telegram import SimulatedTelegram
from connectors.simulators.zammad import SimulatedZammad
from connectors.simulators.zendesk import ZendeskSimulator
from engine.accounts import (
    Account,
    ChatwootBot,
    FreshchatBot,
    IntercomApp,
    SlackApp,
    SunshineApp,
    TelegramBot,
    ZammadDesk,
    ZendeskDesk,
)
from engine.errors import DeliveryRefused, RetryLater, UnparseableMessage, Unreadable
from engine.messages import Address, InboundMessage, Media, MediaKind
from engine.settings import Settings

TOKEN, SECRET = "a-token-of-the-tests", "a-secret-of-the-tests"
CONTENT = b"OggS a voice note"
BOT_TOKEN = "700001:AAE-simulated_token"
#: Never started: they make events, and a key pair.
FRESH, INBOX, TRIGGERS = FreshchatSimulator(token=TOKEN), SimulatedChatwoot(TOKEN, SECRET), SimulatedZammad(TOKEN, SECRET)
WORKSPACE, CHATS = IntercomSimulator(client_secret=SECRET, token=TOKEN), SimulatedTelegram(BOT_TOKEN)


@dataclass(frozen=True)
class Case:
    """One platform: an account, a server, and a message with one file."""

    platform: str
    account: Callable[[str], Account]
    server: Callable[[], Simulator]
    #: The body of a request: text, kind, and where the file is said to be.
    body: Callable[[str | None, MediaKind, str], Any]
    #: Where the server keeps the file, and what opens it.
    path: str
    opened_by: tuple[str, str] = ("", "")
    kinds: tuple[MediaKind, ...] = (MediaKind.VOICE, MediaKind.IMAGE)


def mime(kind: MediaKind) -> str:
    return "audio/ogg" if kind is MediaKind.VOICE else "image/png"


def slack_event(text: str | None, kind: MediaKind, address: str) -> Any:
    file = {"id": "F1", "mimetype": mime(kind), "url_private_download": address, "size": len(CONTENT), "mode": "hosted"}
    said = {
        "type": "message",
        "subtype": "file_share",
        "channel_type": "im",
        "channel": "D1",
        "user": "U1",
        "ts": "1.2",
        "text": text or "",
    }
    return {"type": "event_callback", "team_id": "T1", "event_id": "Ev1", "event": {**said, "files": [file]}}


def telegram_update(text: str | None, kind: MediaKind, _: str) -> Any:
    facts = {"file_id": "f1", "file_unique_id": "u1", "file_size": len(CONTENT)}
    voice: dict[str, Any] = {"voice": {**facts, "duration": 3, "mime_type": "audio/ogg"}}
    photo: dict[str, Any] = {
        "photo": [{**facts, "file_id": "small", "width": 9, "height": 9}, {**facts, "width": 90, "height": 90}]
    }
    caption = {} if text is None else {"caption": text}
    return CHATS.says(None, **caption, **(voice if kind is MediaKind.VOICE else photo))


def chatwoot_event(text: str | None, kind: MediaKind, address: str) -> Any:
    word = "audio" if kind is MediaKind.VOICE else "image"
    file = {"id": 5, "message_id": 9, "file_type": word, "extension": None, "data_url": address, "file_size": len(CONTENT)}
    return INBOX.written(INBOX.opened(1), text, attachments=[file])


def zammad_payload(text: str | None, kind: MediaKind, _: str) -> Any:
    mail = {
        "id": 54,
        "filename": "message.html",
        "size": "10",
        "preferences": {"content-alternative": True, "Mime-Type": "image/x"},
    }
    file = {"id": 55, "filename": "a", "size": str(len(CONTENT)), "preferences": {"Content-Type": mime(kind)}}
    return TRIGGERS.written(TRIGGERS.opened(1), text or "", id=901, attachments=[mail, file])


def zendesk_body(text: str | None, kind: MediaKind, address: str) -> Any:
    name = "a.ogg" if kind is MediaKind.VOICE else "a.png"
    return zendesk.triggered(comment_text=text or "", attachments=f"{address}?name={name} ")


def sunshine_body(text: str | None, kind: MediaKind, address: str) -> Any:
    event = sunshine.said("")
    word = "file" if kind is MediaKind.VOICE else "image"
    content = {"type": word, "mediaUrl": address, "mediaType": mime(kind), "mediaSize": len(CONTENT)}
    event["payload"]["message"]["content"] = content if text is None else {**content, "text": text}
    return sunshine.request_of(event)


def intercom_notification(text: str | None, kind: MediaKind, address: str) -> Any:
    file = {"type": "upload", "name": "a", "url": address, "content_type": mime(kind), "filesize": len(CONTENT)}
    return json.loads(WORKSPACE.begin(f"<p>{text or ''}</p>", attachments=[file])[1])


def freshchat_event(text: str | None, kind: MediaKind, address: str) -> Any:
    found = json.loads(FRESH.write(FRESH.begin(), *filter(None, [text]))[1])
    part: dict[str, Any] = {"image": {"url": address}}
    if kind is MediaKind.VOICE:
        part = {"file": {"url": address, "content_type": mime(kind), "file_size_in_bytes": len(CONTENT), "name": "a"}}
    found["data"]["message"]["message_parts"] = [*found["data"]["message"]["message_parts"], part]
    return found


def account(kind: type[Account], **fields: Any) -> Callable[[str], Account]:
    return lambda url: kind(
        **{"name": "shop", "tenant": "shop"} | {name: at(url) if callable(at) else at for name, at in fields.items()}
    )


def same(url: str) -> str:
    return url


_BASIC = base64.b64encode(f"{zendesk.EMAIL}/token:{zendesk.API_TOKEN}".encode()).decode()
CASES = [
    Case(
        "slack",
        account(SlackApp, signing_secret=SECRET, bot_token="xoxb-1", api_base_url=lambda url: f"{url}/api/"),
        SlackServer,
        slack_event,
        "/files-pri/T1-F1/download/a.ogg",
        ("authorization", "Bearer xoxb-1"),
    ),
    Case(
        "telegram",
        account(TelegramBot, token=BOT_TOKEN, webhook_secret=SECRET, api_base_url=same),
        lambda: SimulatedTelegram(BOT_TOKEN),
        telegram_update,
        f"/file/bot{BOT_TOKEN}/voice/f1.oga",
    ),
    Case(
        "chatwoot",
        account(ChatwootBot, base_url=same, access_token=TOKEN, secret=SECRET),
        lambda: SimulatedChatwoot(TOKEN, SECRET),
        chatwoot_event,
        "/rails/active_storage/blobs/redirect/x/a.ogg",
    ),
    Case(
        "zammad",
        account(ZammadDesk, base_url=lambda url: f"{url}/", token=TOKEN, webhook_secret=SECRET),
        lambda: SimulatedZammad(TOKEN, SECRET),
        zammad_payload,
        "/api/v1/ticket_attachment/1/901/55",
        ("authorization", f"Token token={TOKEN}"),
    ),
    Case(
        "zendesk",
        account(
            ZendeskDesk,
            base_url=same,
            email=zendesk.EMAIL,
            api_token=zendesk.API_TOKEN,
            webhook_secret=zendesk.WEBHOOK_SECRET,
            bot_user_id=str(zendesk.BOT_ID),
        ),
        ZendeskSimulator,
        zendesk_body,
        "/attachments/token/abc/",
        ("authorization", f"Basic {_BASIC}"),
    ),
    Case(
        "sunshine",
        account(
            SunshineApp,
            base_url=same,
            app_id=sunshine.APP_ID,
            key_id=sunshine.KEY_ID,
            key_secret=sunshine.KEY_SECRET,
            webhook_secret=sunshine.WEBHOOK_SECRET,
        ),
        SunshineSimulator,
        sunshine_body,
        "/media/a.ogg",
    ),
    Case(
        "intercom",
        account(IntercomApp, base_url=same, access_token=TOKEN, client_secret=SECRET, admin_id="1"),
        lambda: IntercomSimulator(client_secret=SECRET, token=TOKEN),
        intercom_notification,
        "/i/o/1/a.ogg",
    ),
    Case(
        "freshchat",
        account(FreshchatBot, base_url=same, token=TOKEN, public_key=FRESH.public_key, actor_id=freshchat.BOT),
        lambda: FreshchatSimulator(token=TOKEN),
        freshchat_event,
        "/img/a.ogg",
    ),
]
each_case = pytest.mark.parametrize("case", CASES, ids=[case.platform for case in CASES])
each_kind = pytest.mark.parametrize("kind", MediaKind)
_ON = {MediaKind.VOICE: {"transcribe": "http://127.0.0.1:9/v1"}, MediaKind.IMAGE: {"describe": "http://127.0.0.1:9/v1"}}


def settings_of(case: Case, url: str, *kinds: MediaKind) -> Settings:
    made: dict[str, Any] = {name: value for kind in kinds for name, value in _ON[kind].items()}
    return Settings(accounts={case.platform: {"shop": case.account(url)}}, secret_key="a secret key of the tests", **made)


def parsed(case: Case, body: Any, *kinds: MediaKind) -> Any:
    """What the one message of a request asks for, where these kinds are read."""
    settings = settings_of(case, "http://127.0.0.1:9", *kinds)
    if case.platform == "slack":
        found: tuple[Inbound, ...] = tuple(said.inbound for said in slack_events.event("shop", "shop", body, kinds=settings.media))
    else:
        platform: Any = table(settings, None)[case.platform]
        found = platform.parse(Request("shop", {}, json.dumps(body).encode()))
    return next((one for one in found if isinstance(one, InboundMessage | Notice | Edit)), None)


# -- coming in --------------------------------------------------------------------------------------------------------------------


@each_case
@each_kind
def test_a_file_without_a_text_gets_the_fixed_reply_where_it_is_not_read(case: Case, kind: MediaKind) -> None:
    other = MediaKind.IMAGE if kind is MediaKind.VOICE else MediaKind.VOICE
    body = case.body(None, kind, "https://files.example.com/a")

    for kinds in ((), (other,)):
        found = parsed(case, body, *kinds)
        assert isinstance(found, Notice)
        assert found.name == "no_text"


@each_case
@each_kind
def test_a_file_without_a_text_is_a_message_where_it_is_read(case: Case, kind: MediaKind) -> None:
    found = parsed(case, case.body(None, kind, "https://files.example.com/a"), kind)

    assert isinstance(found, InboundMessage)
    assert found.text == ""
    (media,) = found.media
    assert media.kind is kind
    assert media.size in (0, len(CONTENT))


@each_case
@each_kind
def test_a_text_beside_a_file_is_kept_and_the_file_with_it(case: Case, kind: MediaKind) -> None:
    body = case.body("What is this?", kind, "https://files.example.com/a")

    assert parsed(case, body).media == ()
    found = parsed(case, body, *MediaKind)
    assert (found.text, [media.kind for media in found.media]) == ("What is this?", [kind])


@each_case
def test_a_message_keeps_its_file_on_its_way(case: Case) -> None:
    found = parsed(case, case.body(None, MediaKind.VOICE, "https://files.example.com/a"), MediaKind.VOICE)

    assert InboundMessage.decode(found.encode()) == found
    assert SECRET not in found.encode().decode()
    assert TOKEN not in found.encode().decode()


def test_an_album_of_telegram_is_read_as_a_whole_and_is_one_message_otherwise() -> None:
    case = CASES[1]
    photos = [telegram_update(None, MediaKind.IMAGE, "") for _ in range(2)]
    for photo in photos:
        photo["message"]["media_group_id"] = "album"

    unread, read = ([parsed(case, photo, *kinds) for photo in photos] for kinds in ((), (MediaKind.IMAGE,)))
    assert set(unread[0].logical_ids) & set(unread[1].logical_ids)
    assert not set(read[0].dedupe_ids) & set(read[1].dedupe_ids)


def test_an_edited_caption_keeps_the_photo() -> None:
    update = telegram_update("What is this?", MediaKind.IMAGE, "")
    found = parsed(CASES[1], {"update_id": 1, "edited_message": update["message"]}, MediaKind.IMAGE)

    assert isinstance(found, Edit)
    assert [media.reference for media in found.message.media] == ["f1"]


def test_a_picture_in_the_html_of_intercom_is_an_image() -> None:
    body = json.loads(WORKSPACE.begin('<p><img src="https://downloads.example.com/a.png?x=1&amp;y=2"></p>')[1])
    found = parsed(CASES[6], body, MediaKind.IMAGE)

    assert [media.reference for media in found.media] == ["https://downloads.example.com/a.png?x=1&y=2"]


#: Lone surrogates are what JavaScript makes of half an emoji.
_FIELD = (
    st.none() | st.integers() | st.text(st.characters(), max_size=20) | st.sampled_from(["image/png", "a.ogg", "audio/x; a=b", []])
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.lists(st.builds(File, reference=_FIELD, mime=_FIELD, name=_FIELD, size=_FIELD), max_size=12))
def test_whatever_a_payload_says_of_files_what_is_kept_can_be_written(files: list[File]) -> None:
    found = legible(files, set(MediaKind))

    assert len(found) <= MOST_FILES
    message = InboundMessage(
        address=Address(platform="p", tenant="t", channel="c"), sender="s", text="", dedupe_ids=("1",), media=found
    )
    assert InboundMessage.decode(message.encode()) == message


@each_case
@given(data=st.data())
@examples(max_examples=25)
def test_strange_attachments_are_no_fault_of_ours(case: Case, data: st.DataObject) -> None:
    body = case.body("Where is my order?", MediaKind.IMAGE, "https://files.example.com/a")
    spots = [spot for spot in _spots(body) if spot[1] in {"files", "attachments", "photo", "content", "message_parts"}]
    holder, name = data.draw(st.sampled_from(spots))
    kept, holder[name] = holder[name], data.draw(_JSON)
    try:
        with suppress(UnparseableMessage):
            parsed(case, body, *MediaKind)
    finally:
        holder[name] = kept


def _spots(found: Any) -> list[tuple[dict[str, Any], str]]:
    """Every field of a body, with the object it is in."""
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    mine = [(found, name) for name in found] if isinstance(found, dict) else []
    return mine + list(itertools.chain.from_iterable(_spots(one) for one in inner))


# -- fetching ---------------------------------------------------------------------------------------------------------------------


def fetch(case: Case, server: Simulator, address: Address, media: Media, *, most: int = 1_000, **changes: Any) -> bytes:
    settings = dataclasses.replace(settings_of(case, server.url), **changes)

    async def main() -> bytes:
        # Only tokens of installations are looked up in Redis, and these accounts have their own.
        platform = table(settings, redis.asyncio.Redis(port=1))[case.platform]
        try:
            assert isinstance(platform, Fetching)
            return await platform.fetch(address, media, most)
        finally:
            await platform.close()

    return asyncio.run(main())


def kept(case: Case, server: Simulator, **how: Any) -> InboundMessage:
    """A message with a file that the server keeps."""
    address = server.keep(case.path, CONTENT, **({"opened_by": case.opened_by} | how))
    if isinstance(server, SimulatedTelegram):
        server.paths["f1"] = "voice/f1.oga"
    message = parsed(case, case.body(None, MediaKind.VOICE, address), MediaKind.VOICE)
    assert isinstance(message, InboundMessage)
    return message


@each_case
def test_a_file_is_fetched_with_the_tokens_of_its_account(case: Case) -> None:
    with case.server() as server:
        message = kept(case, server)
        assert fetch(case, server, message.address, message.media[0]) == CONTENT


@each_case
def test_an_address_that_a_customer_may_have_written_opens_no_page_of_the_api(case: Case) -> None:
    with case.server() as server:
        message = kept(case, server)
        fetch(case, server, message.address, message.media[0])
        (call,) = server.to(case.path)
    secrets = {"authorization", "api_access_token"} & set(call.headers)
    assert secrets == ({case.opened_by[0]} if case.opened_by[0] else set())


@each_case
def test_a_file_over_the_bound_is_not_fetched(case: Case) -> None:
    with case.server() as server:
        message = kept(case, server)
        with pytest.raises(Unreadable, match="larger than 5 bytes"):
            fetch(case, server, message.address, message.media[0], most=5)


@each_case
def test_a_platform_that_fails_is_asked_again_and_its_secrets_stay_out_of_the_error(case: Case) -> None:
    with case.server() as server:
        message = kept(case, server)
        server.go_wrong(case.path, Fault(status=500, body=f"{TOKEN} {BOT_TOKEN}"), Fault(drop=True))
        for _ in range(2):
            with pytest.raises(RetryLater) as caught:
                fetch(case, server, message.address, message.media[0])
            assert not [secret for secret in (TOKEN, BOT_TOKEN, "xoxb-1") if secret in str(caught.value)]
        assert fetch(case, server, message.address, message.media[0]) == CONTENT


@each_case
def test_an_account_that_is_gone_is_refused(case: Case) -> None:
    with case.server() as server:
        message = kept(case, server)
        with pytest.raises(DeliveryRefused):
            fetch(
                case,
                server,
                message.address,
                message.media[0],
                accounts={case.platform: {"other": dataclasses.replace(case.account(server.url), name="other")}},
            )


def test_a_file_of_a_server_inside_is_fetched_for_no_payload() -> None:
    with SimulatedChatwoot(TOKEN, SECRET) as inside:
        address = inside.keep("/a.ogg", CONTENT)
        for case in [case for case in CASES if case.platform not in {"telegram", "zammad"}]:
            with case.server() as server:
                message = parsed(case, case.body(None, MediaKind.VOICE, address), MediaKind.VOICE)
                with pytest.raises(Unreadable):
                    fetch(case, server, message.address, message.media[0])
        assert inside.calls == []


def test_telegram_answers_strange_paths_and_none_is_asked_for() -> None:
    case = CASES[1]
    with SimulatedTelegram(BOT_TOKEN) as server:
        message = kept(case, server)
        for path in ("/etc/passwd", "../../a", "http://127.0.0.1/a", "", "a?b", None):
            server.paths["f1"] = path  # type: ignore[assignment]
            with pytest.raises(Unreadable, match="no path"):
                fetch(case, server, message.address, message.media[0])
        del server.paths["f1"]
        with pytest.raises(DeliveryRefused, match="Wrong file_id"):
            fetch(case, server, message.address, message.media[0])
        assert {call.path.rpartition("/")[2] for call in server.calls} == {"getFile"}
