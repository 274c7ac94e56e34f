"""All faults, in the order of their table; ``tests.faults.<module>.FAULTS`` for each row or group of rows."""

from __future__ import annotations

from tests.faults import (
    broken_way,
    cancelled_waits,
    clock,
    cluster_refusals,
    cut_file,
    dropped_replies,
    failover,
    full_memory,
    group_orders,
    killed_private,
    killed_receivers,
    killed_server,
    migration,
    private_orders,
    refusals,
    run_orders,
    slow_consumer,
    soak,
    stopped_receivers,
    stopped_server,
    vanished,
    versions,
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
    *failover.FAULTS,
    *migration.FAULTS,
    *full_memory.FAULTS,
    *refusals.FAULTS,
    *cluster_refusals.FAULTS,
    *clock.FAULTS,
    *slow_consumer.FAULTS,
    *versions.FAULTS,
    *soak.FAULTS,
    *private_orders.FAULTS,
    *group_orders.FAULTS,
    *run_orders.FAULTS,
)
