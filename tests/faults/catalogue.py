"""All faults, in the order of their table; ``tests.faults.<module>.FAULTS`` for each row or group of rows."""

from __future__ import annotations

from tests.faults import (
    broken_way,
    cancelled_waits,
    cut_file,
    dropped_replies,
    killed_private,
    killed_receivers,
    killed_server,
    stopped_receivers,
    stopped_server,
    vanished,
)
from tests.faults.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *cancelled_waits.FAULTS,
    *dropped_replies.FAULTS,
    *killed_receivers.FAULTS,
    *killed_private.FAULTS,
    *killed_server.FAULTS,
    *cut_file.FAULTS,
    *stopped_server.FAULTS,
    *stopped_receivers.FAULTS,
    *broken_way.FAULTS,
    *vanished.FAULTS,
)
