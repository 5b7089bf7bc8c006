"""Turns with voice notes and images in the answering loop: real lanes, real readers, and whatever can go wrong between them."""

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from connectors.simulators.chatwoot import SimulatedChatwoot, raw
from connectors.simulators.readers import SimulatedReaders
from connectors.simulators.server import Fault
from connectors.simulators.telegram import SimulatedTelegram
from engine.accounts import ChatwootBot, TelegramBot
from engine.errors import SettingsError
from engine.keys import live
from engine.messages import Address, InboundMessage, Media, MediaKind, Owner, Role, Source
from engine.moves import Accepted
from engine.settings import Settings
from tests import lane_probe
from tests.conftest import wait_for
from tests.desk import address
from tests.doors import opened, ready
from tests.loops import Mill, mill, small
from workers.loop import Away, LoopThread
from workers.perceiving import AHEAD, TRIES

pytestmark = pytest.mark.one_redis

VOICE, PHOTO = b"OggS where is my order", b"\xff\xd8\xff a broken lamp"
SAID, SEEN = "Where is my order?", "A broken lamp."


@pytest.fixture
def bot() -> Iterator[SimulatedTelegram]:
    with SimulatedTelegram() as server:
        server.uploaded("voice", VOICE)
        server.uploaded("photo", PHOTO)
        yield server


@pytest.fixture
def senses() -> Iterator[SimulatedReaders]:
    with SimulatedReaders() as server:
        server.words = {VOICE: SAID, PHOTO: SEEN}
        yield server


@dataclasses.dataclass
class Stage:
    """The loop, and the servers it asks."""

    it: Mill
    bot: SimulatedTelegram
    senses: SimulatedReaders

    def sends(self, text: str = "", *files: str, chat: int = 42, **how: Any) -> Accepted:
        """Somebody writes, with files of these kinds or ids."""
        kinds = {"photo": MediaKind.IMAGE}
        media = tuple(Media(kind=kinds.get(name, MediaKind.VOICE), reference=name) for name in files)
        number = len(self.it.desk.client.keys("*")) * 1000 + time.monotonic_ns() % 1000
        inbound = InboundMessage(address=place(chat), sender="42", text=text, dedupe_ids=(f"700001/{chat}/{number}",), media=media)
        return self.it.desk.put(inbound, **how)

    def answered(self, *accepted: Accepted, timeout: float = 20.0) -> list[str]:
        """What history keeps of what was asked in the chat of the default."""
        self.it.until(lambda: self.it.settled(*accepted), timeout)
        return [turn.text for turn in self.it.desk.history(place()) if turn.role is Role.USER]

    def asked(self, path: str) -> int:
        return len(self.senses.to(path)) + len(self.bot.to(path))


def place(chat: int = 42) -> Address:
    return Address(platform="telegram", tenant="shop", channel=f"shop/{chat}")


def perceiving(settings: Settings, bot: SimulatedTelegram, senses: SimulatedReaders, **changes: Any) -> Settings:
    account = TelegramBot(name="shop", tenant="shop", token=bot.token, api_base_url=bot.url)
    reading = {"transcribe": senses.base_url, "describe": senses.base_url}
    return small(settings, accounts={"telegram": {"shop": account}}, **reading | changes)


@contextmanager
def staged(
    settings: Settings, model: Path, client: redis.Redis, bot: SimulatedTelegram, senses: SimulatedReaders, **changes: Any
) -> Iterator[Stage]:
    with mill(perceiving(settings, bot, senses, **changes), model, client) as it:
        try:
            yield Stage(it, bot, senses)
        finally:
            it.loop.perceiving.close()


@pytest.fixture
def stage(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, bot: SimulatedTelegram, senses: SimulatedReaders
) -> Iterator[Stage]:
    with staged(settings, tiny_model, redis_client, bot, senses) as stage:
        yield stage


# -- the ordinary way -----------------------------------------------------------------------------------------------------------


def test_a_voice_note_is_answered_by_what_is_said_in_it(stage: Stage) -> None:
    accepted = stage.sends("", "voice")

    assert stage.answered(accepted) == [f"[voice note] {SAID}"]
    (delivery,) = stage.it.posted()
    assert delivery.reply.source is Source.MODEL
    assert delivery.reply.in_reply_to == (accepted.id,)
    lane_probe.audit(stage.it.desk.client, stage.it.desk.lanes)


