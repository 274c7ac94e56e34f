"""The page is true: by its rules alone messages can be read, and its examples are what flowchan writes."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
import uuid
import zoneinfo
from typing import Any

import hypothesis
import pytest
from hypothesis import given

from flowchan.broker.adding import numbered_anew
from flowchan.broker.connection import pack
from flowchan.errors import DecodeError
from flowchan.wire import extensions, keys
from flowchan.wire.codec import decode, encode
from flowchan.wire.envelope import FOLLOWS, FOR_GROUP, VERSION, Envelope, from_fields, to_fields
from tests.wire import page_decoder
from tests.wire.page_decoder import PAGE
from tests.wire.values import alike, values

MIB = 1024 * 1024
NAMES = {name: getattr(module, name) for module in (dt, decimal, uuid, zoneinfo) for name in dir(module)}
BODIES = [(row[0], row[3], row[4]) for row in page_decoder.rows("type | Python")]


def encoded(code: int, payload: bytes) -> str:
    return bytes([0xC7, len(payload), code, *payload]).hex()


def test_the_decoder_of_the_page_does_without_flowchan() -> None:
    probe = "import runpy, sys; runpy.run_path(sys.argv[1]); sys.exit('flowchan' in sys.modules)"
    subprocess.run([sys.executable, "-c", probe, page_decoder.__file__], check=True)


# --- bodies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code, example, body", BODIES, ids=[example for _, example, _ in BODIES])
def test_an_example_of_the_page_is_what_flowchan_writes_and_reads(code: str, example: str, body: str) -> None:
    value = eval(example, dict(NAMES))
    assert encode(value).hex() == body
    assert alike(decode(bytes.fromhex(body), max_bytes=MIB), value)
    assert alike(page_decoder.decode_body(bytes.fromhex(body)), value)
    if code.isdigit():
        head = bytes.fromhex(body)
        assert int(code) == (head[1] if head[0] >= 0xD4 else head[2])


def test_every_extension_type_is_on_the_page_with_an_example() -> None:
    codes = {int(code) for code, _, _ in BODIES if code.isdigit()}
    assert codes == extensions.HOLDERS | extensions.NAMES.keys()


@hypothesis.settings(max_examples=300, deadline=None)
@given(values())
def test_a_client_written_from_the_page_reads_what_flowchan_writes(value: Any) -> None:
    assert alike(page_decoder.decode_body(encode(value)), value)


@pytest.mark.parametrize(
    "body",
    [
        "d46300",  # type 99
        encoded(9, b"tomorrow"),
        encoded(9, b"2026-11-20T18:33:00+01:00[!Europe/Berlin]"),
        encoded(11, b"noon"),
    ],
)
def test_what_the_page_refuses_flowchan_refuses(body: str) -> None:
    with pytest.raises(page_decoder.Refused):
        page_decoder.decode_body(bytes.fromhex(body))
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(body), max_bytes=MIB)


@pytest.mark.parametrize(
    "text",
    [
        b"2026-10-25T02:30:00+01:00[Europe/Berlin]",
        b"2026-11-20T18:33:00+01:00[Middle-earth/Bree]",
        b"2026-11-20T18:33:00+05:00[Europe/Berlin]",
        b"2026-11-20T18:33:00-05:30[u-ca=hebrew]",
        b"2026-11-20T18:33:00-00:00:01.000001",
    ],
)
def test_what_other_writers_may_write_is_read_alike_by_both(text: bytes) -> None:
    body = bytes.fromhex(encoded(9, text))
    assert alike(page_decoder.decode_body(body), decode(body, max_bytes=MIB))


# --- entries ------------------------------------------------------------------------------------------


def test_the_example_of_an_entry_is_read_alike_by_both() -> None:
    fields = page_decoder.example_fields()
    by_page = page_decoder.decode_entry(fields)
    envelope = from_fields(fields)
    assert by_page[:5] == (*envelope[:4], envelope.headers)
    assert by_page.value == decode(envelope.body, max_bytes=MIB) == {"value": "andrew"}


def test_the_example_of_an_entry_is_what_flowchan_writes() -> None:
    fields = page_decoder.example_fields()
    written = to_fields(from_fields(fields))
    assert [part.encode() if isinstance(part, str) else part for part in written] == fields


@pytest.mark.parametrize("sender", [None, "flowchan.flow-run.a"], ids=["nobody", "a run"])
def test_an_entry_of_flowchan_is_read_by_the_page(sender: str | None) -> None:
    value = {"when": dt.datetime(2026, 11, 20, tzinfo=dt.UTC), "tags": {("a", 1)}}
    envelope = Envelope("0123456789abcdef-a", sender, 7, "00000000", {"traceparent": "00-1"}, encode(value))
    fields = [part.encode() if isinstance(part, str) else part for part in to_fields(envelope)]
    expected = ("0123456789abcdef-a", sender, 7, "00000000", {"traceparent": "00-1"}, value)
    assert page_decoder.decode_entry(fields) == expected


def test_a_client_written_from_the_page_refuses_a_newer_version() -> None:
    with pytest.raises(page_decoder.Refused, match="version 2"):
        page_decoder.decode_entry([b"v", b"2"])


def test_the_page_is_that_of_this_version() -> None:
    assert PAGE.startswith(f"# The wire format, version {VERSION}\n")
    assert f"| `v` | the version of this format: `{VERSION}` |" in PAGE


# --- keys ---------------------------------------------------------------------------------------------


def test_the_tags_of_the_page_are_those_of_flowchan() -> None:
    assert tuple(tag for line in page_decoder.block("tags") for tag in line.split()) == keys.TAGS


def test_streams_of_the_page_are_those_of_flowchan() -> None:
    found = page_decoder.rows("run | stream")
    assert len(found) == 3
    for run, stream in found:
        assert keys.stream("flowchan", run, "strautomaticruninput-auto") == stream
        assert page_decoder.stream_key("flowchan", run, "strautomaticruninput-auto") == stream


@pytest.mark.parametrize("run", ["01978A4E7C0070008000-00000000002A", "a", "x" * 128, "Nightly_1.2-3"])
def test_a_client_written_from_the_page_finds_the_stream(run: str) -> None:
    assert page_decoder.stream_key("n", run, "c") == keys.stream("n", keys.run_id(run), "c")


def test_the_example_of_a_message_key_is_that_of_flowchan() -> None:
    stream = "flowchan:{53}:a:strautomaticruninput-auto"
    key = page_decoder.message_key(stream, "1763661600123-0")
    assert key in PAGE
    assert key == keys.message_key(stream, keys.EntryId(1763661600123, 0))
    assert page_decoder.slot("123456789") == 12739


def test_the_keys_of_dead_letters_are_on_the_page() -> None:
    dead = keys.dead_letters("<namespace>", "a", "<channel>", "<group>").replace("{53}:a", "{<tag>}:<run>")
    assert f"| `{dead}` | stream |" in PAGE
    assert f"| `{keys.resent(dead, keys.FIRST).replace('0-0', '<entry ID>')}` | string |" in PAGE
    assert f"`h.{FOR_GROUP}`" in PAGE


def test_the_header_of_a_producer_that_follows_another_is_on_the_page() -> None:
    assert f"- **`h.{FOLLOWS}`**" in PAGE
    assert numbered_anew(
        pack(("XADD", "s", "*", *to_fields(Envelope("0123456789abcdef-5", None, 5, "00000000", {}, b"\x01")))),
        "fedcba9876543210-1",
        {FOLLOWS: "0123456789abcdef-4"},
        None,
    ) == pack(
        (
            *("XADD", "s", "*", "v", 1, "id", "fedcba9876543210-1", "seq", 1, "schema", "00000000"),
            *(f"h.{FOLLOWS}", "0123456789abcdef-4", "body", b"\x01"),
        )
    )


@pytest.mark.parametrize(
    "pattern, key",
    [
        ("<namespace>:{<tag>}:<run>:@inputs", keys.inputs("n", "a")),
        ("<namespace>:{<tag>}:<run>:c:@once:k", keys.once("n", "a", "c", "k")),
        ("<namespace>:{<tag>}:<run>:@dead", keys.dead_letter_streams("n", "a")),
        ("<namespace>:{<tag>}:<run>:@heard:<group>:<channel>", keys.heard("n", "a", "<channel>", "<group>")),
        ("<namespace>:@about", keys.about("n")),
    ],
)
def test_the_other_keys_of_the_page_are_those_of_flowchan(pattern: str, key: str) -> None:
    on_page = pattern.replace(":c:", ":<channel>:").removesuffix("k") + (
        "<idempotency key>" if key.endswith(":k") else ""
    )
    assert f"| `{on_page}` |" in PAGE
    assert pattern.replace("<namespace>", "n").replace("<tag>", "53").replace("<run>", "a") == key
