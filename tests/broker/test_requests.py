"""Requests for runs: each is taken by one, or not at all and waits on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from flowchan.errors import BrokerRefused
from flowchan.flow_runs import cancel_flow_run
from flowchan.wire import keys
from tests.support.requests import asked_for, taken
from tests.support.runs import state_of
from tests.support.server import Server

pytestmark = pytest.mark.anyio


async def test_a_request_is_taken_once() -> None:
    deployment, run = await asked_for()

    first = await taken(deployment)

    assert first is not None
    assert (first.run, first.following) == (run, None)
    assert await taken(deployment) is None
    assert (await state_of(run)).is_pending()


async def test_a_request_of_a_run_that_was_cancelled_goes() -> None:
    deployment, run = await asked_for()
    await cancel_flow_run(run)

    found = await taken(deployment)

    assert found is not None
    assert (found.run, found.following) == (None, None)
    assert await taken(deployment) is None


async def test_a_request_that_cannot_be_taken_for_lack_of_memory_waits(server: Server) -> None:
    deployment, run = await asked_for()
    with server.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(BrokerRefused, match="OOM"):
            await taken(deployment)
        client.config_set("maxmemory", "0")
    assert (await state_of(run)).is_scheduled()

    found = await taken(deployment)

    assert found is not None
    assert found.run == run


def of_another_partition(run: str) -> dict[str, str]:
    tag = keys.partition_tag(run)
    other = next(name for name in map(str, range(1000)) if keys.partition_tag(name) != tag)
    return {"v": "1", "id": "x", "run": other}


@pytest.mark.parametrize(
    "garbled",
    [
        lambda _: {"x": "y"},
        lambda _: {"v": "1", "id": "x", "run": "no run:"},
        lambda _: {"v": "1", "id": "x", "run": b"\xff"},
        lambda run: {"v": "1", "id": "x", "run": run},
        of_another_partition,
    ],
    ids=["nothing", "no name", "no text", "another state", "another partition"],
)
async def test_a_request_that_says_nothing_of_use_goes_and_the_next_one_is_taken(
    client: redis.Redis, namespace: str, garbled: Callable[[str], dict[str, str]]
) -> None:
    deployment, run = await asked_for()
    stream = keys.requests(namespace, keys.partition_tag(run), str(deployment))
    ((_, whole),) = client.xrange(stream)
    client.delete(stream)
    client.xadd(stream, garbled(run))  # type: ignore[arg-type]
    client.xadd(stream, whole)
    client.pexpire(stream, 60_000)

    first = await taken(deployment)
    second = await taken(deployment)

    assert first is not None
    assert (first.run, first.following is not None) == (None, True)
    assert second is not None
    assert second.run == run
