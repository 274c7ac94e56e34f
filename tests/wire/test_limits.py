from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import hypothesis
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import ExtType

from flowchan.wire.codec import encode
from flowchan.wire.limits import LIGHT, MAX_DEPTH, trouble_with
from tests.wire.page_decoder import rows
from tests.wire.values import values

MIB = 1024 * 1024
LONG = "x" * 5000  # behind this, nothing takes the short way

pack: Callable[[object], bytes] = msgpack.packb  # pyright: ignore[reportAssignmentType]


def extension(code: int, payload: bytes) -> bytes:
    return pack(ExtType(code, payload))


def array(parts: list[bytes]) -> bytes:
    return b"\xdd" + len(parts).to_bytes(4, "big") + b"".join(parts)


# --- well-formed or not -------------------------------------------------------------------------------


@hypothesis.settings(max_examples=300, deadline=None)
@given(values())
def test_what_the_encoder_makes_is_no_trouble_long_or_short(value: Any) -> None:
    assert trouble_with(encode(value)) is None
    assert trouble_with(encode([LONG, value])) is None


@hypothesis.settings(max_examples=300, deadline=None)
@given(values(), st.data())
def test_a_long_body_that_is_cut_or_has_a_tail_is_trouble(value: Any, data: st.DataObject) -> None:
    body = encode([LONG, value])
    cut = data.draw(st.integers(0, len(body) - 1))
    assert trouble_with(body + b"\xc0") == "there is more behind its end"
    if cut > 4096:
        assert trouble_with(body[:cut]) == "it ends before its last value does"


@pytest.mark.parametrize(
    "head",
    [
        b"\xc4",
        b"\xc5",
        b"\xc6",
        b"\xd9",
        b"\xda",
        b"\xdb",
        b"\xdc",
        b"\xdd",
        b"\xde",
        b"\xdf",
        b"\xc7",
        b"\xc8",
        b"\xc9",
    ],
)
@pytest.mark.parametrize("length", [b"", b"\xff", b"\xff\xff", b"\xff" * 4, b"\xff" * 5])
def test_a_length_beyond_the_end_is_trouble(head: bytes, length: bytes) -> None:
    assert trouble_with(b"\x92" + pack(LONG) + head + length) is not None


def test_every_one_byte_head_is_walked_as_msgpack_walks_it() -> None:
    whole = random.Random(7).randbytes(64)
    for head in range(256):
        for tail in range(40):
            body = bytes([head]) + whole[:tail]
            try:
                msgpack.unpackb(body, raw=True, strict_map_key=False, ext_hook=lambda *_: None)
            except TypeError:  # unhashable keys are not our concern here
                continue
            except (ValueError, msgpack.UnpackException):
                fine = False
            else:
                fine = True
            if 0x80 <= head <= 0x9F or 0xDC <= head <= 0xDF:
                continue  # what follows them is random, and may be an extension of ours
            walked = trouble_with(b"\x92" + pack(LONG) + body)
            assert (walked is None) == fine, body.hex()


@pytest.mark.parametrize("code", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "payload, trouble",
    [
        (b"", "holds no array"),
        (b"\x01", "holds no array"),
        (b"\x80", "holds no array"),
        (b"\xa1a", "holds no array"),
        (b"\x90\x90", "length of an extension"),
        (b"\x91\x01\x01", "length of an extension"),
        (b"\x92\x01", "length of an extension"),
        (b"\x91\xa5abc", "length of an extension"),
    ],
)
def test_an_extension_of_values_holds_one_array_and_nothing_else(code: int, payload: bytes, trouble: str) -> None:
    # Given values behind it that an array which is too long could take for its own
    body = b"\x94" + pack(LONG) + extension(code, payload) + b"\xc0\xc0"
    assert trouble in (trouble_with(body) or "")


def test_the_payload_of_other_extensions_is_nobody_s_business() -> None:
    for code in (0, 5, 12, 99):
        assert trouble_with(b"\x92" + pack(LONG) + extension(code, b"\xdd\xff\xff")) is None


# --- depth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blob", ["", LONG], ids=["short", "long"])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa0", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01\xa0"])
def test_64_levels_pass_and_65_do_not(opening: bytes, blob: str) -> None:
    assert trouble_with(opening * MAX_DEPTH + pack(blob)) is None
    assert "64 levels" in (trouble_with(opening * (MAX_DEPTH + 1) + pack(blob)) or "")


