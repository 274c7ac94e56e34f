from __future__ import annotations

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowchan.errors import DecodeError, EncodeError
from flowchan.wire.envelope import Envelope, from_fields, to_fields

ID = "0123456789abcdef-1f"
USUAL = Envelope(ID, "flowchan.flow-run.a", 31, "1c291ca3", {}, b"\xc0")
FIELDS = [
    b"v",
    b"1",
    b"id",
    ID.encode(),
    b"from",
    b"flowchan.flow-run.a",
    b"seq",
    b"31",
    b"schema",
    b"1c291ca3",
    b"body",
    b"\xc0",
]


def stored(fields: list[bytes | str]) -> list[bytes]:
    """As a server gives back what it was sent."""
    return [part.encode() if isinstance(part, str) else part for part in fields]


def changed(name: bytes, value: bytes | None) -> list[bytes]:
    """The usual fields with another value of one, or without it."""
    at = FIELDS.index(name)
    return FIELDS[:at] + ([] if value is None else [name, value]) + FIELDS[at + 2 :]


_text = st.text(st.characters(exclude_categories=["Cs"]))


@hypothesis.settings(max_examples=300, deadline=None)
@given(
    st.builds(
        Envelope,
        st.from_regex(r"[0-9a-f]{16}-[0-9a-f]{1,16}", fullmatch=True),
        st.none() | _text,
        st.integers(1, 10**18 - 1),
        st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
        st.dictionaries(_text, _text, max_size=3),
        st.binary(),
    )
)
def test_an_envelope_comes_back_as_it_was(envelope: Envelope) -> None:
    got = from_fields(stored(to_fields(envelope)))
    assert got == envelope
    assert isinstance(got, Envelope)


def test_fields_are_written_as_the_page_says_with_the_body_last() -> None:
    assert stored(to_fields(USUAL)) == FIELDS
    headers = stored(to_fields(USUAL._replace(sender=None, headers={"traceparent": "00-1"})))
    assert headers == [*FIELDS[:4], *FIELDS[6:10], b"h.traceparent", b"00-1", *FIELDS[10:]]


@hypothesis.settings(max_examples=50, deadline=None)
@given(st.permutations(range(8)))
def test_fields_may_come_in_any_order_among_others(order: list[int]) -> None:
    fields = [*FIELDS, b"h.a", b"b", b"later", b"\xff\xfe"]
    shuffled = [part for i in order for part in fields[2 * i : 2 * i + 2]]
    assert from_fields(shuffled) == USUAL._replace(headers={"a": "b"})


def test_fields_may_come_as_a_tuple() -> None:
    assert from_fields(tuple(FIELDS)) == USUAL


def test_headers_of_an_entry_without_any_are_empty_and_nobody_s_to_change() -> None:
    headers = from_fields(FIELDS).headers
    assert headers == {}
    with pytest.raises(TypeError):
        headers["a"] = "b"  # type: ignore[index]


@pytest.mark.parametrize(
    "fields",
    [
        [b"v", b"2"],
        [b"v", b"2", b"v2-only", b"\xff", b"odd"],
        [b"id", b"garbled", b"v", b"2", b"seq", b"-"],
        changed(b"v", b"2"),
    ],
    ids=["alone", "odd", "garbled", "usual"],
)
def test_a_newer_version_is_told_before_anything_else(fields: list[bytes]) -> None:
    with pytest.raises(DecodeError, match="of format version 2, and this flowchan reads version 1: update it"):
        from_fields(fields)


@pytest.mark.parametrize("name", ["v", "id", "seq", "body"])
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(DecodeError, match=f"field '{name}' is missing"):
        from_fields(changed(name.encode(), None))


def test_an_entry_of_nothing_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="field 'v' is missing"):
        from_fields([])


@pytest.mark.parametrize(
    "name, value",
    [
        ("v", b""),
        ("v", b"0"),
        ("v", b"1.0"),
        ("v", b"secret"),
        ("v", b"9" * 5000),
        ("id", b""),
        ("id", b"secret"),
        ("id", b"0123456789abcdef-"),
        ("id", b"0123456789ABCDEF-1"),
        ("id", b"0123456789abcdef-1\n"),
        ("id", b"0123456789abcdef-" + b"1" * 17),
        ("from", b"secret\xff"),
        ("seq", b""),
        ("seq", b"0"),
        ("seq", b"-1"),
        ("seq", b"1_0"),
        ("seq", b" 1"),
        ("seq", b"secret"),
        ("seq", b"9" * 5000),
    ],
    ids=lambda part: str(part)[:24],
)
def test_a_garbled_field_is_named_and_not_shown(name: str, value: bytes) -> None:
    with pytest.raises(DecodeError, match=f"field '{name}' cannot be read") as caught:
        from_fields(changed(name.encode(), value))
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("header", [(b"h.secret\xff", b"a"), (b"h.a", b"secret\xff")], ids=["name", "text"])
def test_a_garbled_header_is_told(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(DecodeError, match=r"field 'h\.' cannot be read"):
        from_fields([*FIELDS, *header])


@pytest.mark.parametrize("schema", [None, b"", b"whatever", b"\xff\xfe"], ids=["missing", "empty", "other", "garbled"])
def test_a_schema_is_no_reason_to_refuse_a_message(schema: bytes | None) -> None:
    assert from_fields(changed(b"schema", schema))._replace(schema="") == USUAL._replace(schema="")


@pytest.mark.parametrize(
    "more", [[b"seq", b"31"], [b"h.a", b"1", b"h.a", b"1"], [b"odd"]], ids=["seq", "header", "odd"]
)
def test_a_field_that_is_there_twice_or_has_no_value_is_refused(more: list[bytes]) -> None:
    with pytest.raises(DecodeError, match="a field twice, or one without a value"):
        from_fields(FIELDS + more)


@pytest.mark.parametrize(
    "envelope, part",
    [
        (USUAL._replace(sender="secret\ud800"), "sender"),
        (USUAL._replace(headers={"a": "secret\ud800"}), "text of a header"),
        (USUAL._replace(headers={"secret\ud800": "a"}), "name of a header"),
    ],
    ids=["sender", "header", "name"],
)
def test_what_is_no_unicode_is_not_sent(envelope: Envelope, part: str) -> None:
    with pytest.raises(EncodeError, match=f"Cannot send the {part}") as caught:
        to_fields(envelope)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None
