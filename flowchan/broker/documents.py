"""Documents: texts under keys of their own, each replaced as a whole and kept until it is deleted."""

from __future__ import annotations

from typing import Any

from flowchan.broker.broker import Broker


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
    """The broker's answer, and whether the command was given before, and that answer lost."""

    async def ask(again: bool) -> tuple[Any, bool]:
        return await broker.commands.call(*command), again

    return await broker.persistent.persist(where, ask)
