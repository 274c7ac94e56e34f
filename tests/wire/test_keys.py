from __future__ import annotations

import uuid
from collections import Counter

import hypothesis
import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from flowchan.errors import InvalidKeyError
from flowchan.wire import keys
from flowchan.wire.keys import EntryId

RUN = "01978a4e-7c00-7000-8000-00000000002a"
SLOTS = 16384

_names = st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True)
_entries = st.builds(EntryId, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


def slot(text: str) -> int:
    """CLUSTER KEYSLOT, by the polynomial."""
    crc = 0
    for byte in text.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ (0x1021 if crc & 0x8000 else 0)
    return (crc & 0xFFFF) % SLOTS


# --- partitions ---------------------------------------------------------------------------------------


def test_each_tag_lies_in_its_own_64th_of_the_slots_and_is_the_smallest_there() -> None:
    assert [slot(tag) // 256 for tag in keys.TAGS] == list(range(64))
    for i, tag in enumerate(keys.TAGS):
        assert not any(slot(str(smaller)) // 256 == i for smaller in range(int(tag)))


@pytest.mark.parametrize("nodes", [1, 2, 4, 8, 16, 32, 64])
def test_nodes_that_divide_64_hold_equal_shares(nodes: int) -> None:
    shares = Counter(slot(tag) * nodes // SLOTS for tag in keys.TAGS)
    assert set(shares.values()) == {64 // nodes}


@given(_names)
def test_a_run_is_in_the_partition_of_its_slot(run: str) -> None:
    assert keys.partition_tag(run) == keys.TAGS[slot(run) // 256]


def test_runs_spread_over_all_partitions() -> None:
    tags = Counter(keys.partition_tag(str(uuid_utils.uuid7())) for _ in range(6400))
    assert len(tags) == 64
    assert max(tags.values()) < 200


@given(_names, _names, st.text(max_size=20))
def test_all_keys_of_a_run_carry_one_hash_tag(run: str, channel: str, idempotency_key: str) -> None:
    mine = (
        keys.stream("flowchan", run, channel),
        keys.inputs("flowchan", run),
        keys.once("flowchan", run, channel, idempotency_key),
        keys.dead_letters("flowchan", run, channel, "shop"),
        keys.dead_letter_streams("flowchan", run),
        keys.heard("flowchan", run, channel, "shop"),
        keys.resent(keys.dead_letters("flowchan", run, channel, "shop"), keys.FIRST),
    )
    # A server takes what is between the first { and the first } behind it.
    assert {key.partition("{")[2].partition("}")[0] for key in mine} == {keys.partition_tag(run)}


# --- runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        RUN,
        RUN.upper(),
        RUN.replace("-", ""),
        uuid.UUID(RUN),
        uuid_utils.UUID(RUN),
    ],
    ids=["text", "upper case", "no dashes", "UUID", "a UUID of uuid_utils"],
)
def test_a_uuid_and_its_spellings_are_the_same_run(value: uuid.UUID | str) -> None:
    assert keys.run_id(value) == RUN


@given(_names)
def test_any_name_is_a_run_and_stays_as_it_is(name: str) -> None:
    hypothesis.assume(len(name.replace("-", "")) != 32)
    assert keys.run_id(name) == name


BAD_NAMES = ["", "a b", "a:b", "{a}", "a*", "a?", "[a]", "a/b", "a\n", "ü", "\x00", "a" * 129]


@pytest.mark.parametrize("value", BAD_NAMES, ids=repr)
def test_what_steers_slots_or_patterns_is_neither_a_run_nor_a_channel(value: str) -> None:
    with pytest.raises(InvalidKeyError, match="is no flow run ID: 1 to 128 characters"):
        keys.run_id(value)
    with pytest.raises(InvalidKeyError, match="is no key prefix: 1 to 128 characters"):
        keys.channel_name(value)


def test_a_long_bad_name_is_shown_in_part() -> None:
    with pytest.raises(InvalidKeyError) as caught:
        keys.run_id("x" * 100_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [None, 7, b"a", ["a"]], ids=repr)
def test_what_is_no_text_is_neither_a_run_nor_a_channel(value: object) -> None:
    with pytest.raises(InvalidKeyError, match=f"not {type(value).__name__}"):
        keys.run_id(value)  # type: ignore[arg-type]
    with pytest.raises(InvalidKeyError, match=f"not {type(value).__name__}"):
        keys.channel_name(value)  # type: ignore[arg-type]


# --- senders ------------------------------------------------------------------------------------------


@given(_names)
def test_the_run_of_a_sender_is_the_run_that_signed(name: str) -> None:
    run = keys.run_id(name)
    assert keys.run_of_sender(keys.sender_of_run(run)) == run


@pytest.mark.parametrize(
    "sender",
    [None, "", "andrew", "flowchan.flow-run.", "flowchan.flow-run.a:b", "flowchan.flow-run.{1}", "x.flow-run.a"],
)
def test_who_is_no_run_names_none(sender: str | None) -> None:
    assert keys.run_of_sender(sender) is None


# --- channels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, channel",
    [
        ("strAutomaticRunInput", "strautomaticruninput-auto"),
        ("My_Input", "my_input-auto"),
        ("Box[int]", "box.5b.int.5d.-auto"),
        ("Größe", "gr.f6..df.e-auto"),
        ("x" * 123, "x" * 123 + "-auto"),
    ],
)
def test_a_class_s_channel_is_its_name(name: str, channel: str) -> None:
    assert keys.channel_from_class_name(name) == channel


@given(st.text(min_size=1, max_size=200))
def test_the_channel_of_any_class_is_one(name: str) -> None:
    assert keys.channel_name(keys.channel_from_class_name(name)).endswith("-auto")


def test_long_names_that_differ_at_the_end_have_channels_that_differ() -> None:
    first, second = (keys.channel_from_class_name("x" * 200 + end) for end in "ab")
    assert first != second


# --- streams and messages -----------------------------------------------------------------------------


@given(_names, _names, _names)
def test_a_stream_s_key_tells_its_address(namespace: str, run: str, channel: str) -> None:
    assert keys.address(keys.stream(namespace, run, channel)) == (namespace, run, channel)


def test_namespaces_share_no_key() -> None:
    mine, yours = (
        {keys.stream(name, RUN, "a"), keys.inputs(name, RUN), keys.once(name, RUN, "a", "k"), keys.about(name)}
        for name in ("mine", "yours")
    )
    assert not mine & yours
    assert len(mine) == 4


@given(_names, _names, _entries)
def test_a_message_key_tells_the_place_of_the_message(run: str, channel: str, entry: EntryId) -> None:
    stream = keys.stream("flowchan", run, channel)
    assert keys.entry_of_message_key(stream, keys.message_key(stream, entry)) == entry


@given(_names, _names, _names, _entries)
def test_a_message_key_is_of_one_stream_only(run: str, other: str, channel: str, entry: EntryId) -> None:
    hypothesis.assume(run != other)
    key = keys.message_key(keys.stream("flowchan", run, channel), entry)
    assert keys.entry_of_message_key(keys.stream("flowchan", other, channel), key) is None
    assert keys.entry_of_message_key(keys.stream("other", run, channel), key) is None


@pytest.mark.parametrize("key", ["", "a", "a-1-0", "a-1-0-00000000", "ab-1-0", "a-1763661600123-0-24C07E95"])
def test_what_is_no_message_key_has_no_place(key: str) -> None:
    assert keys.entry_of_message_key(keys.stream("flowchan", "a", "a"), key) is None


@given(_names, _names, _names, _entries)
def test_a_dead_letter_s_key_is_no_message_s(run: str, channel: str, group: str, entry: EntryId) -> None:
    dead = keys.dead_letters("flowchan", run, channel, group)
    key = keys.dead_letter_key(dead, entry)
    assert key.startswith(f"{channel}-{entry}-")
    assert keys.entry_of_message_key(keys.stream("flowchan", run, channel), key) is None


@given(_names, _names)
def test_the_dead_letters_of_a_group_and_channel_are_nobody_else_s(one: str, other: str) -> None:
    hypothesis.assume(one != other)
    assert keys.dead_letters("flowchan", RUN, one, other) != keys.dead_letters("flowchan", RUN, other, one)
    with pytest.raises(InvalidKeyError):
        keys.channel_name(keys.address(keys.dead_letters("flowchan", RUN, one, other)).channel)


def test_entries_are_ordered_as_numbers() -> None:
    assert keys.FIRST < EntryId(0, 1) < EntryId(9, 5) < EntryId(10, 0) < EntryId(10, 2) < EntryId(10, 10)


@given(_entries)
def test_nothing_lies_between_an_entry_and_the_one_before(entry: EntryId) -> None:
    hypothesis.assume(entry != keys.FIRST)
    before = entry.before()
    assert before < entry
    assert (before.ms * 2**64 + before.seq) + 1 == entry.ms * 2**64 + entry.seq


@given(_entries)
def test_an_entry_s_id_is_read_as_it_is_written(entry: EntryId) -> None:
    assert EntryId.parse(str(entry)) == EntryId.parse(str(entry).encode()) == entry
