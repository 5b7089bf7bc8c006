"""What travels survives its encoding unchanged, and nothing else is taken for it."""

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from engine.errors import DecodeError
from engine.messages import (
    SCHEMA,
    Address,
    Delivery,
    Entry,
    InboundMessage,
    Media,
    MediaKind,
    Receipt,
    Reply,
    Role,
    Source,
    Turn,
    Wire,
)

#: Any text that can be sent at all: a lone surrogate is no character.
anything = st.text(st.characters(exclude_categories=["Cs"]))
moments = st.integers(0, 2**62)
facts = st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), anything)

addresses = st.builds(Address, platform=anything, tenant=anything, channel=anything, thread=anything)
replies = st.builds(
    Reply,
    in_reply_to=st.lists(anything).map(tuple),
    address=addresses,
    text=anything,
    source=st.sampled_from(Source),
    evidence=st.lists(anything).map(tuple),
    confidence=st.none() | st.floats(0, 1),
    reference=anything,
    trace=st.dictionaries(anything, facts),
    choices=st.lists(anything, max_size=3).map(tuple),
)
values: dict[type[Wire], st.SearchStrategy[Any]] = {
    Address: addresses,
    Turn: st.builds(Turn, role=st.sampled_from(Role), text=anything, at=moments),
    Reply: replies,
    Delivery: st.builds(Delivery, id=anything, reply=replies, part=st.integers(0, 1000)),
    Receipt: st.builds(Receipt, delivery=anything, platform_id=anything),
}
inbound = st.builds(
    InboundMessage,
    address=addresses,
    sender=anything,
    text=anything,
    dedupe_ids=st.lists(anything, min_size=1).map(tuple),
    media=st.lists(st.builds(Media, kind=st.sampled_from(MediaKind), reference=anything), max_size=3).map(tuple),
)
kinds = pytest.mark.parametrize("kind", [*values, InboundMessage], ids=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", values, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_value_survives_its_encoding(kind: type[Wire], data: st.DataObject) -> None:
    value = data.draw(values[kind])

    assert kind.decode(value.encode()) == value


@given(message=inbound, revision=st.integers(0, 100), received=moments, deadline=moments)
def test_a_message_survives_its_lane_with_what_the_lane_knows_of_it(
    message: InboundMessage, revision: int, received: int, deadline: int
) -> None:
    entry = Entry("id", revision, received, deadline, 8, message.encode())

    read = InboundMessage.from_entry(entry)

    assert (read.id, read.revision, read.received_at, read.deadline) == ("id", revision, received, deadline)
    assert (read.address, read.sender, read.text, read.dedupe_ids) == (
        message.address,
        message.sender,
        message.text,
        message.dedupe_ids,
    )
    assert read.encode() == message.encode()


@given(message=inbound)
def test_a_message_costs_its_lane_little_beyond_its_text(message: InboundMessage) -> None:
    empty = msgspec.structs.replace(message, text="")

    bare = len(msgspec.json.encode(message.text))
    assert len(message.encode()) == len(empty.encode()) + bare - 2


@kinds
@given(raw=st.binary() | anything.map(str.encode))
def test_bytes_that_are_nothing_raise_one_error_that_keeps_them(kind: type[Wire], raw: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        kind.decode(raw)

    assert (caught.value.raw, caught.value.kind) == (raw, kind.__name__)
    assert kind.__name__ in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | anything,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(anything, inner, max_size=3),
)


@kinds
@given(parsed=json_values)
def test_json_of_another_shape_raises_the_same_error_or_means_itself(kind: type[Wire], parsed: Any) -> None:
    raw = msgspec.json.encode(parsed) if not _too_large(parsed) else str(parsed).encode()
    try:
        value = kind.decode(raw)
    except DecodeError:
        return
    assert kind.decode(value.encode()) == value


def _too_large(parsed: Any) -> bool:
    if isinstance(parsed, list | dict):
        return any(_too_large(inner) for inner in (parsed.values() if isinstance(parsed, dict) else parsed))
    return isinstance(parsed, int) and not -(2**63) <= parsed < 2**64


@pytest.mark.parametrize("kind", values, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_truncated_value_is_never_taken_for_a_whole_one(kind: type[Wire], data: st.DataObject) -> None:
    raw = data.draw(values[kind]).encode()
    cut = data.draw(st.integers(0, len(raw) - 1))

    with pytest.raises(DecodeError):
        kind.decode(raw[:cut])


def test_nesting_that_has_no_end_raises_the_same_error() -> None:
    kinds_of_bytes: list[type[Wire]] = [*values, InboundMessage]
    for kind in kinds_of_bytes:
        with pytest.raises(DecodeError):
            kind.decode(b"[" * 100_000)


@given(schema=st.integers(-(2**31), 2**31).filter(lambda schema: schema != SCHEMA))
def test_a_schema_of_another_version_is_refused_by_number(schema: int) -> None:
    reply = Reply(in_reply_to=(), address=_SOMEWHERE, text="", source=Source.MODEL)
    message = InboundMessage(schema=schema, address=_SOMEWHERE, sender="", text="", dedupe_ids=("one",))

    with pytest.raises(DecodeError, match=f"schema {schema}, this version reads {SCHEMA}"):
        Delivery.decode(Delivery(schema=schema, id="id", reply=reply).encode())
    with pytest.raises(DecodeError, match=f"schema {schema}, this version reads {SCHEMA}"):
        InboundMessage.from_entry(Entry("id", 0, 0, 0, 0, message.encode()))


def test_a_message_that_no_id_names_is_none() -> None:
    nameless = InboundMessage(address=_SOMEWHERE, sender="", text="", dedupe_ids=())

    with pytest.raises(DecodeError):
        InboundMessage.decode(nameless.encode())


def test_fields_that_a_later_version_appends_are_ignored() -> None:
    assert Receipt.decode(b'["id","platform",{"later":1}]') == Receipt(delivery="id", platform_id="platform")


_SOMEWHERE = Address(platform="webhook", tenant="acme", channel="support")


def test_a_history_keeps_both_ends_of_a_long_turn() -> None:
    turn = Turn.kept(Role.USER, "a" * 30_000 + "b" * 30_000, at=1)

    assert len(turn.text) <= 4_010
    assert (turn.text[0], turn.text[-1]) == ("a", "b")
    assert Turn.kept(Role.USER, "short", at=1).text == "short"


def test_a_message_without_files_is_written_as_before_there_were_any_and_read_as_one_without() -> None:
    place = Address(platform="p", tenant="t", channel="c")
    message = InboundMessage(address=place, sender="s", text="hello", dedupe_ids=("1",))

    assert message.encode() == b'[1,["p","t","c",""],"s","hello",["1"]]'
    assert InboundMessage.decode(b'[1,["p","t","c",""],"s","hello",["1"]]').media == ()


def test_a_file_that_nobody_has_read_is_named_in_its_place() -> None:
    place = Address(platform="p", tenant="t", channel="c")
    files = (Media(kind=MediaKind.VOICE, reference="1"), Media(kind=MediaKind.IMAGE, reference="2"))
    message = InboundMessage(address=place, sender="s", text="look", dedupe_ids=("1",), media=files)

    assert message.shown == "look\n[voice note]\n[image]"
    assert msgspec.structs.replace(message, text="", media=files[1:]).shown == "[image]"
    assert InboundMessage.decode(message.encode()) == message
