"""A look at streams with plain redis-py: what is stored, by what flowchan says of itself in docs/wire-format.md."""

from __future__ import annotations

from typing import Any

import msgpack
import redis

from flowchan.wire import keys

CHANNEL = "numbers"


class Streams:
    """The streams of one namespace."""

    def __init__(self, client: redis.Redis, namespace: str) -> None:
        self.client = client
        self._namespace = namespace

    def key(self, run: str, channel: str = CHANNEL) -> str:
        return keys.stream(self._namespace, run, channel)

    def values(self, run: str, channel: str = CHANNEL) -> list[Any]:
        """What was sent to a run, oldest first."""
        entries: Any = self.client.xrange(self.key(run, channel))
        return [msgpack.unpackb(fields[b"body"])["value"] for _, fields in entries]

    def length(self, run: str, channel: str = CHANNEL) -> int:
        return int(self.client.xlen(self.key(run, channel)))  # type: ignore[arg-type]

    def groups(self, key: str | None = None) -> int:
        """How many consumer groups there are in all, or on one stream."""
        pattern = f"{self._namespace}:*" if key is None else key.replace("{", "?").replace("}", "?")
        with self.client.pipeline(transaction=False) as pipe:
            for found in self.client.scan_iter(pattern, count=1000, _type="stream"):
                pipe.xinfo_groups(found)
            return sum(len(groups) for groups in pipe.execute())
