"""What must hold when something is wrong: connections that end, and messages that nobody with a key has sent."""

from __future__ import annotations

import base64

import anyio.to_thread
import pytest

from flowchan import Channels, receive_input, send_input
from flowchan.errors import SignatureError
from tests.support.numbers import numbers_flow
from tests.support.places import Place

pytestmark = pytest.mark.anyio

RUNS = [f"run-{number}" for number in range(3)]
KEYS = f"k1:{base64.b64encode(b'a secret of thirty-two bytes, so').decode()}"


async def test_numbers_go_on_once_and_in_order_when_all_connections_are_cut(here: Place) -> None:
    async with numbers_flow(RUNS) as numbers:
        for _ in range(2):
            assert await anyio.to_thread.run_sync(here.cut) > 0
            await numbers.progress(10)


async def test_a_message_that_is_not_signed_is_refused_and_the_next_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    without = Channels()
    monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", KEYS)
    await send_input(1, "run")
    await without.send_input(2, "run")
    await send_input(3, "run")

    async with receive_input(int, flow_run_id="run", timeout=20) as receiver:
        assert await receiver.next() == 1
        with pytest.raises(SignatureError):
            await receiver.next()
        assert await receiver.next() == 3
        assert receiver.refused == 1