def test_an_empty_container_is_a_level() -> None:
    assert trouble_with(b"\x91" * 63 + b"\x90") is None
    assert trouble_with(b"\x91" * 64 + b"\x90") is not None


def test_text_that_looks_like_containers_is_no_depth() -> None:
    # Given text whose bytes, read as heads, would be hundreds of levels
    text = "\u0451" * 200
    assert text.encode() == b"\xd1\x91" * 200
    assert trouble_with(pack({"value": text})) is None


# --- weight -------------------------------------------------------------------------------------------

PAGE = {row[0]: row[1] for row in rows("value | weight")}


def weights(start: str) -> list[int]:
    """The numbers that the page gives for a kind of value."""
    (text,) = [text for kind, text in PAGE.items() if kind.startswith(start)]
    return [int(word) for word in text.replace(",", "").split() if word.isdigit()]


(SMALL,), (NUMBER,), (BINARY, BINARY_BYTE), (ARRAY,) = map(weights, ("`nil`", "any other int", "binary", "array"))
(TEXT, TEXT_BYTE), (DICT, PAIR), (LEAF, LEAF_BYTE) = map(weights, ("text", "map", "any other ext"))
(TUPLE, TUPLE_BYTE, ITEM), (SET, SET_BYTE, MEMBER), (MAP, MAP_BYTE, PART) = (
    weights(f"extension of type {code}") for code in (1, 2, 4)
)

WEIGHTS = {
    "empty text": (b"\xa0", TEXT),
    "short text": (b"\xa2ab", TEXT + 2 * TEXT_BYTE),
    "longer text": (b"\xd9\x02ab", TEXT + 2 * TEXT_BYTE),
    "negative integer": (b"\xff", NUMBER),
    "integer": (b"\xcc\xff", NUMBER),
    "empty binary": (b"\xc4\x00", BINARY),
    "empty list": (b"\x90", ARRAY),
    "list": (b"\x92\xc0\xc0", ARRAY + 2 * SMALL),
    "empty map": (b"\x80", DICT),
    "map": (b"\x81\xa1a\xc0", DICT + PAIR + TEXT + TEXT_BYTE + SMALL),
    "empty tuple": (extension(1, b"\x90"), TUPLE + TUPLE_BYTE + ARRAY),
    "set": (extension(2, b"\x92\x01\x02"), SET + 3 * SET_BYTE + ARRAY + 2 * (MEMBER + SMALL)),
    "frozenset": (extension(3, b"\x91\x01"), SET + 2 * SET_BYTE + ARRAY + MEMBER + SMALL),
    "map of integers": (extension(4, b"\x92\x01\x02"), MAP + 3 * MAP_BYTE + ARRAY + 2 * (PART + SMALL)),
    "decimal": (extension(6, b"1"), LEAF + LEAF_BYTE),
}


@pytest.mark.parametrize("unit, weight", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_a_body_may_weigh_as_much_as_the_page_says_and_no_more(unit: bytes, weight: int) -> None:
    # Given a hundred, and other things up to 32 MiB to the byte
    left = 32 * MIB - ARRAY - 100 * weight - BINARY
    parts = [unit] * 100 + [b"\x80"] * (left // DICT)
    blob = b"x" * (left % DICT)
    # Then they pass, and with one byte more they do not
    assert trouble_with(array([*parts, pack(blob)])) is None
    assert "too many small values" in (trouble_with(array([*parts, pack(blob + b"x")])) or "")


def test_a_larger_body_may_weigh_32_times_its_size() -> None:
    rows_of_a_table = [
        {"id": 1_000_000 + i, "name": f"name {i:06}", "price": 1.5, "seen": True} for i in range(100_000)
    ]
    body = pack(rows_of_a_table)
    assert len(body) > 4 * MIB
    assert trouble_with(body) is None


def test_what_is_light_is_never_too_heavy() -> None:
    # Given the heaviest that bytes can be: empty maps in a set
    heaviest = extension(2, array([b"\x80"] * (LIGHT - 9)))
    assert len(heaviest) == LIGHT
    assert trouble_with(heaviest) is None
