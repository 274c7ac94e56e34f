"""What this process can say of the broker's having been there, by its own looks."""

from __future__ import annotations


class Witness:
    """Knows for how long the broker was there without a gap that is worth speaking of.

    Guarantees: within a lease before the time that it names, nobody who lived was kept from renewing a lease by the
    broker's being away, held up, or replaced by another. A clock that jumped counts as such a gap.

    The looks must come more often than every half a lease. A process that lives renews each third of one, so it is
    heard of in time where the broker was away for less than that. Times are in seconds but for the broker's.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease * 1000
        self._last: tuple[object, float, int] | None = None
        self._since = 0

    def saw(self, line: object, began: float, ended: float, clock: int) -> int | None:
        """The whole broker answered a look; ``clock`` is its time in milliseconds, ``line`` the connection.

        Returns:
            ``clock``, if the broker was there for the whole lease before; else None.
        """
        last, self._last = self._last, (line, began, clock)
        if last is None or last[0] is not line or max((ended - last[1]) * 1000, abs(clock - last[2])) > self._lease / 2:
            self._since = clock
        return clock if clock - self._since >= self._lease else None
