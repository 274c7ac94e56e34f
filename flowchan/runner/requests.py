"""Where runs of deployments wait for a server: heard of as they are asked for."""

from __future__ import annotations

import asyncio
import functools
import logging

from flowchan.broker.broker import Broker
from flowchan.broker.records import Request
from flowchan.broker.source import Source
from flowchan.errors import BrokerError
from flowchan.wire import keys
from flowchan.wire.excluded import Excluded

logger = logging.getLogger(__name__)

_POLL = 10.0
"""Seconds after which it is looked whether something waits that was not heard of."""


class Place(tuple[str, str]):
    """A deployment and a partition."""

    __slots__ = ()


class Requests:
    """The places where requests wait, oldest first, as far as is known.

    One connection hears of all of them. What was missed, because the connection was lost or another server took a
    request and died, is found by a look now and then.
    """

    def __init__(self, broker: Broker, deployments: list[str], changed: asyncio.Event) -> None:
        self._broker = broker
        self._changed = changed
        self._deployments = deployments
        self._waiting: dict[Place, Request] = {}
        self._sources: dict[Place, Source] = {}
        for deployment in deployments:
            for tag in keys.TAGS:
                place = Place((deployment, tag))
                stream = keys.requests(broker.settings.namespace, tag, deployment)
                heard = functools.partial(self._heard, place)
                self._sources[place] = Source(broker.hub, stream, keys.FIRST, Excluded(stream), _POLL, heard)

    def listen(self) -> None:
        """Begin to hear of requests."""
        for source in self._sources.values():
            source.listen()

    def __len__(self) -> int:
        """In how many places requests wait."""
        return len(self._waiting)

    def oldest(self) -> Place | None:
        """Where the oldest request waits; None where none does."""
        return min(self._waiting, key=self._waiting.__getitem__, default=None)

    def take(self, place: Place) -> Request:
        """The oldest request of a place is being taken: what is heard of there from now on is another."""
        return self._waiting.pop(place)

    def add(self, place: Place, request: Request) -> None:
        """A request waits there."""
        self._waiting[place] = min(request, self._waiting.get(place, request))
        self._changed.set()

    async def look(self) -> None:
        """Find what waits by asking for it."""
        try:
            for deployment in self._deployments:
                found = await self._broker.records.requests_waiting(deployment)
                for tag, request in found.items():
                    self.add(Place((deployment, tag)), request)
        except BrokerError as error:
            logger.warning("It could not be looked for requests: %s", error)

    def close(self) -> None:
        """Hear no more."""
        for source in self._sources.values():
            source.close()
        self._sources.clear()
        self._waiting.clear()

    def _heard(self, place: Place) -> None:
        source = self._sources.get(place)
        if source is None:
            return
        while source.buffer:
            entry = source.pop()
            self.add(place, Request.of(entry.id, entry.fields))
        if source.error is not None:
            logger.warning("Requests cannot be heard of at once: %s", source.error)
            source.error = None
            self._broker.loop.call_later(_POLL, self._listen_again, place)
            return
        source.listen()

    def _listen_again(self, place: Place) -> None:
        source = self._sources.get(place)
        if source is not None:
            source.listen()
