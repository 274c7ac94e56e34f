"""Many deadlines on one timer: each rings once, in order, when it is due; cancelled ones do not, and are not kept."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from flowchan.broker.alarms import Alarms

pytestmark = pytest.mark.anyio


async def test_alarms_ring_in_the_order_of_their_times_however_they_were_set() -> None:
    loop = asyncio.get_running_loop()
    alarms, rung, done = Alarms(loop), [], asyncio.Event()
    now = loop.time()
    for number in (3, 1, 4, 2, 0):
        alarms.at(
            now + number / 200, lambda number=number: rung.append((number, loop.time() > now + number / 200 - 0.002))
        )  # type: ignore[misc]
    alarms.at(now + 5 / 200, done.set)
    await asyncio.wait_for(done.wait(), 20)
    assert rung == [(number, True) for number in range(5)]


async def test_an_earlier_alarm_that_is_set_later_does_not_wait_for_the_other() -> None:
    loop = asyncio.get_running_loop()
    alarms, done = Alarms(loop), asyncio.Event()
    far = alarms.at(loop.time() + 3600, lambda: None)
    alarms.at(loop.time(), done.set)
    await asyncio.wait_for(done.wait(), 20)
    alarms.cancel(far)


async def test_a_cancelled_alarm_does_not_ring_and_an_alarm_may_set_and_cancel_others() -> None:
    loop = asyncio.get_running_loop()
    alarms, rung, done = Alarms(loop), [], asyncio.Event()
    now = loop.time()
    doomed = alarms.at(now + 0.002, lambda: rung.append("doomed"))

    def first() -> None:
        rung.append("first")
        alarms.cancel(doomed)
        alarms.cancel(doomed)
        alarms.at(loop.time(), lambda: rung.append("set by the first"))
        alarms.at(now + 0.01, done.set)

    alarms.at(now + 0.001, first)
    await asyncio.wait_for(done.wait(), 20)
    assert rung == ["first", "set by the first"]


async def test_cancelled_alarms_of_an_hour_from_now_are_not_kept_for_an_hour() -> None:
    class Held:
        def ring(self) -> None: ...

    loop = asyncio.get_running_loop()
    alarms = Alarms(loop)
    kept = alarms.at(loop.time() + 7200, lambda: None)
    gone: list[weakref.ref[Held]] = []
    for _ in range(10_000):
        held = Held()
        gone.append(weakref.ref(held))
        alarms.cancel(alarms.at(loop.time() + 3600, held.ring))
    del held
    gc.collect()
    assert not any(each() for each in gone)
    assert len(alarms._heap) < 1000
    assert kept in alarms._heap
    alarms.cancel(kept)
