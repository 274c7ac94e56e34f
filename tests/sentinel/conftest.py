"""Sentinels, and what they watch, for each test: it breaks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bridge import end_of_bridge
from tests.support.sentinels import Sentinels


@pytest.fixture
def sentinels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sentinels]:
    with Sentinels() as own:
        monkeypatch.setenv("FLOWCHAN_URL", own.url)
        yield own
        end_of_bridge()