def test_a_signed_event_is_acknowledged_before_anything_is_fetched_and_its_voice_note_is_answered(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, senses: SimulatedReaders
) -> None:
    token, secret = "a-token-of-the-tests", "a-secret-of-the-tests"
    with SimulatedChatwoot(token, secret) as chatwoot:
        bot = ChatwootBot(name="shop", tenant="shop", base_url=chatwoot.url, access_token=token, secret=secret)
        configured = small(settings, accounts={"chatwoot": {"shop": bot}}, transcribe=senses.base_url, quiet_chat=0.0)
        stored = chatwoot.keep("/disk/voice.ogg", VOICE)
        address = chatwoot.keep("/rails/active_storage/blobs/redirect/voice.ogg", b"", moved_to=stored)
        attached = [{"id": 1, "file_type": "audio", "data_url": address, "file_size": len(VOICE)}]
        body = raw(chatwoot.written(chatwoot.opened(1), None, attachments=attached))
        with opened(dataclasses.replace(configured, quiet_chat_max=0.0)) as door:
            wait_for(lambda: ready(door))
            assert door.http.post("/chatwoot/shop", content=body, headers=chatwoot.signed(body)).status_code == 200
        assert [*chatwoot.calls, *senses.calls] == []
        with mill(configured, tiny_model, redis_client) as it:
            it.until(it.posted)
            it.loop.perceiving.close()
            talk = Address(platform="chatwoot", tenant="shop", channel="shop/7", thread="1")
            assert it.desk.history(talk)[0].text == f"[voice note] {SAID}"
        assert not [call for call in chatwoot.calls if "api_access_token" in call.headers]


def test_the_platform_shows_that_somebody_writes_while_a_file_is_read(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(delay=0.5))
    accepted = stage.sends("", "voice")
    stage.it.until(lambda: stage.asked("/transcriptions"))

    assert stage.it.desk.client.exists(live(accepted.id))
    assert stage.answered(accepted) == [f"[voice note] {SAID}"]


def test_words_beside_a_file_lead_and_every_fragment_keeps_its_place(stage: Stage) -> None:
    accepted = [stage.sends("Look at this:", "photo", "voice"), stage.sends("and answer."), stage.sends("", "photo")]

    assert stage.answered(*accepted) == [f"Look at this:\n[image] {SEEN}\n[voice note] {SAID}\nand answer.\n[image] {SEEN}"]
    assert len(stage.it.posted()) == 1


def test_a_command_reads_too(
    settings: Settings,
    redis_client: redis.Redis,
    tiny_model: Path,
    bot: SimulatedTelegram,
    senses: SimulatedReaders,
    tmp_path: Path,
) -> None:
    script = tmp_path / "hear.py"
    script.write_text("import sys; print(open(sys.argv[1], 'rb').read()[5:].decode())")
    command = f"command: {sys.executable} {script} {{file}}"
    with staged(settings, tiny_model, redis_client, bot, senses, transcribe=command) as stage:
        assert stage.answered(stage.sends("", "voice")) == ["[voice note] where is my order"]


def test_a_program_that_does_not_exist_is_refused_when_the_worker_starts(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, bot: SimulatedTelegram, senses: SimulatedReaders
) -> None:
    with (
        pytest.raises(SettingsError, match="REPLYMILL_TRANSCRIBE runs 'no-such-program'"),
        staged(settings, tiny_model, redis_client, bot, senses, transcribe="command: no-such-program {file}"),
    ):
        pass


# -- nothing to be had ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Fault(status=401), Fault(status=200, body="junk"), Fault(status=429, headers={"retry-after": "3600"}), Fault(status=302)],
    ids=["refused", "junk", "much later", "elsewhere"],
)
def test_where_reading_fails_the_text_alone_is_answered_or_the_fixed_reply(stage: Stage, fault: Fault) -> None:
    stage.senses.go_wrong("/transcriptions", fault, fault)

    assert stage.answered(stage.sends("Can you hear me?", "voice")) == ["Can you hear me?"]
    accepted = stage.sends("", "voice", chat=43)
    stage.it.until(lambda: stage.it.settled(accepted))
    fixed = stage.it.posted()[-1].reply
    assert (fixed.text, fixed.source) == (Settings().no_text, Source.FALLBACK)


def test_silence_and_a_file_that_is_gone_get_the_fixed_reply(stage: Stage) -> None:
    stage.bot.uploaded("silence", b"OggS nothing")
    accepted = [stage.sends("", "silence"), stage.sends("", "no such file", chat=43)]
    stage.it.until(lambda: stage.it.settled(*accepted))

    assert [delivery.reply.text for delivery in stage.it.posted()] == [Settings().no_text] * 2


