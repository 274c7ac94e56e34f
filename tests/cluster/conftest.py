"""A Cluster for all tests that do not break it, and one of its own for each that does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bridge import end_of_bridge
from tests.support.cluster import Cluster
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Three primaries; what the test sends goes there. No connection is left, and no key that would be kept for ever."""
    monkeypatch.setenv("FLOWCHAN_URL", shared_cluster.url)
    yield shared_cluster
    end_of_bridge()
    eventually(lambda: not shared_cluster.connections(), "the end of the test's connections", 5.0)
    lasting = shared_cluster.lasting(f"{namespace}:*")
    # A block is somebody's settings: it is kept until it is deleted, and must not vanish.
    lasting = [key for key in lasting if ":@block:" not in key]
    shared_cluster.flush()
    assert lasting in ([], [f"{namespace}:@about"]), "keys without a time to live"


@pytest.fixture
def replicated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A Cluster of the test's own, in which each primary has a replica."""
    with Cluster(replicas=1) as own:
        monkeypatch.setenv("FLOWCHAN_URL", own.urls)
        yield own
        end_of_bridge()
