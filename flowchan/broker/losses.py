"""How often connections were lost just after they were made."""

from __future__ import annotations

import asyncio

_YOUNG = 1.0
_TOLERATED = 200
_FORGIVEN = 20.0
"""So many connections may be lost that lived for less than ``_YOUNG`` seconds, and so many more in each second."""


class Losses:
    """Somebody may take connections and end them at the first command: that is no reason to spin."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lost = 0.0
        self._lost_at = 0.0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next connection is made."""
        return max(0.0, self._lost - _TOLERATED) / _FORGIVEN

    def count(self, born: float) -> None:
        """A connection was lost that was made at ``born``."""
        now = self._loop.time()
        self._lost = max(0.0, self._lost - (now - self._lost_at) * _FORGIVEN) + (now - born < _YOUNG)
        self._lost_at = now