def test_what_fails_for_now_is_tried_again_and_then_left(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(status=500), Fault(drop=True))
    stage.bot.go_wrong("/getFile", Fault(status=502))
    assert stage.answered(stage.sends("", "voice")) == [f"[voice note] {SAID}"]
    assert stage.asked("/transcriptions") == TRIES

    stage.senses.go_wrong("/transcriptions", *[Fault(status=500)] * TRIES)
    accepted = stage.sends("", "voice", chat=43)
    stage.it.until(lambda: stage.it.settled(accepted))
    assert stage.it.posted()[-1].reply.text == Settings().no_text
    assert stage.asked("/transcriptions") == 2 * TRIES


def test_a_file_over_the_bound_is_not_even_asked_for(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, bot: SimulatedTelegram, senses: SimulatedReaders
) -> None:
    with staged(settings, tiny_model, redis_client, bot, senses, media_bytes=1024) as stage:
        large = Media(kind=MediaKind.VOICE, reference="voice", size=1025)
        told = InboundMessage(address=place(), sender="42", text="", dedupe_ids=("told",), media=(large,))
        stage.bot.uploaded("larger", VOICE + bytes(1024))
        accepted = [stage.it.desk.put(told), stage.sends("", "larger", chat=43)]
        stage.it.until(lambda: stage.it.settled(*accepted))

        assert [delivery.reply.text for delivery in stage.it.posted()] == [Settings().no_text] * 2
        assert (stage.asked("/getFile"), stage.asked("/transcriptions")) == (1, 0)


def test_a_slow_reader_is_left_in_time_for_an_answer(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, bot: SimulatedTelegram, senses: SimulatedReaders
) -> None:
    with staged(settings, tiny_model, redis_client, bot, senses, media_timeout=4.0) as stage:
        stage.senses.go_wrong("/transcriptions", Fault(delay=30))
        started = time.monotonic()
        assert stage.answered(stage.sends("Hello?", "voice", "photo")) == [f"Hello?\n[image] {SEEN}"]
        assert time.monotonic() - started < 10


def test_half_of_what_is_left_until_the_deadline_is_kept_for_the_answer(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(delay=30))
    accepted = stage.sends("Hello?", "voice", deadline=4.0)

    assert stage.answered(accepted) == ["Hello?"]
    assert stage.it.record(accepted.id)["state"] == "answered"


def test_a_worker_that_reads_nothing_answers_the_text_or_says_so(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, bot: SimulatedTelegram, senses: SimulatedReaders
) -> None:
    with staged(settings, tiny_model, redis_client, bot, senses, transcribe="", describe="") as stage:
        assert stage.answered(stage.sends("Hello?", "voice")) == ["Hello?"]
        accepted = stage.sends("", "voice", chat=43)
        stage.it.until(lambda: stage.it.settled(accepted))
        assert stage.it.posted()[-1].reply.text == Settings().no_text
        assert stage.bot.calls == []


# -- beside others ----------------------------------------------------------------------------------------------------------------


def test_a_neighbour_is_answered_while_a_file_is_read(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(delay=1.0))
    slow = stage.sends("", "voice")
    stage.it.until(lambda: stage.asked("/transcriptions"))
    neighbour = stage.it.desk.accept("hello", to=address())
    stage.it.until(lambda: stage.it.settled(neighbour))

    assert not stage.it.settled(slow)
    assert stage.answered(slow) == [f"[voice note] {SAID}"]


def test_files_are_read_at_once_up_to_the_bound_and_the_rest_is_left_to_others(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, bot: SimulatedTelegram, senses: SimulatedReaders
) -> None:
    with staged(settings, tiny_model, redis_client, bot, senses, media_at_once=2) as stage:
        stage.senses.go_wrong("/transcriptions", *[Fault(delay=0.5)] * 20)
        accepted = [stage.sends("", "voice", chat=chat) for chat in range(100, 112)]
        stage.it.until(lambda: stage.asked("/transcriptions") >= 2)

        assert stage.asked("/transcriptions") == 2
        assert len(stage.it.loop.perceiving.keys) == 2 * AHEAD
        stage.it.until(lambda: stage.it.settled(*accepted), 60)
        assert {stage.it.record(one.id)["source"] for one in accepted} <= {"model", "cache"}


