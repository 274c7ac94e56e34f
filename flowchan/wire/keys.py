"""The only place where a key is spelt: runs, partitions, channels, streams, message keys."""

from __future__ import annotations

import binascii
import re
import sys
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from flowchan.errors import InvalidKeyError

PARTITIONS = 64
"""Into how many hash slots the runs of a namespace are spread. Fixed with format version 1."""

SENDER_PREFIX = "flowchan.flow-run."

SLOTS = 16_384
"""Into how many hash slots a Cluster spreads its keys."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]")
_LARGEST = 2**64 - 1
_ENTRY = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_MESSAGE_ID = re.compile(r"[0-9a-f]{16}-[1-9a-f][0-9a-f]{0,13}")
_HEX_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


def _tags() -> tuple[str, ...]:
    """For each of 64 equal ranges of the slots, the smallest number that Redis hashes into it.

    Tags taken as they come spread badly: 64 of them over 16 nodes leave one node with twice the mean.
    """
    width = SLOTS // PARTITIONS
    found: dict[int, str] = {}
    number = 0
    while len(found) < PARTITIONS:
        found.setdefault(_slot(str(number)) // width, str(number))
        number += 1
    return tuple(found[i] for i in range(PARTITIONS))


def _slot(text: str) -> int:
    return binascii.crc_hqx(text.encode(), 0) % SLOTS


@lru_cache(maxsize=16_384)
def slot(key: str) -> int:
    """The hash slot of a key, as a Cluster has it: that of the tag within braces, if there is one."""
    _, _, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return _slot(tag if closed and tag else key)


TAGS = _tags()


class EntryId(NamedTuple):
    """The ID of a stream's entry: ordered as the server orders it."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    def first_of_its_time(self) -> EntryId:
        """The first ID of this one's millisecond."""
        return EntryId(self.ms, 0)

    def before(self) -> EntryId:
        """The greatest ID that is less than this one, if there is one."""
        if self.seq:
            return EntryId(self.ms, self.seq - 1)
        return EntryId(self.ms - 1, _LARGEST) if self.ms else self

    @classmethod
    def parse(cls, text: str | bytes) -> EntryId:
        """From ``<milliseconds>-<sequence>``, as the server writes it."""
        ms, seq = text.split(b"-" if isinstance(text, bytes) else "-")  # type: ignore[arg-type]
        return _entry_id(cls, (int(ms), int(seq)))


_entry_id = tuple.__new__  # half the time of EntryId(...), and every entry has one


FIRST = EntryId(0, 0)
"""Before every entry."""


class Address(NamedTuple):
    """Where a stream belongs."""

    namespace: str
    run: str
    channel: str


def run_id(value: UUID | str) -> str:
    """The one spelling of a run's ID: a UUID in lower case with dashes, any other name as it is.

    Raises:
        InvalidKeyError: it is neither a UUID nor a name of ``[A-Za-z0-9_.-]{1,128}``.
    """
    if not isinstance(value, str):
        # uuid-utils and others have UUID classes of their own; only their text counts.
        if type(value).__name__ != "UUID":
            raise InvalidKeyError(f"A flow run ID is a UUID or a string, not {type(value).__name__}.")
        value = str(value)
    return _run_id(value)


@lru_cache(maxsize=16_384)
def _run_id(value: str) -> str:
    if _HEX_UUID.fullmatch(value):
        return str(UUID(value))
    return _checked(value, "flow run ID")


def channel_name(value: str) -> str:
    """A channel as given by the user.

    Raises:
        InvalidKeyError: it is not of ``[A-Za-z0-9_.-]{1,128}``.
    """
    return _checked(value, "key prefix")


def group_name(value: str) -> str:
    """A group as given by the user.

    Raises:
        InvalidKeyError: it is not of ``[A-Za-z0-9_.-]{1,128}``, or begins with ``flowchan-``, as our own do.
    """
    if isinstance(value, str) and value.startswith("flowchan-"):
        raise InvalidKeyError(f"{value!r} is no group: names that begin with 'flowchan-' are flowchan's own.")
    return _checked(value, "group")


