"""A send: under way, and in the end stored or failed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from flowchan.broker.connection import Refusal
from flowchan.errors import FlowchanError
from flowchan.wire import keys

logger = logging.getLogger(__name__)


class Sent:
    """One send under way, and in the end the ID of its entry or why there is none."""

    __slots__ = (
        "deadline", "entry", "error", "future", "is_unwatched", "message_id", "number", "packed", "refusal", "sequence",
        "stream", "written",
    )  # fmt: skip

    def __init__(
        self, number: int, stream: str, message_id: str, sequence: int, packed: bytes, future: asyncio.Future[Any]
    ) -> None:
        self.number = number
        self.stream = stream
        self.message_id = message_id
        self.sequence = sequence
        self.packed = packed
        self.future = future
        self.written = False
        """Whether it may be stored: it was given to a connection, and not refused."""
        self.refusal: Refusal | None = None
        self.deadline = 0.0
        """When to give up; 0 while nothing is wrong."""
        self.entry: keys.EntryId | None = None
        self.error: FlowchanError | None = None
        self.is_unwatched = False

    @property
    def where(self) -> str:
        """The run and the channel, for a message to a person."""
        _, run, channel = keys.address(self.stream)
        return f"run {run}, channel {channel}"


def log_failure(sent: Sent) -> None:
    """Say that a send failed that nobody awaits."""
    logger.error("A message that nobody awaits was not sent (%s): %s", sent.where, sent.error)
