"""Feeds the decoder with what nobody sent: random entries, and good ones that were spoilt.

    python -m tests.fuzz.decoder --inputs 1000000

Each is to be a message or a ``DecodeError`` (of which ``SignatureError`` is one), and is not to take more memory than
``docs/wire-format.md`` allows. Ends with 0, or says which input broke the rule.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from typing import Any
from uuid import UUID

from flowchan.errors import DecodeError, SignatureError
from flowchan.wire.codec import decode, encode
from flowchan.wire.envelope import Envelope, from_fields, to_fields
from flowchan.wire.signing import Keyring

MIB = 1024 * 1024
ALLOWED = 32 * MIB
STREAM = "n:{53}:a:c"
KEYRING = Keyring([("k1", b"a secret of the fuzzer"), ("k2", b"another of the fuzzer")])

HEADS = [*range(0x80, 0xA0), *range(0xC0, 0xE0), *range(16), 0x7F, 0xE0, 0xFF]
LENGTHS = [b"\x00", b"\xff", b"\xff\xff", b"\x7f\xff\xff\xff", b"\xff" * 4, b"\x00\x00\x10\x00", b"\x00\x01\x00\x00"]
NAMES = [b"v", b"id", b"from", b"seq", b"schema", b"body", b"sig", b"h.", b"h.a", b"", b"x", b"\xff"]
WORDS = [
    *(b"", b"0", b"1", b"2", b"-1", b"1" * 30, b"9" * 5000, b"\xff", b"k1:", b"k1:" + b"0" * 64, b"k3:00", b":"),
    *(b"0123456789abcdef-1", b"flowchan.flow-run.a", b"\xe2\x98\x83", b"a" * 1000, b"NaN", b"1E+999", b"[!x]"),
]

VALUES: list[Any] = [
    *(None, True, 0, -1, 2**63, 2**64, -(2**200), 1.5, float("nan"), "", "text", "\u2603" * 20, b"", b"\xff" * 40),
    *([], {}, [[[]]], {"a": {"b": [1, 2, {"c": None}]}}, (1, "a", (2,)), {1, 2}, frozenset({b"a"}), {1: "x", (2,): []}),
    *(Decimal("-12.50"), Decimal("1E+999"), Decimal("sNaN"), UUID(int=7), 1.5 - 2j, date(2026, 11, 20), clock(18, 33)),
    *(datetime(2026, 11, 20, 18, 33, tzinfo=UTC), timedelta(microseconds=-1), timedelta.max, list(range(300))),
    {"value": "andrew"},
    {str(i): [i, str(i), {i}] for i in range(40)},
    ["x" * 5000, {"deep": [[[[[[(1,)]]]]]]}],
]


class Fuzzer:
    """Makes inputs, each from the numbers that a seed gives."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._bodies = [encode(value) for value in VALUES]
        self._bodies += [encode({"value": value}) for value in VALUES]

    def fields(self) -> list[bytes]:
        """The fields of an entry."""
        pick = self._random
        if pick.random() < 0.02:
            return [pick.choice([*NAMES, *WORDS]) for _ in range(pick.randrange(20))]
        headers = {"a": "b", "traceparent": "00-1"} if pick.random() < 0.2 else {}
        sender = pick.choice([None, "", "flowchan.flow-run.b"])
        envelope = Envelope("0123456789abcdef-1f", sender, pick.randrange(1, 10**18), "1c291ca3", headers, self.body())
        fields = to_fields(envelope)
        if pick.random() < 0.5:
            fields = KEYRING.signed(STREAM, fields)
        entry = [part if isinstance(part, bytes) else part.encode() for part in fields]
        if pick.random() < 0.3:
            for _ in range(pick.randrange(1, 4)):
                self._spoil_fields(entry)
        return entry

    def body(self) -> bytes:
        """A body, mostly a spoilt one."""
        pick = self._random
        kind = pick.random()
        if kind < 0.05:
            return pick.choice(self._bodies)
        if kind < 0.15:
            return pick.randbytes(pick.randrange(200))
        if kind < 0.3:
            return bytes(pick.choices(HEADS, k=pick.randrange(120))) + pick.randbytes(pick.randrange(40))
        if kind < 0.3005:
            return self._large()
        body = bytearray(pick.choice(self._bodies))
        for _ in range(pick.randrange(1, 6)):
            self._spoil(body)
        return bytes(body)

    def _large(self) -> bytes:
        """Up to a MiB of something small, over and over, under a head that counts it or lies."""
        pick = self._random
        unit = pick.choice([b"\x90", b"\x80", b"\xa0", b"\xc0", b"\xff", b"\x91\x80", b"\xd4\x06\x31", b"\xd4\x01\x90"])
        count = pick.choice([100, 4096, 30_000, MIB // len(unit) - 16])
        said = count + pick.choice([-1, 0, 0, 0, 1, 10**6])
        inside = b"\xdd" + max(said, 0).to_bytes(4, "big") + unit * count
        if pick.random() < 0.4:
            inside = b"\xc9" + len(inside).to_bytes(4, "big") + bytes([pick.randrange(1, 5)]) + inside
        return inside

    def _spoil(self, body: bytearray) -> None:
        pick = self._random
        at = pick.randrange(len(body) + 1)
        match pick.randrange(10):
            case 0 if at < len(body):
                body[at] ^= 1 << pick.randrange(8)
            case 1 if at < len(body):
                body[at] = pick.choice(HEADS)
            case 2:
                del body[at:]
            case 3:
                del body[at : at + pick.randrange(1, 9)]
            case 4:
                body[at:at] = bytes([pick.choice(HEADS)])
            case 5:
                body[at:at] = bytes([pick.choice(HEADS)]) + pick.choice(LENGTHS)
            case 6:
                body[at:at] = pick.choice(self._bodies)
            case 7:
                body[:0] = bytes([pick.choice([0x91, 0x81])]) * pick.randrange(1, 80)
            case 8:
                piece = bytes(body[at : at + pick.randrange(1, 40)])
                body[at:at] = piece * pick.choice([1, 2, 70])
            case _:
                body[at:at] = pick.choice(WORDS)

    def _spoil_fields(self, fields: list[bytes]) -> None:
        pick = self._random
        at = pick.randrange(len(fields) + 1)
        match pick.randrange(6):
            case 0 if at < len(fields):
                fields[at] = pick.choice(WORDS if at % 2 else NAMES)
            case 1 if at < len(fields):
                part = bytearray(fields[at])
                self._spoil(part)
                fields[at] = bytes(part)
            case 2:
                del fields[at : at + pick.randrange(1, 3)]
            case 3:
                fields[at:at] = [pick.choice(NAMES), pick.choice(WORDS)]
            case 4:
                pick.shuffle(fields)
            case _:
                fields += fields[at : at + 2]


def read(fields: Sequence[bytes]) -> str:
    """What a receiver makes of an entry: ``read``, or how it is refused. Its signature is looked at, and then it is read
    all the same.
    """
    try:
        envelope = from_fields(fields)
    except DecodeError:
        return "no entry"
    signature = "signed"
    try:
        KEYRING.verify(STREAM, fields)
    except SignatureError:
        signature = "not signed"
    try:
        decode(envelope.body, max_bytes=MIB)
    except DecodeError:
        return f"{signature}, no body"
    return f"{signature}, read"


def run(inputs: int, seed: int, *, measured: int = 256) -> Counter[str]:
    """Feed the decoder; how often what came of it. Of so many inputs one is measured, and each large one.

    Raises:
        AssertionError: an input took too much memory.
        Exception: whatever an input broke.
    """
    fuzzer = Fuzzer(seed)
    found: Counter[str] = Counter()
    for number in range(inputs):
        fields = fuzzer.fields()
        try:
            if number % measured and max(map(len, fields), default=0) < 64 * 1024:
                found[read(fields)] += 1
            else:
                found[_measured(fields)] += 1
        except BaseException:
            sys.stderr.write(f"Input {number} of seed {seed}: {fields!r:.2000}\n")
            raise
    return found


def _measured(fields: Sequence[bytes]) -> str:
    tracemalloc.start()
    try:
        outcome = read(fields)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = sum(map(len, fields))
    if peak > ALLOWED + 4 * size:  # the entry's own parts, which a signature is made of, once more
        raise AssertionError(f"{peak:,} bytes for {size:,}")
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    before, began = _most_memory(), time.monotonic()
    found = run(given.inputs, given.seed)
    for outcome, count in found.most_common():
        sys.stdout.write(f"{count:>10,}  {outcome}\n")
    sys.stdout.write(
        f"{given.inputs:>10,}  inputs in {time.monotonic() - began:.0f} s;"
        f" the process took {(_most_memory() - before) / MIB:.0f} MiB more than before at most\n"
    )


def _most_memory() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    main()
