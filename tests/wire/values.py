"""Values that travel, and when two of them are alike: for the tests of the wire."""

# ruff: noqa: DTZ001 - times without a zone are among what travels

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia", "UTC", "Etc/GMT+5")

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
_zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.sampled_from(ZONES).map(ZoneInfo),
    _offsets.map(timezone),
)


def datetimes() -> st.SearchStrategy[datetime]:
    """Of every kind of zone, on both sides of a clock put back, in the hour that a clock put forward leaves out."""
    around_changes = st.datetimes(datetime(2026, 10, 25, 1), datetime(2026, 10, 25, 4)) | st.datetimes(
        datetime(2026, 3, 29, 1),
        datetime(2026, 3, 29, 4),
    )
    return st.builds(_placed, st.datetimes() | around_changes, _zones, st.integers(0, 1))


def times() -> st.SearchStrategy[time]:
    return st.builds(_placed, st.times(), _zones, st.integers(0, 1))


def _placed(moment: Any, zone: tzinfo | None, fold: int) -> Any:
    return moment.replace(tzinfo=zone, fold=fold)


def decimals() -> st.SearchStrategy[Decimal]:
    """With exponents, infinities, both zeros and every kind of NaN."""
    written = st.sampled_from(
        ["-0", "0E+5", "-0.000", "NaN", "-NaN", "NaN123", "sNaN", "Infinity", "-Infinity", "1E+999", "1E-999"]
    )
    return st.decimals() | written.map(Decimal)


def scalars() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**200), 2**200),
        st.sampled_from([0, -1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1]),
        st.floats(),
        _text,
        st.binary(max_size=40),
        datetimes(),
        times(),
        st.dates(),
        st.timedeltas(),
        decimals(),
        st.uuids(),
        st.complex_numbers(),
    )


def _is_signalling(value: object) -> bool:
    return isinstance(value, Decimal) and value.is_snan()


def hashables() -> st.SearchStrategy[Any]:
    """What can be a key or in a set."""
    return st.recursive(
        scalars().filter(lambda value: not _is_signalling(value)),
        lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
        max_leaves=4,
    )


def values() -> st.SearchStrategy[Any]:
    """Everything that travels, nested."""
    return st.recursive(
        scalars() | st.sets(hashables(), max_size=4),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=4).map(tuple),
            st.dictionaries(_text, inner, max_size=4),
            st.dictionaries(hashables(), inner, max_size=4),
        ),
        max_leaves=12,
    )


def alike(one: Any, other: Any) -> bool:
    """Whether two values are of the same types and say the same, down to the sign of a zero and the fold of a time."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, complex):
        return alike(one.real, other.real) and alike(one.imag, other.imag)
    if isinstance(one, Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, datetime | time):
        same: bool = one == other and one.replace(tzinfo=None) == other.replace(tzinfo=None)
        zones = [getattr(when.tzinfo, "key", None) for when in (one, other)]
        return same and one.fold == other.fold and one.utcoffset() == other.utcoffset() and zones[0] == zones[1]
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, Mapping):
        return alike(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        rest = list(other)
        for member in one:
            twin = next((i for i, candidate in enumerate(rest) if alike(member, candidate)), None)
            if twin is None:
                return False
            del rest[twin]
        return not rest
    return bool(one == other)
