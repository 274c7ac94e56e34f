"""All faults, in the order of their table; ``tests.faults.<module>.FAULTS`` for each row or group of rows."""

from __future__ import annotations

from tests.faults import cancelled_waits, cluster_refusals, full_memory, migration, refusals
from tests.faults.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *cancelled_waits.FAULTS,
    *migration.FAULTS,
    *full_memory.FAULTS,
    *refusals.FAULTS,
    *cluster_refusals.FAULTS,
)
