"""The decoder is fed what nobody sent: a part of what ``python -m tests.fuzz.decoder`` does with a million inputs."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.decoder import NAMES, WORDS, read, run


@pytest.mark.parametrize("seed", [11, 12])
def test_spoilt_entries_are_read_or_refused_within_their_memory(seed: int) -> None:
    found = run(6000, seed)
    # Of each kind of outcome there is some, or the inputs have grown poor
    assert set(found) == {"no entry", "signed, read", "signed, no body", "not signed, read", "not signed, no body"}


_parts = st.one_of(st.sampled_from(NAMES), st.sampled_from(WORDS), st.binary(max_size=20))


@hypothesis.settings(max_examples=1500, deadline=None)
@given(st.lists(_parts, max_size=20))
def test_random_fields_are_read_or_refused(fields: list[bytes]) -> None:
    read(fields)
