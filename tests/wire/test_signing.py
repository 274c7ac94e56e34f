"""Signatures: what they cover, what they tell, and what they never show."""

from __future__ import annotations

import hashlib
import hmac

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowchan.errors import SignatureError
from flowchan.wire.envelope import Envelope, from_fields, to_fields
from flowchan.wire.signing import Keyring
from tests.wire.page_decoder import block

OLD, NEW = b"an old secret of some bytes", b"a new secret of some bytes"
STREAM = "n:{53}:a:c"
USUAL = Envelope("0123456789abcdef-1f", "flowchan.flow-run.b", 31, "1c291ca3", {"a": "b"}, b"\x81\xa1a\x01")

old, new = Keyring([("old", OLD)]), Keyring([("new", NEW)])
both = Keyring([("new", NEW), ("old", OLD)])


def stored(fields: list[bytes | str]) -> list[bytes]:
    return [part.encode() if isinstance(part, str) else part for part in fields]


def signed(envelope: Envelope = USUAL, by: Keyring = old, stream: str = STREAM) -> list[bytes]:
    return stored(by.signed(stream, to_fields(envelope)))


def is_good(fields: list[bytes], keyring: Keyring = old, stream: str = STREAM) -> bool:
    try:
        keyring.verify(stream, fields)
    except SignatureError:
        return False
    return True


@hypothesis.settings(max_examples=200, deadline=None)
@given(
    st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(1, 10**18 - 1),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.just("x"), max_size=3),
    st.binary(),
)
def test_what_was_signed_is_good_and_reads_as_before(
    sender: str | None, sequence: int, headers: dict[str, str], body: bytes
) -> None:
    envelope = USUAL._replace(sender=sender, sequence=sequence, headers=headers, body=body)
    fields = signed(envelope)
    assert is_good(fields)
    assert from_fields(fields) == envelope
    assert fields[-4:-3] + fields[-2:-1] == [b"sig", b"body"]


def test_a_change_of_any_bit_is_found() -> None:
    fields = signed()
    for number, part in enumerate(fields):
        for at in range(len(part)):
            for bit in range(8):
                changed = bytearray(part)
                changed[at] ^= 1 << bit
                assert not is_good([*fields[:number], bytes(changed), *fields[number + 1 :]])


@pytest.mark.parametrize("name", [b"v", b"id", b"from", b"seq", b"schema", b"h.a", b"body"])
def test_a_field_that_is_taken_away_is_found(name: bytes) -> None:
    fields = signed()
    at = fields.index(name)
    assert not is_good(fields[:at] + fields[at + 2 :])


def test_a_field_that_is_added_is_found_wherever_it_stands() -> None:
    fields = signed()
    for at in range(0, len(fields) + 1, 2):
        assert not is_good([*fields[:at], b"h.more", b"x", *fields[at:]])


def test_bytes_that_are_moved_from_one_part_to_the_next_are_found() -> None:
    one = signed(USUAL._replace(headers={"a": "bc", "d": ""}))
    other = signed(USUAL._replace(headers={"a": "b", "cd": ""}))
    signature = one[one.index(b"sig") + 1]
    other[other.index(b"sig") + 1] = signature
    assert not is_good(other)


def test_no_sender_is_not_an_empty_one() -> None:
    nobody, empty = signed(USUAL._replace(sender=None)), signed(USUAL._replace(sender=""))
    empty[empty.index(b"sig") + 1] = nobody[nobody.index(b"sig") + 1]
    assert not is_good(empty)


@pytest.mark.parametrize("stream", ["m:{53}:a:c", "n:{53}:b:c", "n:{53}:a:d"], ids=["namespace", "run", "channel"])
def test_an_entry_is_good_in_its_own_stream_only(stream: str) -> None:
    assert is_good(signed())
    assert not is_good(signed(), stream=stream)


