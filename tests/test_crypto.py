"""Digests name without giving away: the same for the same, different for anything else, and nothing without the key."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from engine.crypto import Digests, Sealer, same
from engine.errors import SealError
from engine.messages import Address

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=16)
parts = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4)
words = st.text(st.characters(exclude_categories=["Cs"]))
addresses = st.builds(Address, platform=words, tenant=words, channel=words, thread=words)


@given(key=keys, purpose=words, left=parts)
def test_a_digest_is_the_same_in_every_process_and_fit_for_a_key_name(key: str, purpose: str, left: list[str]) -> None:
    digest = Digests(key).of(purpose, *left)

    assert digest == Digests(key).of(purpose, *left)
    assert re.fullmatch("[a-z2-7]{26}", digest)


@given(key=keys, left=parts, right=parts)
def test_different_parts_never_run_together(key: str, left: list[str], right: list[str]) -> None:
    assume(left != right)

    assert Digests(key).of("x", *left) != Digests(key).of("x", *right)


@given(one=keys, other=keys, what=parts)
def test_without_the_key_a_digest_says_nothing(one: str, other: str, what: list[str]) -> None:
    assume(one != other)

    assert Digests(one).of("x", *what) != Digests(other).of("x", *what)
    assert Digests(one).fingerprint() != Digests(other).fingerprint()


@given(key=keys, what=parts)
def test_different_purposes_never_meet(key: str, what: list[str]) -> None:
    assert Digests(key).of("one", *what) != Digests(key).of("two", *what)


@given(key=keys, address=addresses, thread=words)
def test_a_lane_leads_with_its_tenant_and_tells_threads_apart(key: str, address: Address, thread: str) -> None:
    digests = Digests(key)
    other = Address(platform=address.platform, tenant=address.tenant, channel=address.channel, thread=thread)

    assert re.fullmatch(r"[a-z2-7]{13}\.[a-z2-7]{26}", digests.lane(address))
    assert digests.lane(address).startswith(f"{digests.tenant(address.tenant)}.")
    assert (digests.lane(address) == digests.lane(other)) == (thread == address.thread)


@given(key=keys, address=addresses, thread=words, shards=st.integers(1, 512))
def test_all_threads_of_a_channel_share_a_shard(key: str, address: Address, thread: str, shards: int) -> None:
    digests = Digests(key)
    other = Address(platform=address.platform, tenant=address.tenant, channel=address.channel, thread=thread)

    assert digests.shard(address, shards) == digests.shard(other, shards)
    assert 0 <= digests.shard(address, shards) < shards
    assert digests.shard(address, 1) == 0


def test_channels_spread_evenly_over_the_shards() -> None:
    digests = Digests("a secret key of the tests")
    counts = [0] * 8
    for number in range(8000):
        counts[digests.shard(Address(platform="webhook", tenant="acme", channel=f"{number}"), 8)] += 1

    # Six standard deviations of a fair split.
    assert all(abs(count - 1000) < 180 for count in counts)


@given(key=keys, address=addresses, channel=words, logical=words)
def test_a_message_is_known_by_its_logical_id_wherever_in_the_tenant_it_is_posted(
    key: str, address: Address, channel: str, logical: str
) -> None:
    digests = Digests(key)
    elsewhere = Address(platform=address.platform, tenant=address.tenant, channel=channel)
    stranger = Address(platform=address.platform, tenant=address.tenant + "x", channel=address.channel)

    assert digests.message(address, logical) == digests.message(elsewhere, logical)
    assert digests.message(address, logical) != digests.message(stranger, logical)
    assert digests.message(address, logical) != digests.message(address, logical + "x")


@given(left=words, right=words)
def test_secrets_are_compared_whole(left: str, right: str) -> None:
    assert same(left, left)
    assert same(left, right) == (left == right)


# -- sealing --------------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_was_sealed_is_opened_for_the_same_purpose_alone(raw: bytes, purpose: str) -> None:
    sealer = Sealer(("a key of sixteen characters",))
    sealed = sealer.seal(purpose, raw)

    assert sealer.open(purpose, sealed) == raw
    assert len(raw) < 4 or raw not in sealed
    with pytest.raises(SealError):
        sealer.open(purpose + "x", sealed)


def test_an_old_key_opens_what_it_sealed_while_the_new_one_seals() -> None:
    old, new = "the old key, of sixteen", "the new key, of sixteen"
    sealed = Sealer((old,)).seal("token", b"xoxb")

    assert Sealer((new, old)).open("token", sealed) == b"xoxb"
    assert Sealer((new,)).open("token", Sealer((new, old)).seal("token", b"xoxb")) == b"xoxb"
    with pytest.raises(SealError, match="REPLYMILL_SEALING_KEYS"):
        Sealer((new,)).open("token", sealed)


@given(st.binary(max_size=80), st.integers(0, 200))
def test_bytes_that_were_changed_are_refused(raw: bytes, place: int) -> None:
    sealer = Sealer(("a key of sixteen characters",))
    sealed = bytearray(sealer.seal("token", raw))
    sealed[place % len(sealed)] ^= 1

    with pytest.raises(SealError):
        sealer.open("token", bytes(sealed))
    with pytest.raises(SealError):
        sealer.open("token", raw)
