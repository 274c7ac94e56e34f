"""How much of a stream to read at once: a few entries, then more, never many bytes."""

from __future__ import annotations

from collections.abc import Sequence

Entries = Sequence[tuple[bytes, list[bytes]]]
"""Entries as XRANGE and XREADGROUP return them: ID, and field, value, field, value, …"""

FIRST_PAGE = 16
LARGEST_PAGE = 512
PAGE_BYTES = 4 * 1024 * 1024


def next_page(size: int, page: Entries) -> int:
    """How many entries to ask for after a page that was asked for with ``size``."""
    largest = max((len(fields[-1]) for _, fields in page), default=0)
    return max(1, min(LARGEST_PAGE, size * 4, PAGE_BYTES // (largest + 256)))
