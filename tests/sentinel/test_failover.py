"""Sentinels choose another primary: whoever sends and whoever receives goes on there."""

from __future__ import annotations

import anyio.to_thread
import pytest

from tests.support.numbers import numbers_flow
from tests.support.sentinels import Sentinels

pytestmark = pytest.mark.anyio

RUNS = [f"run-{number}" for number in range(3)]


@pytest.mark.parametrize("times", [2])
async def test_numbers_go_on_when_the_sentinels_choose_another_primary(sentinels: Sentinels, times: int) -> None:
    async with numbers_flow(RUNS, some_may_be_lost=True) as numbers:
        for _ in range(times):
            await anyio.to_thread.run_sync(sentinels.fail_over)
            await numbers.progress()


async def test_numbers_go_on_when_the_primary_is_killed(sentinels: Sentinels) -> None:
    async with numbers_flow(RUNS, some_may_be_lost=True) as numbers:
        sentinels.primary.kill()
        await numbers.progress()
