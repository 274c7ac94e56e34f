"""Keeps the runs that a process executes from counting as crashed, and hears what is done to them elsewhere."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable
from typing import Any

from flowchan import bridge
from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.broker.source import Source
from flowchan.errors import FlowchanError
from flowchan.settings import Settings
from flowchan.wire import keys
from flowchan.wire.excluded import Excluded

logger = logging.getLogger(__name__)

_SOON = 0.05
_POLL = 10.0

Told = Callable[[str], None]
"""Takes the type of a run's state; an empty text where the run is no more this holder's."""


class Keeper:
    """The runs of one holder, on an event loop that nobody's flow blocks.

    Guarantees: while this process lives and reaches the broker, its runs are not overdue; of what is done to one of
    them elsewhere (it is cancelled, suspended, taken over), its owner is told at once, and told again with each beat.

    ``add`` and ``remove`` may be called from any thread, and cost next to nothing for a run that is over soon.
    """

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, holder: str | None = None) -> None:
        self.holder = holder or secrets.token_hex(8)
        self._settings = settings
        self._loop = loop
        self._beat_after = settings.lease / 3
        self._runs: dict[str, Told] = {}
        self._is_beating = False
        self._source: Source | None = None
        self._looks: set[asyncio.Task[None]] = set()

    def add(self, run: str, told: Told) -> None:
        """Keep a run; ``told`` is called on the keeper's loop."""
        self._runs[run] = told
        if not self._is_beating:
            self._is_beating = True
            self._loop.call_soon_threadsafe(self._begin)

    def remove(self, run: str) -> None:
        """Keep a run no more."""
        self._runs.pop(run, None)

    def stop(self) -> None:
        """Keep none any more. To be called on the keeper's loop."""
        self._runs.clear()
        self._end()

    def _begin(self) -> None:
        self._loop.call_later(_SOON, self._listen)
        self._loop.call_later(self._beat_after, self._beat)

    def _beat(self) -> None:
        if not self._runs:
            self._is_beating = False
            self._end()
            if self._runs:  # one was added meanwhile
                self._is_beating = True
                self._begin()
            return
        self._look(list(self._runs))
        self._loop.call_later(self._beat_after, self._beat)

    def _end(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def _listen(self) -> None:
        # It comes too soon for a run that is over already: such a process hears nothing, and needs no connection.
        if self._runs and self._source is None:
            broker = broker_of_this_loop(self._settings)
            stream = keys.control(self._settings.namespace, self.holder)
            self._source = Source(broker.hub, stream, keys.FIRST, Excluded(stream), _POLL, self._heard)
            self._source.listen()

    def _heard(self) -> None:
        source = self._source
        if source is None:
            return
        named: list[str] = []
        while source.buffer:
            fields = source.pop().fields
            named.append(dict(zip(fields[::2], fields[1::2], strict=False)).get(b"run", b"").decode())
        if source.error is not None:
            source.error = None  # the beats will do
            return
        runs = [run for run in dict.fromkeys(named) if run in self._runs]
        if runs:
            self._look(runs)
        source.listen()

    def _look(self, runs: list[str]) -> None:
        look = self._loop.create_task(self._renew(broker_of_this_loop(self._settings), runs))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def _renew(self, broker: Broker, runs: list[str]) -> None:
        try:
            types = await broker.records.renew(self.holder, runs, self._settings.lease)
        except FlowchanError as error:
            logger.warning("The leases of %d runs could not be renewed: %s", len(runs), error)
            return
        for run, kind in types.items():
            told = self._runs.get(run)
            if told is not None:
                told(kind)


async def tell(broker: Broker, holder: str, run: str) -> None:
    """Have a holder look at one of its runs, now."""
    stream = keys.control(broker.settings.namespace, holder)
    entry: tuple[Any, ...] = ("v", "1", "id", secrets.token_hex(8), "run", run)
    keep = ("PEXPIRE", stream, int(broker.settings.retention * 1000))
    await broker.persistent.all(f"run {run}", [("XADD", stream, "MAXLEN", "~", 1000, "*", *entry), keep])


_keepers: dict[Settings, Keeper] = {}


def keeper_of_this_process(settings: Settings) -> Keeper:
    """The keeper of the runs that are called in this process; it works on the bridge's loop."""
    keeper = _keepers.get(settings)
    if keeper is None:
        keeper = _keepers.setdefault(settings, Keeper(settings, bridge.loop()))
    return keeper


# A child of a fork executes none of its parent's runs.
os.register_at_fork(after_in_child=_keepers.clear)
