"""A receiver that comes when all is over, and reads a run from the first message on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from flowchan import receive_input
from flowchan.errors import MessagesLost
from tests.faults.checker import Findings, Sender, Value, Witness
from tests.faults.surroundings import RUN
from tests.support.streams import CHANNEL


def values_of(error: MessagesLost) -> set[Value]:
    """The values that are told to be lost, of a sender that gives its name and sends ``<name>-0``, ``<name>-1``, …"""
    return {f"{error.sender}-{number - 1}" for number in range(error.first, error.last + 1)}


class Newcomer:
    """What it saw, and of which messages it was told that they are lost."""

    def __init__(self) -> None:
        self.saw = Witness("new")
        self.lost: set[Value] = set()

    async def read(self) -> None:
        receiver: Any = receive_input(str, flow_run_id=RUN, key_prefix=CHANNEL, timeout=0)
        async with receiver:
            with contextlib.suppress(TimeoutError):
                while True:
                    try:
                        self.saw.values.append(await receiver.next())
                    except MessagesLost as error:
                        self.lost |= values_of(error)

    def untold(self, findings: Findings) -> set[Value]:
        """What is missing without a word."""
        return set(findings.missing) - self.lost

    def made_up(self, senders: Iterable[Sender]) -> set[Value]:
        """What it was told is lost, and was never sent, or was received."""
        sent = {value for sender in senders for value in sender.told}
        return (self.lost - sent) | (self.lost & set(self.saw.values))
