"""Documents: texts under keys of their own, each replaced as a whole and kept until it is deleted."""

from __future__ import annotations

from typing import Any

import anyio

from flowchan.broker.broker import Broker
from flowchan.broker.connection import ConnectionLost, Refusal
from flowchan.broker.refusals import PASSING, translated
from flowchan.errors import BrokerUnavailable

_PASSING_PAUSE = 0.25


async def read(broker: Broker, key: str, where: str) -> bytes | None:
    """A document's text, or None where there is none.

    ``where`` tells a person which document, here and below.

    Raises:
        BrokerRefused, BrokerUnavailable: it could not be read.
    """
    text: bytes | None
    text, _ = await _call(broker, where, "GET", key)
    return text


async def write(broker: Broker, key: str, text: bytes, where: str) -> None:
    """Store a document, in place of one that may be there.

    Raises:
        BrokerRefused, BrokerUnavailable: it is not known to be stored.
    """
    await _call(broker, where, "SET", key, text)


async def write_new(broker: Broker, key: str, text: bytes, where: str) -> bool:
    """Store a document where there is none; False where there is one, which then stays as it is.

    Of several who write at once one gets True; the others too, if what they have to write is the same and
    their connection was lost meanwhile.

    Raises:
        BrokerRefused, BrokerUnavailable: it is not known to be stored.
    """
    reply, was_tried_before = await _call(broker, where, "SET", key, text, "NX")
    if reply is not None:
        return True
    # What is there may be this one, stored by a try whose answer was lost.
    return was_tried_before and await read(broker, key, where) == text


async def delete(broker: Broker, key: str, where: str) -> bool:
    """Delete a document; False where there is none.

    Raises:
        BrokerRefused, BrokerUnavailable: it is not known to be deleted.
    """
    deleted, was_tried_before = await _call(broker, where, "DEL", key)
    return bool(deleted) or was_tried_before


async def _call(broker: Broker, where: str, *command: Any) -> tuple[Any, bool]:
    """Give a command for as long as a send may take; tells too whether it may have been carried out before."""
    was_tried_before = False
    refused: Refusal | None = None
    with anyio.move_on_after(broker.settings.send_timeout):
        while True:
            try:
                return await broker.commands.call(*command), was_tried_before
            except ConnectionLost:
                was_tried_before = True
            except Refusal as refusal:
                if refusal.code not in PASSING:
                    raise translated(refusal, broker.dialler.name, where) from None
                refused = refusal
                await anyio.sleep(_PASSING_PAUSE)
    if refused is not None and broker.dialler.trouble is None:
        raise translated(refused, broker.dialler.name, where)
    why = broker.dialler.trouble or f"{broker.dialler.name} did not answer."
    raise BrokerUnavailable(f"It could not be read or changed ({where}): {why}")