def test_what_was_said_meanwhile_in_the_same_chat_is_the_next_turn(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(delay=0.5))
    first = stage.sends("", "voice")
    stage.it.until(lambda: stage.asked("/transcriptions"))
    second = stage.sends("And now?")

    assert stage.answered(first, second) == [f"[voice note] {SAID}", "And now?"]


def test_a_conversation_that_a_person_took_over_while_its_file_was_read_gets_no_reply(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(delay=0.5))
    stage.sends("", "voice")
    stage.it.until(lambda: stage.asked("/transcriptions"))
    stage.it.desk.own(Owner.HUMAN, to=place())
    stage.it.until(lambda: not len(stage.it.loop.turns) and stage.it.loop.turns.saved)

    assert stage.it.posted() == []


def test_a_person_reads_in_the_history_that_there_was_a_file(stage: Stage) -> None:
    stage.it.desk.own(Owner.HUMAN, to=place())
    stage.sends("Look:", "photo")

    assert [turn.text for turn in stage.it.desk.history(place())] == ["Look:\n[image]"]


# -- leases, crashes, ends --------------------------------------------------------------------------------------------------------


def test_a_turn_whose_lease_is_lost_is_read_by_whoever_has_it_then(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(delay=30))
    accepted = stage.sends("", "voice")
    stage.it.until(lambda: stage.asked("/transcriptions"))
    stage.it.desk.advance(40)
    stage.it.desk.sweep()
    stage.it.loop._next_renewal = 0.0

    assert stage.answered(accepted) == [f"[voice note] {SAID}"]
    assert stage.asked("/transcriptions") == 2
    assert len(stage.it.posted()) == 1


def test_a_worker_that_dies_while_it_reads_leaves_the_turn_to_another(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, bot: SimulatedTelegram, senses: SimulatedReaders
) -> None:
    senses.go_wrong("/transcriptions", Fault(delay=30))
    with staged(settings, tiny_model, redis_client, bot, senses) as dying:
        accepted = dying.sends("", "voice")
        dying.it.until(lambda: dying.asked("/transcriptions"))
    with staged(settings, tiny_model, redis_client, bot, senses) as stage:
        stage.it.desk.advance(40)
        assert stage.answered(accepted) == [f"[voice note] {SAID}"]
        assert len(stage.it.posted()) == 1


def test_a_lease_is_kept_for_as_long_as_a_file_is_read(
    settings: Settings, redis_client: redis.Redis, tiny_model: Path, bot: SimulatedTelegram, senses: SimulatedReaders
) -> None:
    with staged(settings, tiny_model, redis_client, bot, senses, lease=1.0, send_timeout=0.4) as stage:
        stage.senses.go_wrong("/transcriptions", Fault(delay=2.5))
        assert stage.answered(stage.sends("", "voice")) == [f"[voice note] {SAID}"]
        assert stage.asked("/transcriptions") == 1


def test_a_turn_past_its_deadline_is_apologised_for_while_it_is_read(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(delay=30))
    accepted = stage.sends("", "voice")
    stage.it.until(lambda: stage.asked("/transcriptions"))
    stage.it.desk.advance(400)

    assert stage.answered(accepted) == ["[voice note]"]
    assert stage.it.record(accepted.id)["state"] == "apologised"


def test_a_drain_gives_back_what_is_being_read(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(delay=30))
    stage.sends("", "voice")
    stage.it.until(lambda: stage.asked("/transcriptions"))
    started = time.monotonic()
    stage.it.loop.drain(LoopThread("answer", lambda thread: None, patience=60), Away("answer"))

    assert time.monotonic() - started < 5
    (lane,) = stage.it.desk.claim().lanes
    assert lane.attempts == 0


def test_while_redis_is_away_nothing_that_was_read_is_lost(stage: Stage) -> None:
    stage.senses.go_wrong("/transcriptions", Fault(delay=0.3))
    accepted = stage.sends("", "voice")
    stage.it.until(lambda: stage.asked("/transcriptions"))
    stage.it.cuts.away = True
    stage.it.until(lambda: all(future.done() for future in stage.it.loop.perceiving._reading.values()))
    stage.it.cuts.away = False

    assert stage.answered(accepted) == [f"[voice note] {SAID}"]
    assert stage.asked("/transcriptions") == 1


def test_the_same_file_said_twice_comes_from_the_cache(stage: Stage) -> None:
    first = stage.sends("", "voice", chat=50)
    stage.it.until(lambda: stage.it.settled(first))
    second = stage.sends("", "voice", chat=51)
    stage.it.until(lambda: stage.it.settled(second))

    assert stage.it.record(second.id)["source"] == "cache"
