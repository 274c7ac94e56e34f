"""With signing keys: a run goes on with an answer that somebody who has a key gave to this very question."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import anyio
import pytest
import redis

from flowchan import RunInput, flow, pause_flow_run, resume_flow_run
from flowchan.errors import SignatureError
from flowchan.input import keyset_from_base_key
from flowchan.wire import keys as wire_keys
from tests.support.runs import seen, started

pytestmark = pytest.mark.anyio

Keys = Callable[..., None]


class Approval(RunInput):
    amount: int


class Inputs:
    """The hash of a run's inputs, for somebody who may write to the server."""

    def __init__(self, client: redis.Redis, namespace: str, run: Any) -> None:
        self._client = client
        self._key = wire_keys.inputs(namespace, wire_keys.run_id(run))

    def read(self) -> dict[bytes, bytes]:
        return self._client.hgetall(self._key)  # type: ignore[return-value]

    def write(self, fields: dict[bytes, bytes]) -> None:
        self._client.hset(self._key, mapping=fields)  # type: ignore[arg-type]


def say_it_runs(client: redis.Redis, namespace: str, run: Any) -> None:
    """Tell a run that it was resumed, past everything that flowchan checks."""
    state = {"id": str(uuid4()), "type": "RUNNING", "name": "Running"}
    states = wire_keys.states(namespace, wire_keys.run_id(run))
    client.xadd(states, {"v": 1, "id": state["id"], "state": json.dumps(state)})


@flow
async def asks() -> Any:
    return (await pause_flow_run(Approval)).amount


@flow
async def waits() -> str:
    await pause_flow_run()
    return "resumed"


async def test_an_answer_is_signed_and_taken(keys: Keys, client: redis.Redis, namespace: str) -> None:
    keys("k1")
    async with started(asks) as flowing:
        run = await seen("asks", "PAUSED")
        await resume_flow_run(run.id, {"amount": 3})
        assert await flowing == 3
    stored = Inputs(client, namespace, run.id).read()
    assert stored[b"paused-1-response"] == b'{"amount": 3}'
    assert b":k1:" in stored[b"paused-1-response.sig"]


@pytest.mark.parametrize("what, wanted", [("asks", {"amount": 3}), ("waits", None)])
async def test_who_has_no_key_cannot_resume_a_run(
    what: str, wanted: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys("k1")
    async with started({"asks": asks, "waits": waits}[what]) as flowing:
        run = await seen(what, "PAUSED")
        monkeypatch.delenv("FLOWCHAN_SIGNING_KEYS")
        await resume_flow_run(run.id, wanted)
        with pytest.raises(SignatureError, match="is not signed"):
            await flowing


async def test_a_resume_without_a_trace_of_an_answer_does_not_pass(
    keys: Keys, client: redis.Redis, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    keys("k1")
    async with started(waits) as flowing:
        run = await seen("waits", "PAUSED")
        inputs = Inputs(client, namespace, run.id)
        # Given somebody who says to the run that it goes on
        say_it_runs(client, namespace, run.id)
        with pytest.raises(SignatureError):
            await flowing
        assert inputs.read() == {}


async def test_an_older_answer_is_none_to_a_new_question_under_the_same_key(
    keys: Keys, client: redis.Redis, namespace: str
) -> None:
    kept: dict[bytes, bytes] = {}

    @flow
    async def careful() -> None:
        assert (await pause_flow_run(Approval, key="approve")).amount == 1
        # Given somebody who keeps the answer to the first question, with its signature
        kept.update(Inputs(client, namespace, (await seen("careful", "RUNNING")).id).read())
        await pause_flow_run(Approval, key="approve")

    keys("k1")
    async with started(careful) as flowing:
        run = await seen("careful", "PAUSED")
        await resume_flow_run(run.id, {"amount": 1})
        while not kept or (await seen("careful", "PAUSED", "RUNNING")).state.is_running():  # type: ignore[union-attr]
            await anyio.sleep(0.005)
        # and who puts that answer in the place of the second one, and says to the run that it goes on
        Inputs(client, namespace, run.id).write(kept)
        say_it_runs(client, namespace, run.id)
        with pytest.raises(SignatureError, match="another question"):
            await flowing


async def test_a_retried_flow_finds_its_answer_if_it_is_signed(keys: Keys, client: redis.Redis, namespace: str) -> None:
    calls: list[int] = []

    @flow(retries=1)
    async def tried_twice() -> int:
        amount = (await pause_flow_run(Approval)).amount
        calls.append(amount)
        if len(calls) == 1:
            if forges:
                run = await seen("tried-twice", "RUNNING")
                Inputs(client, namespace, run.id).write({b"paused-1-response": b'{"amount": 1000000}'})
            raise OSError("once more")
        return amount

    keys("k1")
    for forges in (False, True):
        calls.clear()
        async with started(tried_twice) as flowing:
            await resume_flow_run((await seen("tried-twice", "PAUSED")).id, {"amount": 3})
            if forges:
                with pytest.raises(SignatureError, match="forged, changed or moved"):
                    await flowing
            else:
                assert await flowing == 3
        assert calls == [3, 3][: 2 - forges]


async def test_what_is_loaded_by_hand_is_looked_at_too(
    keys: Keys, client: redis.Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys("k1")
    async with started(asks) as flowing:
        run = await seen("asks", "PAUSED")
        await resume_flow_run(run.id, {"amount": 3})
        await flowing
    keyset = keyset_from_base_key("paused-1")
    assert (await Approval.load(keyset, run.id)).amount == 3

    Inputs(client, namespace, run.id).write({b"paused-1-response": b'{"amount": 4}'})
    with pytest.raises(SignatureError, match="paused-1-response") as refused:
        await Approval.load(keyset, run.id)
    assert refused.value.key == "paused-1-response"
    monkeypatch.delenv("FLOWCHAN_SIGNING_KEYS")
    assert (await Approval.load(keyset, run.id)).amount == 4
