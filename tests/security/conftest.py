"""What the tests of what nobody may do get: keys to sign with, and a hand in the streams."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.support.streams import CHANNEL, Streams


def key(name: str) -> str:
    """A signing key, as FLOWCHAN_SIGNING_KEYS holds it."""
    return f"{name}:{base64.b64encode((name * 40)[:32].encode()).decode()}"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the signing keys that hold from now on."""

    def set_keys(*names: str) -> None:
        monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", ",".join(map(key, names)))

    return set_keys


class Intruder:
    """Somebody who may write to the server, and has no key."""

    def __init__(self, client: redis.Redis, streams: Streams) -> None:
        self._client = client
        self._streams = streams

    def entry(self, run: str, channel: str = CHANNEL, number: int = -1) -> dict[bytes, bytes]:
        """The fields of an entry of a channel."""
        entries: Any = self._client.xrange(self._streams.key(run, channel))
        return dict(entries[number][1])

    def write(self, run: str, fields: dict[bytes, bytes], channel: str = CHANNEL) -> str:
        """Put an entry into a channel; its ID."""
        key = self._streams.key(run, channel)
        written: Any = self._client.xadd(key, fields)  # type: ignore[arg-type]
        self._client.expire(key, 60)
        return str(written.decode())


@pytest.fixture
def intruder(client: redis.Redis, streams: Streams) -> Intruder:
    return Intruder(client, streams)
