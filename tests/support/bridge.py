"""The loop of synchronous calls, which outlives a test."""

from __future__ import annotations

from flowchan import bridge
from flowchan.broker import broker


def end_of_bridge() -> None:
    """Close what synchronous calls have opened."""
    for loop, settings in list(broker._brokers):
        if loop is bridge._loop:
            bridge.call(broker.Broker.close, settings)
