"""The command that adds a message: whether it was packed anew or from parts, the server reads the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowchan.broker.adding import adding, numbered_anew
from flowchan.broker.connection import pack
from flowchan.broker.destination import Destination, Terms
from flowchan.errors import EncodeError
from flowchan.settings import Settings
from flowchan.wire.envelope import Envelope, to_fields

STREAM = "ns:{3}:r:c"
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
SENDS = st.lists(
    st.tuples(st.none() | TEXT, st.sampled_from(["00000000", "deadbeef"]), st.binary(max_size=60)), max_size=12
)


def plainly(message_id: str, sender: str | None, sequence: int, schema: str, body: bytes) -> bytes:
    return pack(("XADD", STREAM, "*", *to_fields(Envelope(message_id, sender, sequence, schema, {}, body))))


@given(SENDS, st.integers(1, 10**15))
def test_every_send_is_packed_as_if_it_were_the_first(sends: list[tuple[str | None, str, bytes]], first: int) -> None:
    destination = Destination(STREAM, Terms.of(Settings()))
    for number, (sender, schema, body) in enumerate(sends, first):
        destination.sequence = number
        message_id = f"0123456789abcdef-{number:x}"
        for _ in range(3):
            packed = destination.xadd(message_id, sender, schema, body)
            assert packed == plainly(message_id, sender, number, schema, body)


def test_what_is_sent_by_a_script_is_numbered_anew_as_well() -> None:
    def command(message_id: str, sequence: int) -> bytes:
        settings = Settings(max_channel_length=5)
        fields = to_fields(Envelope(message_id, "me", sequence, "00000000", {}, b"id"))
        return adding(STREAM, None, settings, fields, None)

    first, second = "0123456789abcdef-1", "fedcba9876543210-2"
    assert numbered_anew(command(first, 1), second, {}, None) == command(second, 2)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_sender_that_is_no_text_is_refused_each_time(times: int) -> None:
    destination = Destination(STREAM, Terms.of(Settings()))
    for _ in range(times):
        with pytest.raises(EncodeError):
            destination.xadd("0123456789abcdef-1", "\ud800", "00000000", b"")