def test_a_key_is_replaced_while_both_are_in_use() -> None:
    # Given receivers that know the new key besides the old one, then senders that sign with it, then nobody who
    # knows the old one
    assert is_good(signed(by=old), both)
    assert is_good(signed(by=both), both)
    assert is_good(signed(by=both), new)
    assert not is_good(signed(by=old), new)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda fields: fields[:-4] + fields[-2:], "It is not signed"),
        (lambda fields: [*fields[:-3], b"other:00", *fields[-2:]], "'other', which is none of FLOWCHAN_SIGNING_KEYS"),
        (lambda fields: [*fields[:-3], b"", *fields[-2:]], "a key of no name"),
        (lambda fields: [*fields[:-3], b"\xff\x1b[31m:00", *fields[-2:]], "a key of no name"),
        (lambda fields: [*fields[:-3], b"old", *fields[-2:]], "forged, changed or moved"),
        (lambda fields: [*fields[:-3], b"old:", *fields[-2:]], "forged, changed or moved"),
        (lambda fields: [*fields[:-3], b"old:\xff", *fields[-2:]], "forged, changed or moved"),
        (lambda fields: [*fields[:-3], fields[-3].upper(), *fields[-2:]], "OLD"),
    ],
    ids=["none", "another key", "empty", "no name", "no colon", "no digest", "no digits", "upper case"],
)
def test_an_error_says_which(change: object, told: str) -> None:
    with pytest.raises(SignatureError, match=told):
        old.verify(STREAM, change(signed()))  # type: ignore[operator]


def test_a_signature_is_for_one_purpose() -> None:
    key, run = "n:{53}:a:@inputs", "n:{53}:a:@run"
    answer = old.sign_answer(key, "x-response", "q", b"{}")
    request = old.sign_request(run, "d", b"{}")
    old.verify_answer(answer, key, "x-response", b"{}", question="q")
    old.verify_request(request, run, "d", b"{}")
    for wrong in (None, b"", request, answer.replace(b"q:", b"p:"), answer + b"0"):
        with pytest.raises(SignatureError):
            old.verify_answer(wrong, key, "x-response", b"{}")
    for wrong in (None, b"", answer, answer[2:]):
        with pytest.raises(SignatureError):
            old.verify_request(wrong, run, "d", b"{}")
    for other in ((run, "e", b"{}"), ("n:{53}:b:@run", "d", b"{}"), (run, "d", b"{1}")):
        with pytest.raises(SignatureError):
            old.verify_request(request, *other)
    with pytest.raises(SignatureError):
        old.verify_deployment(request, run, b"{}")


def test_an_answer_is_to_one_question_where_that_is_known() -> None:
    key, first = "n:{53}:a:@inputs", old.sign_answer("n:{53}:a:@inputs", "x-response", "first", b"{}")
    old.verify_answer(first, key, "x-response", b"{}")
    with pytest.raises(SignatureError, match="another question"):
        old.verify_answer(first, key, "x-response", b"{}", question="second")


def test_no_secret_is_shown() -> None:
    assert repr(both) == str(both) == "Keyring(new, old)"
    with pytest.raises(SignatureError) as refused:
        both.verify(STREAM, signed(by=Keyring([("old", b"something else here")])))
    for secret in (OLD, NEW):
        assert secret.decode() not in f"{refused.value!r}{refused.value}"
        assert secret.hex() not in f"{refused.value!r}{refused.value}"


def test_the_example_of_the_page_is_what_flowchan_writes() -> None:
    said = dict([line.split() for line in block("signature")])
    secret, stream = bytes.fromhex(said["secret"]), said["stream"]
    envelope = Envelope("5f0c1d2e3a4b5c6d-1f", None, 31, "00000000", {}, bytes.fromhex(said["body"]))
    fields = signed(envelope, Keyring([("k1", secret)]), stream)
    assert fields[-3].decode() == said["sig"]
    # By the page's rule alone
    parts = [b"flowchan message", b"k1", stream.encode(), *fields[:-4], *fields[-2:]]
    whole = b"".join(number.to_bytes(8, "big") for number in (len(parts), *map(len, parts))) + b"".join(parts)
    assert said["sig"] == f"k1:{hmac.new(secret, whole, hashlib.sha256).hexdigest()}"
