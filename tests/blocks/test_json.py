"""A block: what is saved under a name is what is loaded by it, whoever else saves, whatever becomes of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
import redis
from pydantic import BaseModel, ValidationError

from flowchan import flow, open_run
from flowchan.blocks.system import JSON
from flowchan.errors import (
    BrokerRefused,
    BrokerUnavailable,
    DecodeError,
    EncodeError,
    InvalidKeyError,
    MessageTooLarge,
)
from flowchan.wire import keys
from tests.support import programs
from tests.support.proxy import Fate, Proxy
from tests.support.server import Server
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

MakeProxy = Callable[[Path], Proxy]
NAME = "01978a4e-7c00-7000-8000-00000000002a-seen-ids"


class Point(BaseModel):
    x: int
    when: datetime


async def exists(name: str = NAME) -> bool:
    try:
        await JSON.load(name)
    except ValueError:
        return False
    return True


# --- save, load, delete ------------------------------------------------------------------------------------


async def test_what_was_saved_is_loaded() -> None:
    await JSON(value={"seen": ["a", "b"], "n": 2, "none": None, "ü": "€"}).save(NAME)
    block = await JSON.load(NAME)
    assert isinstance(block, JSON)
    assert block.value == {"seen": ["a", "b"], "n": 2, "none": None, "ü": "€"}


async def test_a_block_that_nobody_saved_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="There is no block 'nobodys'"):
        await JSON.load("nobodys")


async def test_a_block_that_is_there_is_not_replaced_unless_it_is_said() -> None:
    await JSON(value=1).save(NAME)
    with pytest.raises(ValueError, match=f"There is a block '{NAME}' already"):
        await JSON(value=2).save(NAME)
    # Not even by the same.
    with pytest.raises(ValueError, match="already"):
        await JSON(value=1).save(NAME, overwrite=False)
    assert (await JSON.load(NAME)).value == 1

    await JSON(value=2).save(name=NAME, overwrite=True)
    assert (await JSON.load(NAME)).value == 2


async def test_a_block_is_saved_as_it_is_at_the_time_of_the_call() -> None:
    block = JSON(value=[])
    block.value.append("a")
    saving = block.save(NAME, overwrite=True)
    block.value.append("b")
    await saving
    assert (await JSON.load(NAME)).value == ["a"]


async def test_a_deleted_block_is_gone_and_its_name_free() -> None:
    await JSON(value=1).save(NAME)
    await JSON.delete(NAME)
    assert not await exists()
    with pytest.raises(ValueError, match="There is no block"):
        await JSON.delete(NAME)
    await JSON(value=2).save(NAME)


async def test_a_block_is_kept_until_it_is_deleted(client: redis.Redis, namespace: str) -> None:
    await JSON(value=1).save(NAME)
    assert client.pttl(keys.json_block(namespace, NAME)) == -1
    await JSON(value=2).save(NAME, overwrite=True)
    assert client.pttl(keys.json_block(namespace, NAME)) == -1


async def test_namespaces_share_no_block(monkeypatch: pytest.MonkeyPatch, namespace: str) -> None:
    await JSON(value=1).save(NAME)
    with monkeypatch.context() as other:
        other.setenv("FLOWCHAN_NAMESPACE", f"{namespace}-other")
        assert not await exists()
    assert await exists()


async def test_a_block_belongs_to_no_run() -> None:
    async with open_run("one"):
        await JSON(value=1).save(NAME)
    async with open_run("other"):
        assert (await JSON.load(NAME)).value == 1


# --- sync and async ----------------------------------------------------------------------------------------


def test_synchronous_code_gets_results() -> None:
    block: Any = JSON(value=[1])
    assert block.save(NAME) is None
    loaded: Any = JSON.load(NAME)
    assert loaded.value == [1]
    with pytest.raises(ValueError, match="already"):
        block.save(NAME)
    block.save(NAME, overwrite=True)
    assert JSON.delete(NAME) is None
    with pytest.raises(ValueError, match="no block"):
        JSON.load(NAME)


async def test_a_synchronous_flow_gets_results_even_on_a_loop() -> None:
    @flow
    def remembers() -> Any:
        JSON(value="andrew").save(NAME)
        block: Any = JSON.load(NAME)
        return block.value

    assert remembers() == "andrew"


async def test_an_asynchronous_flow_awaits() -> None:
    @flow
    async def remembers() -> Any:
        await JSON(value="andrew").save(NAME)
        return (await JSON.load(NAME)).value

    assert await remembers() == "andrew"


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1.5, 2**80, "", "ü€😀\x00\n", [], {}, [[1], {"a": [None]}], {"a b": 1, "": 2}],
    ids=repr,
)
async def test_json_comes_back_as_it_was(value: object) -> None:
    await JSON(value=value).save(NAME)
    back = (await JSON.load(NAME)).value
    assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize(
    "value, back",
    [
        ((1, 2), [1, 2]),
        ({1: "one"}, {"1": "one"}),
        (Point(x=1, when=datetime(2026, 1, 2, tzinfo=UTC)), {"x": 1, "when": "2026-01-02T00:00:00Z"}),
        ([UUID(int=1)], ["00000000-0000-0000-0000-000000000001"]),
    ],
    ids=["tuple", "numbers as keys", "model", "UUID"],
)
async def test_what_has_a_json_form_comes_back_in_it(value: object, back: object) -> None:
    await JSON(value=value).save(NAME)
    assert (await JSON.load(NAME)).value == back


def round_thing() -> list[Any]:
    it: list[Any] = []
    it.append(it)
    return it


def deep_thing() -> list[Any]:
    it: list[Any] = []
    for _ in range(100_000):
        it = [it]
    return it


@pytest.mark.parametrize(
    "value",
    [object(), [object()], math.nan, [math.inf], "\ud800", b"\xff", round_thing(), deep_thing(), 10**5000],
    ids=["object", "list", "nan", "inf", "surrogate", "bytes", "round", "deep", "huge"],
)
async def test_what_has_no_json_form_is_not_saved(value: object) -> None:
    with pytest.raises(EncodeError, match=f"a value of type '{type(value).__name__}'"):
        await JSON(value=value).save(NAME)
    assert not await exists()


async def test_an_error_says_nothing_of_the_value() -> None:
    with pytest.raises(EncodeError) as caught:
        await JSON(value=["s3cr3t", object()]).save(NAME)
    assert "s3cr3t" not in str(caught.value)


async def test_a_value_that_is_too_large_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_MESSAGE_BYTES", "100")
    await JSON(value="x" * 98).save(NAME)
    with pytest.raises(MessageTooLarge, match=f"block {NAME}") as caught:
        await JSON(value="x" * 99).save(NAME, overwrite=True)
    assert (caught.value.size, caught.value.limit) == (101, 100)
    assert (await JSON.load(NAME)).value == "x" * 98


async def test_a_block_has_a_value_and_nothing_else() -> None:
    with pytest.raises(ValidationError):
        JSON()  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        JSON(value=1, other=2)  # type: ignore[call-arg]


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "a:b", "{a}", "a*", "ü", "a\n", "a" * 129, None, 7], ids=repr)
async def test_a_bad_name_is_refused_before_anything_is_asked(
    name: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLOWCHAN_URL", f"unix://{tmp_path}/nobody")
    for verb in (JSON.load, JSON.delete, JSON(value=1).save):
        with pytest.raises(InvalidKeyError, match="block name"):
            verb(name)


async def test_a_long_name_is_one() -> None:
    await JSON(value=1).save("a" * 128)
    assert await exists("a" * 128)


# --- several at once ---------------------------------------------------------------------------------------


async def test_one_of_many_who_save_at_once_wins() -> None:
    async def save(number: int) -> bool:
        try:
            await JSON(value=number).save(NAME)
        except ValueError:
            return False
        return True

    saved = await asyncio.gather(*(save(number) for number in range(50)))
    assert saved.count(True) == 1
    assert (await JSON.load(NAME)).value == saved.index(True)


def test_one_of_several_processes_wins() -> None:
    program = f"""
        import os, sys
        from flowchan.blocks.system import JSON
        try:
            JSON.load({NAME!r})  # is connected by now
        except ValueError:
            print("ready", flush=True)
        sys.stdin.readline()
        try:
            JSON(value=os.getpid()).save({NAME!r})
        except ValueError:
            print("lost")
        else:
            print("won")
    """
    with contextlib.ExitStack() as stack:
        savers = [stack.enter_context(programs.running(program, "-W", "error")) for _ in range(4)]
        for each in savers:
            assert each.stdout
            assert each.stdout.readline() == "ready\n"
        for each in savers:
            assert each.stdin
            each.stdin.write("\n")
            each.stdin.flush()
        said = {each.pid: each.communicate(timeout=40) for each in savers}
    winners = [pid for pid, told in said.items() if told == ("won\n", "")]
    assert sorted(said.values()) == [("lost\n", "")] * 3 + [("won\n", "")]
    block: Any = JSON.load(NAME)
    assert [block.value] == winners


# --- a bad connection --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", [Fate.LOSE_REQUEST, Fate.HALVE_REQUEST, Fate.LOSE_REPLY, Fate.HALVE_REPLY])
async def test_a_save_that_was_cut_off_is_no_other_block_in_its_own_way(
    fate: Fate, shared_server: Server, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(shared_server.socket)
    await JSON(value="first").save("other")
    proxy.fate = cut_once(fate, b"SET")
    await JSON(value=[1]).save(NAME)
    assert proxy.cuts == 1
    assert (await JSON.load(NAME)).value == [1]


@pytest.mark.parametrize("fate", [Fate.LOSE_REQUEST, Fate.LOSE_REPLY])
async def test_a_save_that_was_cut_off_still_sees_that_somebody_elses_is_there(
    fate: Fate, shared_server: Server, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(shared_server.socket)
    await JSON(value="first").save(NAME)
    proxy.fate = cut_once(fate, b"SET")
    with pytest.raises(ValueError, match="already"):
        await JSON(value="second").save(NAME)
    assert proxy.cuts == 1
    assert (await JSON.load(NAME)).value == "first"


@pytest.mark.parametrize("fate", [Fate.LOSE_REQUEST, Fate.LOSE_REPLY])
async def test_the_other_verbs_get_over_a_lost_connection_too(
    fate: Fate, shared_server: Server, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(shared_server.socket)
    await JSON(value=1).save(NAME)
    proxy.fate = cut_once(fate, b"SET")
    await JSON(value=2).save(NAME, overwrite=True)
    proxy.fate = cut_once(fate, b"GET")
    assert (await JSON.load(NAME)).value == 2
    proxy.fate = cut_once(fate, b"DEL")
    await JSON.delete(NAME)
    assert not await exists()
    assert proxy.cuts == 3


async def test_a_broker_that_stays_away_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "0.2")
    monkeypatch.setenv("FLOWCHAN_CONNECT_TIMEOUT", "0.1")
    await JSON(value=1).save(NAME)
    server.kill()
    with pytest.raises(BrokerUnavailable):
        await JSON.load(NAME)


async def test_a_refusal_that_passes_is_waited_for(server: Server) -> None:
    await JSON(value=1).save(NAME)
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")

        def refusals() -> int:
            return int(client.info("errorstats").get("errorstat_READONLY", {"count": 0})["count"])

        saving = asyncio.ensure_future(JSON(value=2).save(NAME, overwrite=True))
        await eventually_async(refusals, "a refusal")
        client.replicaof("no", "one")
    await saving
    assert (await JSON.load(NAME)).value == 2


async def test_a_refusal_that_does_not_pass_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_SEND_TIMEOUT", "0.2")
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(BrokerRefused, match="READONLY"):
            await JSON(value=1).save(NAME)


async def test_a_refusal_names_the_block_and_nothing_of_it(client: redis.Redis, namespace: str) -> None:
    client.lpush(keys.json_block(namespace, NAME), "s3cr3t")
    with pytest.raises(BrokerRefused, match=f"block {NAME}.*WRONGTYPE") as caught:
        await JSON.load(NAME)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000], ids=["empty", "half", "bytes", "deep"])
async def test_what_is_no_json_is_told_so(text: bytes, client: redis.Redis, namespace: str) -> None:
    client.set(keys.json_block(namespace, NAME), text)
    with pytest.raises(DecodeError, match=f"block {NAME} is no JSON"):
        await JSON.load(NAME)


async def test_it_is_stored_as_json_that_others_can_read(client: redis.Redis, namespace: str) -> None:
    await JSON(value={"ü": [1, None]}).save(NAME)
    text: Any = client.get(keys.json_block(namespace, NAME))
    assert text.decode() == '{"ü":[1,null]}'
    assert json.loads(text) == {"ü": [1, None]}


async def test_a_cancelled_save_leaves_all_or_nothing() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await JSON(value=[1]).save(NAME)
    await JSON(value=[2]).save(NAME, overwrite=True)
    assert (await JSON.load(NAME)).value == [2]


def cut_once(fate: Fate, command: bytes) -> Callable[[bytes], Fate]:
    """Has the first piece with this command meet its fate, and lets all others pass."""
    first = iter([fate])

    def fate_of(data: bytes) -> Fate:
        return next(first, Fate.PASS) if b"\r\n" + command + b"\r\n" in data else Fate.PASS

    return fate_of
