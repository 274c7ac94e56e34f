"""A server's make and version, and whose data it can read."""

from __future__ import annotations

import re
from typing import NamedTuple

_FORKED_AT = (7, 2)  # Valkey was forked from Redis 7.2 and reads what that wrote


class Engine(NamedTuple):
    """A server's make and version: ``Engine("valkey", "9.1.2")``."""

    name: str
    version: str

    def __str__(self) -> str:
        """As people write it: ``Valkey 9.1.2``."""
        return f"{self.name.capitalize()} {self.version}"

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor version; patches do not change what is written to disk."""
        major, minor = re.findall(r"\d+", self.version)[:2]
        return int(major), int(minor)

    def reads(self, writer: Engine) -> bool:
        """Whether this engine can load what ``writer`` wrote."""
        if self.name == writer.name:
            return self.release >= writer.release
        return (self.name, writer.name) == ("valkey", "redis") and writer.release <= _FORKED_AT

    def readers(self) -> str:
        """Which engines can load what this one wrote, in words."""
        own = f"{self.name.capitalize()} {'.'.join(map(str, self.release))} or newer"
        return f"{own}, or any Valkey" if Engine("valkey", "7.2").reads(self) and self.name == "redis" else own
