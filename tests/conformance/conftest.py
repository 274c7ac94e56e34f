"""The same tests at each kind of server. Each is started when its first test comes, and ends before the next begins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bridge import end_of_bridge
from tests.support.places import KINDS, Place, missing, place


@pytest.fixture(scope="session", params=[kind for kind in KINDS if missing(kind) is None])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    kind = str(request.param)
    with place(kind, tmp_path_factory.mktemp(kind)) as made:
        yield made


@pytest.fixture(autouse=True)
def here(standing: Place, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Where the test sends to; nothing of it may be left there."""
    monkeypatch.setenv("FLOWCHAN_URL", standing.enter(namespace))
    yield standing
    end_of_bridge()
    standing.leave(namespace)