def channel_from_class_name(name: str) -> str:
    """The channel of a class: ``<class name lower>-auto``.

    A character that a key may not hold is spelt as its code, so that two classes never share by accident.
    """
    spelt = _FOREIGN.sub(lambda match: f".{ord(match[0]):x}.", name.lower())
    channel = f"{spelt}-auto"
    if len(channel) > 128:
        digest = f"{binascii.crc32(channel.encode()):08x}"
        channel = f"{spelt[:114]}-{digest}-auto"
    return channel


def sender_of_run(run: str) -> str:
    """How a run signs what it sends."""
    return SENDER_PREFIX + run


@lru_cache(maxsize=16_384)
def run_of_sender(sender: str | None) -> str | None:
    """The run that a sender names, or None where it names none (checked, for it is the client's word)."""
    if sender is None or not sender.startswith(SENDER_PREFIX):
        return None
    try:
        return run_id(sender[len(SENDER_PREFIX) :])
    except InvalidKeyError:
        return None


def partition_tag(run: str) -> str:
    """The hash tag of a run's partition: all keys of a run are in one slot."""
    return TAGS[_slot(run) * PARTITIONS // SLOTS]


@lru_cache(maxsize=16_384)
def stream(namespace: str, run: str, channel: str) -> str:
    """The stream of one channel of one run."""
    return f"{namespace}:{{{partition_tag(run)}}}:{run}:{channel}"


def inputs(namespace: str, run: str) -> str:
    """The hash of a run's stored inputs: schemas, descriptions, responses."""
    return f"{namespace}:{{{partition_tag(run)}}}:{run}:@inputs"


def record(namespace: str, run: str) -> str:
    """The hash of what is known of a run: its flow, its state, who executes it."""
    return f"{namespace}:{{{partition_tag(run)}}}:{run}:@run"


def states(namespace: str, run: str) -> str:
    """The stream of a run's states, from the first."""
    return f"{namespace}:{{{partition_tag(run)}}}:{run}:@states"


def due(namespace: str, tag: str) -> str:
    """The sorted set of a partition's runs that something happens to if nobody stops it, by when."""
    return f"{namespace}:{{{tag}}}:@due"


def runs(namespace: str, tag: str) -> str:
    """The sorted set of a partition's runs, by when they were made."""
    return f"{namespace}:{{{tag}}}:@runs"


def nothing(namespace: str, tag: str) -> str:
    """A key of a partition that is never there."""
    return f"{namespace}:{{{tag}}}:@nothing"


def requests(namespace: str, tag: str, deployment: str) -> str:
    """The stream of those of a partition's runs that a deployment is asked to execute."""
    return f"{namespace}:{{{tag}}}:{deployment}:@requests"


def deployment(namespace: str, deployment_id: str) -> str:
    """The hash of what is known of a deployment."""
    return f"{namespace}:{{{partition_tag(deployment_id)}}}:{deployment_id}:@deployment"


def deployments(namespace: str) -> str:
    """The hash of a namespace's deployments: their names by their IDs."""
    return f"{namespace}:@deployments"


def control(namespace: str, holder: str) -> str:
    """The stream by which who executes runs is told to look at one of them."""
    return f"{namespace}:{{{partition_tag(holder)}}}:{holder}:@control"


def alive(stream_key: str, client: str) -> str:
    """The mark that a client lives which has groups in streams of this one's partition."""
    namespace, tag, _ = stream_key.split(":", 2)
    return f"{namespace}:{tag}:@alive:{client}"


def once(namespace: str, run: str, channel: str, idempotency_key: str) -> str:
    """The marker that a send with this idempotency key was stored."""
    return f"{namespace}:{{{partition_tag(run)}}}:{run}:{channel}:@once:{idempotency_key}"


def message_id_of(stream_key: str, marker: str) -> str | None:
    """The message ID that is the idempotency key of a marker; None where that is no message ID."""
    found = _MESSAGE_ID.fullmatch(idempotency_key_of(stream_key, marker))
    return found[0] if found else None


def idempotency_key_of(stream_key: str, marker: str) -> str:
    """The idempotency key whose marker this is."""
    return marker[len(stream_key) + len(":@once:") :]


def dead_letters(namespace: str, run: str, channel: str, group: str) -> str:
    """The stream of those messages of a channel that a group is not handed any more."""
    return f"{namespace}:{{{partition_tag(run)}}}:{run}:@dead:{group}:{channel}"


def dead_letter_streams(namespace: str, run: str) -> str:
    """The set of ``<group>:<channel>``: which streams of dead letters a run has."""
    return f"{namespace}:{{{partition_tag(run)}}}:{run}:@dead"


def heard(namespace: str, run: str, channel: str, group: str) -> str:
    """The hash of the numbers that a group was handed of each of a channel's senders."""
    return f"{namespace}:{{{partition_tag(run)}}}:{run}:@heard:{group}:{channel}"


def resent(dead_stream: str, entry: EntryId) -> str:
    """The marker that a dead letter was sent again."""
    return f"{dead_stream}:@resent:{entry}"


def dead_letter_key(dead_stream: str, entry: EntryId) -> str:
    """The key by which a dead letter is known to users. No message has the same."""
    channel = dead_stream.rpartition(":")[2]
    return f"{channel}-{entry[0]}-{entry[1]}-{checksum(dead_stream)}"


def json_block(namespace: str, name: str) -> str:
    """The text of a block, which belongs to no run.

    Raises:
        InvalidKeyError: the name is not of ``[A-Za-z0-9_.-]{1,128}``.
    """
    return f"{namespace}:{{{partition_tag(_checked(name, 'block name'))}}}:@block:json:{name}"


def about(namespace: str) -> str:
    """The hash that holds what is fixed for a namespace."""
    return f"{namespace}:@about"


@lru_cache(maxsize=16_384)
def address(stream_key: str) -> Address:
    """The parts of a stream's key, for those who must tell a person where something happened."""
    namespace, _, run, channel = stream_key.split(":", 3)
    return Address(namespace, run, channel)


def message_key(stream_key: str, entry: EntryId) -> str:
    """The key by which a message is known to users.

    It holds its place in the stream, so that a replay can begin behind it, and a checksum of the stream,
    so that no message of another run or channel has the same.
    """
    before, behind = around_entry(stream_key)
    return f"{before}{entry[0]}-{entry[1]}{behind}"


@lru_cache(maxsize=16_384)
def around_entry(stream_key: str) -> tuple[str, str]:
    """What the keys of a stream's messages begin with, and what they end with."""
    return f"{address(stream_key).channel}-", f"-{checksum(stream_key)}"


def entry_of_message_key(stream_key: str, key: str) -> EntryId | None:
    """The place of a message in a stream, or None where the key is of no message of this stream."""
    before, behind = around_entry(stream_key)
    found = _ENTRY.fullmatch(key.removeprefix(before).removesuffix(behind))
    entry = EntryId(int(found[1]), int(found[2])) if found else FIRST
    # The server refuses larger numbers, and such a key is of no message.
    return entry if max(entry) <= _LARGEST and message_key(stream_key, entry) == key else None


@lru_cache(maxsize=16_384)
def checksum(stream_key: str) -> str:
    """What tells a stream in the keys of its messages."""
    return f"{binascii.crc32(stream_key.encode()):08x}"


def _checked(value: str, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidKeyError(f"A {what} is a string, not {type(value).__name__}.")
    if not _NAME.fullmatch(value):
        shown = value if len(value) <= 40 else value[:40] + "…"
        raise InvalidKeyError(
            f"{shown!r} is no {what}: 1 to 128 characters of A-Z, a-z, 0-9, '_', '.' and '-' are allowed."
        )
    return sys.intern(value)
