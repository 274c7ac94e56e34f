from __future__ import annotations

import pytest

from tests.support.groups import LEASE


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease whose end a test can wait for."""
    monkeypatch.setenv("FLOWCHAN_LEASE", str(LEASE))
