"""A send, as its caller sees it: named, checked at the call, and awaitable in every way that a coroutine is."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
from pydantic import BaseModel

from flowchan import RunInput, open_run, receive_input, send_input, sync
from flowchan.errors import EncodeError, InvalidKeyError, MessageTooLarge, SendQueueFull
from flowchan.input import RunInputMetadata
from tests.support import loops, programs
from tests.support.server import Server
from tests.support.streams import Streams
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

Send = Callable[[], Awaitable[RunInputMetadata]]


class Order(RunInput):
    size: int


class Plain(BaseModel):
    size: int


async def received(run: str, kind: Any = str, **options: Any) -> list[Any]:
    """All that a run was sent of a type."""
    options = {"timeout": 0, "raise_timeout_error": False, **options}
    return [value async for value in receive_input(kind, flow_run_id=run, **options)]


# --- what is returned --------------------------------------------------------------------------------


async def test_the_metadata_returned_is_that_of_the_message_that_is_received() -> None:
    async with open_run("sender"):
        sent = await Order(size=3).send_to("receiver")

    order = await Order.receive(flow_run_id="receiver").next()

    assert isinstance(sent, RunInputMetadata)
    assert order.metadata == sent
    assert (sent.sender, sent.receiver, sent.delivery_count) == ("flowchan.flow-run.sender", "receiver", 1)
    assert sent.sent_at.utcoffset() is not None
    assert not sent.sent_at.utcoffset()


async def test_the_receiver_is_a_uuid_where_it_was_one_in_whatever_spelling() -> None:
    run = uuid4()

    for spelling in (run, str(run), str(run).upper(), run.hex):
        assert (await send_input("x", spelling)).receiver == run

    assert len(await received(str(run))) == 4


async def test_metadata_survives_the_way_through_json() -> None:
    for run in (uuid4(), "a-name"):
        metadata = await send_input("x", run)

        assert RunInputMetadata.model_validate_json(metadata.model_dump_json()) == metadata


async def test_the_sender_is_the_current_run_unless_another_is_named() -> None:
    nobody = await send_input("x", "receiver")
    async with open_run("me"):
        me = await send_input("x", "receiver")
        other = await send_input("x", "receiver", sender="somebody else")

    assert (nobody.sender, me.sender, other.sender) == (None, "flowchan.flow-run.me", "somebody else")


@pytest.mark.parametrize(
    "value, channel",
    [
        ("x", "strautomaticruninput-auto"),
        ([1], "listautomaticruninput-auto"),
        (None, "nonetypeautomaticruninput-auto"),
        (Order(size=1), "order-auto"),
        (Plain(size=1), "plainruninput-auto"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_the_channel_is_named_after_the_class(value: object, channel: str) -> None:
    assert (await send_input(value, "run")).key.startswith(f"{channel}-")


async def test_channels_match_exactly() -> None:
    await send_input("x", "run", key_prefix="abc")

    assert await received("run", key_prefix="ab") == []
    assert await received("run", key_prefix="abc-auto") == []
    assert await received("run", key_prefix="abc") == ["x"]


# --- what is refused, before anything is sent ----------------------------------------------------------


@pytest.mark.parametrize("key_prefix", ["", "a b", "a:b", "a*", "{a}", "a/b", "ü", "a\n", "a" * 129])
async def test_a_key_prefix_that_can_be_none_is_refused_at_the_call(key_prefix: str) -> None:
    with pytest.raises(InvalidKeyError, match="key prefix"):
        send_input("x", "run", key_prefix=key_prefix)
    with pytest.raises(InvalidKeyError, match="key prefix"):
        receive_input(str, flow_run_id="run", key_prefix=key_prefix)


@pytest.mark.parametrize("run", ["", "a b", "a:b", "{a}", "a*", "ü", "a" * 129, 3, b"run", object()])
async def test_a_run_id_that_can_be_none_is_refused_at_the_call(run: Any) -> None:
    with pytest.raises(InvalidKeyError, match="flow run ID"):
        send_input("x", run)
    with pytest.raises(InvalidKeyError, match="flow run ID"):
        receive_input(str, flow_run_id=run)


@pytest.mark.parametrize("key", ["", "k" * 257, 3, "\ud800"])
async def test_an_idempotency_key_that_can_be_none_is_refused_at_the_call(key: Any) -> None:
    with pytest.raises(InvalidKeyError, match="idempotency key"):
        send_input("x", "run", idempotency_key=key)


@pytest.mark.parametrize(
    "value, place",
    [
        (object(), "value: .*'object'"),
        ({"a": [1, {"b": object()}]}, r"value\.a\[1\]\.b: .*'object'"),
        (lambda: None, "value: .*'function'"),
        (float, "value: .*'type'"),
        ("\ud800", "value: .*surrogate"),
        (range(3), "value: .*'range'"),
    ],
    ids=["object", "nested", "function", "class", "surrogate", "range"],
)
async def test_a_value_that_cannot_be_serialised_is_refused_with_its_type_and_place(
    value: object, place: str, streams: Streams
) -> None:
    with pytest.raises(EncodeError, match=place):
        send_input(value, "run", key_prefix="channel")
    await send_input("good", "run", key_prefix="channel")

    assert streams.values("run", "channel") == ["good"]


async def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(EncodeError):
        send_input(endless, "run")


async def test_a_message_that_is_too_large_tells_both_sizes_and_is_not_stored() -> None:
    with pytest.raises(MessageTooLarge, match=r"run run.* 1,0\d\d,\d\d\d bytes; at most 1,048,576") as refused:
        await send_input("x" * 1024 * 1024, "run")

    assert refused.value.limit == 1024 * 1024
    assert refused.value.size > refused.value.limit
    assert await received("run") == []


def test_what_is_refused_in_async_code_is_refused_in_sync_code() -> None:
    with pytest.raises(InvalidKeyError):
        send_input("x", "a b")
    with pytest.raises(EncodeError):
        send_input(object(), "run")
    with pytest.raises(MessageTooLarge):
        send_input("x" * 1024 * 1024, "run")


async def test_more_sends_than_may_wait_are_refused_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_MAX_PENDING", "3")
    sends = [send_input(number, "run") for number in range(3)]

    with pytest.raises(SendQueueFull, match="FLOWCHAN_MAX_PENDING"):
        send_input(3, "run")

    await asyncio.gather(*sends)
    await send_input(4, "run")
    assert await received("run", int) == [0, 1, 2, 4]


# --- awaitable as a coroutine is -----------------------------------------------------------------------


async def alone(send: Send) -> None:
    await send()


async def as_a_task(send: Send) -> None:
    await asyncio.create_task(send())  # type: ignore[arg-type]


async def gathered(send: Send) -> None:
    await asyncio.gather(send())


async def with_a_time_limit(send: Send) -> None:
    await asyncio.wait_for(send(), 30)


async def shielded(send: Send) -> None:
    await asyncio.shield(send())


async def as_completed(send: Send) -> None:
    for each in asyncio.as_completed([send()]):
        await each


async def waited_for(send: Send) -> None:
    done, _ = await asyncio.wait([asyncio.ensure_future(send())])
    assert all(task.exception() is None for task in done)


async def in_a_task_group(send: Send) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(send())  # type: ignore[arg-type]


async def started_soon(send: Send) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(send)


async def twice(send: Send) -> None:
    sending = send()
    assert await sending == await sending


async def by_two_tasks(send: Send) -> None:
    sending = send()

    async def wait() -> RunInputMetadata:
        return await sending

    first, second = await asyncio.gather(wait(), wait())
    assert first == second


async def after_it_was_stored(send: Send) -> None:
    sending = send()
    await send()
    await sending


WAYS = [alone, as_a_task, gathered, with_a_time_limit, shielded, as_completed, waited_for]
WAYS += [in_a_task_group, twice, by_two_tasks, after_it_was_stored]
if tuple(map(int, version("anyio").split(".")[:2])) >= (4, 14):
    WAYS.append(started_soon)  # before, it took nothing but what an async def returns


@pytest.fixture(params=loops.BOTH)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_send_can_be_awaited(way: Callable[[Send], Awaitable[None]]) -> None:
    await way(lambda: send_input("x", "run"))

    assert set(await received("run")) == {"x"}


async def test_a_failed_send_raises_in_every_task_that_awaits_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_CONNECT_TIMEOUT", "0.2")
    server.kill()
    sending = send_input("x", "run")

    async def wait() -> None:
        await sending

    errors = await asyncio.gather(wait(), wait(), return_exceptions=True)
    assert [isinstance(error, ConnectionError) for error in errors] == [True, True]


async def test_a_send_is_a_coroutine_to_who_asks() -> None:
    sending = send_input("x", "run")

    assert asyncio.iscoroutine(sending)
    assert inspect.isawaitable(sending)
    await sending


async def test_a_send_that_is_closed_like_a_coroutine_goes_on() -> None:
    send_input("x", "run").close()  # type: ignore[attr-defined]
    await send_input("y", "run")

    assert await received("run") == ["x", "y"]


async def test_a_loop_in_debug_mode_has_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.get_running_loop().set_debug(True)

    await asyncio.create_task(send_input("x", "run"))  # type: ignore[arg-type]

    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


# --- cancelled -----------------------------------------------------------------------------------------


async def test_a_send_whose_wait_was_cancelled_is_stored_and_can_be_awaited_again() -> None:
    sending = send_input("x", "run")
    task = asyncio.ensure_future(_wait(sending))
    await anyio.lowlevel.checkpoint()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    metadata = await sending

    assert await received("run") == ["x"]
    assert metadata.receiver == "run"


async def test_a_task_that_is_nothing_but_a_send_can_be_cancelled_and_the_send_goes_on(server: Server) -> None:
    await send_input("first", "run")
    with server.paused():
        task: asyncio.Task[Any] = asyncio.ensure_future(send_input("second", "run"))
        await anyio.lowlevel.checkpoint()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await send_input("third", "run")

    assert await received("run") == ["first", "second", "third"]


async def test_one_who_gives_up_waiting_for_a_send_does_not_disturb_another() -> None:
    sending = send_input("x", "run")
    impatient, patient = asyncio.ensure_future(_wait(sending)), asyncio.ensure_future(_wait(sending))
    await anyio.lowlevel.checkpoint()

    impatient.cancel()

    assert (await patient).receiver == "run"


async def test_a_run_does_not_end_before_a_send_whose_wait_was_cancelled_is_stored(server: Server) -> None:
    await send_input("first", "run")
    with server.paused():
        async with open_run("ending"):
            with anyio.move_on_after(0.01):
                await send_input("second", "run")
            asyncio.get_running_loop().call_later(0.2, server.resume)

    # What ended the block is the server's answer, so it holds the message by now.
    with server.client() as client:
        (key,) = client.scan_iter(_type="stream")
        assert client.xlen(key) == 2


async def test_a_send_that_nobody_waited_for_to_the_end_is_logged_when_it_fails(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLOWCHAN_CONNECT_TIMEOUT", "0.2")
    server.kill()
    with anyio.move_on_after(0):
        await send_input("x", "a-run")

    await eventually_async(lambda: "a-run" in caplog.text)

    assert "strautomaticruninput-auto" in caplog.text


async def _wait(sending: Awaitable[RunInputMetadata]) -> RunInputMetadata:
    return await sending


# --- once, from whatever process -------------------------------------------------------------------------


async def test_an_idempotency_key_holds_for_its_channel_only() -> None:
    for run, channel in (("one", "a"), ("one", "b"), ("two", "a")):
        await send_input("x", run, key_prefix=channel, idempotency_key="k")
        await send_input("x", run, key_prefix=channel, idempotency_key="k")

    assert await received("one", key_prefix="a") == ["x"]
    assert await received("one", key_prefix="b") == ["x"]
    assert await received("two", key_prefix="a") == ["x"]


async def test_the_first_of_concurrent_sends_under_one_key_is_stored_and_is_everyones_answer() -> None:
    sent = await asyncio.gather(*(send_input(number, "run", idempotency_key="k") for number in range(20)))

    assert len({metadata.key for metadata in sent}) == 1
    assert await received("run", int) == [0]


def test_an_idempotency_key_holds_across_processes() -> None:
    program = """
        from flowchan import send_input
        print(send_input("pay", "run", idempotency_key="order-4711").key)
    """

    first, second = programs.run(program), programs.run(program)

    assert first == second
    assert sync.send_input("pay", "run", idempotency_key="order-4711").key == first.strip()
    payments = sync.receive_input(str, flow_run_id="run", timeout=0, raise_timeout_error=False)
    assert list(payments) == ["pay"]


def test_ids_that_look_alike_are_one_run_or_two() -> None:
    run = UUID(int=15)

    sync.send_input("to the UUID", run)
    sync.send_input("to another name", run.hex[1:])

    assert sync.receive_input(str, flow_run_id=str(run).upper(), timeout=0).next() == "to the UUID"
