"""A receiver, as its user sees it: what it takes, how long it waits, and who may share it."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal, Optional, TypeVar
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel, Field

from flowchan import Channels, RunInput, flow, open_run, receive_input, send_input, sync
from flowchan.context import get_run_context
from flowchan.errors import BrokerUnavailable, InvalidKeyError, MissingRunError
from flowchan.input import AutomaticRunInput, InputReceiver
from tests.support import loops
from tests.support.server import Server
from tests.support.waiting import eventually, eventually_async, waiters

pytestmark = pytest.mark.anyio

RUN = "run"
T = TypeVar("T")


class Order(RunInput):
    size: int


class User(BaseModel):
    name: str


@pytest.fixture(params=loops.BOTH)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def numbers(**options: Any) -> InputReceiver[int]:
    return receive_input(int, flow_run_id=RUN, **{"timeout": 30, **options})


async def send(*values: Any, **options: Any) -> list[str]:
    return [(await send_input(value, RUN, **options)).key for value in values]


async def there(receiver: InputReceiver[T]) -> list[T]:
    """All that is there now."""
    return [value async for value in receiver]


def now(kind: Any = int, **options: Any) -> InputReceiver[Any]:
    return receive_input(kind, **{"flow_run_id": RUN, "timeout": 0, "raise_timeout_error": False, **options})


@asynccontextmanager
async def waiting(receiver: InputReceiver[T]) -> AsyncIterator[asyncio.Task[T]]:
    """A task that waits for the receiver's next message by now."""
    task = asyncio.ensure_future(_next(receiver))
    await eventually_async(lambda: waiters(receiver))
    try:
        yield task
    finally:
        task.cancel()


async def _next(receiver: InputReceiver[T]) -> T:
    return await receiver.next()


# --- which messages --------------------------------------------------------------------------------------


async def test_a_call_replays_all_and_then_follows() -> None:
    await send(1, 2)
    receiver = numbers()
    assert [await receiver.next(), await receiver.next()] == [1, 2]

    async with waiting(receiver) as third:
        await send(3)
        assert await third == 3


async def test_two_receivers_of_one_run_do_not_take_each_others_messages() -> None:
    first, second = numbers(), numbers()
    async with waiting(first) as one, waiting(second) as other:
        await send(1)
        assert (await one, await other) == (1, 1)
    await send(2)

    assert (await first.next(), await second.next(), await there(now())) == (2, 2, [1, 2])


async def test_a_receiver_without_a_named_run_is_the_current_runs() -> None:
    async with open_run("mine") as run:
        await send_input("x", run.id)
        receiver = receive_input(str, timeout=30)

    # The run that was current at the call, wherever it is asked from.
    assert await receiver.next() == "x"


@pytest.mark.parametrize(
    "receive",
    [lambda: receive_input(str), Order.receive, AutomaticRunInput[str].receive, lambda: sync.receive_input(str)],
    ids=["a function", "a class", "an automatic class", "a synchronous function"],
)
async def test_without_any_run_the_call_itself_is_refused(receive: Callable[[], object]) -> None:
    with pytest.raises(MissingRunError, match="Must either provide a flow run ID or be within a flow run"):
        receive()


async def test_excluded_messages_are_never_yielded_old_or_new() -> None:
    keys = await send(*range(6))

    assert await there(now(exclude_keys=[keys[0], keys[2], keys[5]])) == [1, 3, 4]


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, iter, dict.fromkeys], ids=lambda kind: kind.__name__)
async def test_excluded_keys_may_be_any_iterable_of_strings(kind: Callable[[list[str]], Any]) -> None:
    keys = await send(*range(3))

    assert await there(now(exclude_keys=kind(keys[:2]))) == [2]


async def test_excluded_keys_are_copied() -> None:
    keys = await send(*range(3))
    excluded = keys[:1]
    receiver = now(exclude_keys=excluded)
    excluded.append(keys[1])

    assert await there(receiver) == [1, 2]


async def test_keys_of_nothing_exclude_nothing() -> None:
    await send(1)
    (other,) = await send("x")

    assert await there(now(exclude_keys=["", "hello", other, "intautomaticruninput-auto-1-0-00000000"])) == [1]


@pytest.mark.parametrize(
    "keys, problem", [("abc", "not one str"), (b"abc", "not one bytes"), ([1], "is int"), ([None], "is NoneType")]
)
async def test_excluded_keys_that_are_no_strings_are_refused(keys: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        numbers(exclude_keys=keys)


async def test_a_replay_begins_behind_a_key_and_follows() -> None:
    keys = await send(1, 2, 3)
    receiver = numbers(after=keys[1])
    assert await receiver.next() == 3

    await send(4)
    assert await receiver.next() == 4


async def test_behind_the_last_key_there_is_nothing_yet() -> None:
    keys = await send(1, 2)

    assert await there(now(after=keys[-1])) == []


@pytest.mark.parametrize("after", ["", "hello", "0-0", "intautomaticruninput-auto-1-0-00000000", 3, b"x"])
async def test_a_key_that_is_none_of_the_channel_is_refused_at_the_call(after: Any) -> None:
    with pytest.raises(InvalidKeyError, match=r"metadata\.key"):
        numbers(after=after)


async def test_a_key_of_another_channel_or_run_is_refused() -> None:
    (other_channel,) = await send("x")
    other_run = (await send_input(1, "other")).key

    for key in (other_channel, other_run):
        with pytest.raises(InvalidKeyError):
            numbers(after=key)


async def test_a_reader_that_reconnects_with_its_last_key_reads_every_message_once() -> None:
    await send(*range(40))
    seen: list[int] = []
    last: str | None = None
    while len(seen) < 40:
        receiver = receive_input(int, flow_run_id=RUN, timeout=0, with_metadata=True, after=last)
        for _ in range(random.randint(1, 7)):
            if len(seen) < 40:
                message = await receiver.next()
                seen.append(message.value)
                last = message.metadata.key

    assert seen == list(range(40))


# --- how long -----------------------------------------------------------------------------------------


async def test_a_timeout_is_for_each_message() -> None:
    receiver = numbers(timeout=0.5)

    async def send_slowly() -> None:
        for number in range(5):
            await anyio.sleep(0.2)
            await send(number)

    async with anyio.create_task_group() as group:
        group.start_soon(send_slowly)
        assert [await receiver.next() for _ in range(5)] == list(range(5))


@pytest.mark.parametrize("timeout", [0, 0.05, 0.3])
async def test_a_timeout_is_kept(timeout: float) -> None:
    await send("another channel")
    receiver = numbers(timeout=timeout)
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        await receiver.next()

    assert timeout <= time.monotonic() - started + 0.001
    assert time.monotonic() - started < timeout + 5


def test_a_timeout_is_kept_in_synchronous_code() -> None:
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        sync.receive_input(int, flow_run_id=RUN, timeout=0.3, poll_interval=10).next()

    assert 0.3 <= time.monotonic() - started + 0.001 < 5


@pytest.mark.parametrize("poll_interval", [0, 0.001, 0.1, 10, 1e9])
async def test_a_message_never_waits_for_the_poll(poll_interval: float) -> None:
    receiver = numbers(timeout=30, poll_interval=poll_interval)
    async with waiting(receiver) as message:
        started = time.monotonic()
        await send(1)
        assert await message == 1

    assert time.monotonic() - started < 5


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e9])
async def test_there_may_be_no_limit(timeout: float | None) -> None:
    receiver = numbers(timeout=timeout)
    async with waiting(receiver) as message:
        await send(1)
        assert await message == 1


@pytest.mark.parametrize(
    "seconds, error", [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)]
)
@pytest.mark.parametrize("name", ["timeout", "poll_interval"])
async def test_what_is_no_number_of_seconds_is_refused(name: str, seconds: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        numbers(**{name: seconds})


async def test_a_receiver_goes_on_after_a_timeout() -> None:
    receiver = numbers(timeout=0.05)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await receiver.next()

    await send(1)
    assert await receiver.next() == 1


async def test_a_loop_that_ended_quietly_can_be_begun_again() -> None:
    receiver = now()
    assert await there(receiver) == []
    await send(1, 2)

    assert await there(receiver) == [1, 2]
    assert await there(receiver) == []


async def test_next_raises_the_timeout_even_where_a_loop_would_end_quietly() -> None:
    with pytest.raises(TimeoutError):
        await now().next()


def test_a_synchronous_loop_ends_quietly_or_raises() -> None:
    sync.send_input(1, RUN)

    assert list(sync.receive_input(int, flow_run_id=RUN, timeout=0.05, raise_timeout_error=False)) == [1]
    with pytest.raises(TimeoutError):
        list(sync.receive_input(int, flow_run_id=RUN, timeout=0.05))


async def test_a_timeout_while_the_broker_is_away_says_that_it_is_away(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWCHAN_CONNECT_TIMEOUT", "0.2")
    receiver = numbers(timeout=1)
    server.kill()

    with pytest.raises(BrokerUnavailable, match="unix://"):
        await receiver.next()

    server.start()
    await send(1)
    assert await receiver.next() == 1


async def test_what_came_while_the_loop_was_blocked_is_there_afterwards() -> None:
    receiver = numbers(timeout=0.2)
    async with waiting(receiver) as message:
        with ThreadPoolExecutor(1) as elsewhere:  # and the loop waits for it, as it would in input()
            elsewhere.submit(sync.send_input, 1, RUN).result()
            time.sleep(0.4)  # noqa: ASYNC251 - the accident itself

        assert await message == 1


# --- who may share it -----------------------------------------------------------------------------------


async def test_two_concurrent_next_give_two_different_messages() -> None:
    receiver = numbers()
    both = asyncio.gather(receiver.next(), receiver.next())
    await eventually_async(lambda: waiters(receiver) == 2)
    await send(1, 2)

    assert await both == [1, 2]


async def test_many_that_wait_on_one_receiver_share_its_messages_in_order() -> None:
    receiver = numbers()
    tasks = [asyncio.ensure_future(_next(receiver)) for _ in range(50)]
    await eventually_async(lambda: waiters(receiver) == 50)
    for number in range(50):
        send_input(number, RUN)

    assert await asyncio.gather(*tasks) == list(range(50))


async def move_on_after(receiver: InputReceiver[int]) -> int | None:
    with anyio.move_on_after(0.001):
        return await receiver.next()
    return None


async def wait_for(receiver: InputReceiver[int]) -> int | None:
    try:
        return await asyncio.wait_for(receiver.next(), 0.001)
    except TimeoutError:
        return None


async def timeout(receiver: InputReceiver[int]) -> int | None:
    try:
        async with asyncio.timeout(0.001):
            return await receiver.next()
    except TimeoutError:
        return None


async def cancel(receiver: InputReceiver[int]) -> int | None:
    task = asyncio.ensure_future(_next(receiver))
    for _ in range(random.randint(0, 3)):
        await anyio.lowlevel.checkpoint()
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


@pytest.mark.parametrize("attempt", [move_on_after, wait_for, timeout, cancel], ids=lambda each: each.__name__)
async def test_cancelling_a_wait_loses_and_repeats_nothing(
    attempt: Callable[[InputReceiver[int]], Awaitable[int | None]],
) -> None:
    receiver, seen = numbers(), []

    async def send_all() -> None:
        for number in range(200):
            await send(number)
            if number % 10 == 0:
                await anyio.sleep(0.002)

    async with anyio.create_task_group() as group:
        group.start_soon(send_all)
        while len(seen) < 200:
            number = await attempt(receiver)
            if number is not None:
                seen.append(number)

    assert seen == list(range(200))
    assert await there(now(after=(await send(200))[0])) == []


def test_threads_share_a_receiver_and_each_message_goes_to_one_of_them() -> None:
    receiver = sync.receive_input(int, flow_run_id=RUN, timeout=0.5, raise_timeout_error=False)
    with ThreadPoolExecutor(8) as threads:
        shares = [threads.submit(list, receiver) for _ in range(8)]
        for number in range(400):
            sync.send_input(number, RUN)
        taken = [share.result() for share in shares]

    assert sorted(itertools.chain(*taken)) == list(range(400))
    assert all(share == sorted(share) for share in taken)


def test_a_thread_that_waits_is_not_kept_waiting_by_one_that_works_on_its_message() -> None:
    receiver = sync.receive_input(int, flow_run_id=RUN, timeout=30)

    async def send_at_once() -> None:
        await asyncio.gather(*(send_input(number, RUN) for number in range(4)))

    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            # Each takes one message and no more, as one that works on it does.
            taken = [threads.submit(receiver.next) for _ in range(4)]
            eventually(lambda: waiters(receiver) == 4)
            asyncio.run(send_at_once())
            assert sorted(each.result(20) for each in taken) == list(range(4))


def test_a_receiver_goes_from_one_event_loop_to_the_next_and_keeps_its_place() -> None:
    receiver = numbers()
    sync.send_input(0, RUN)
    for number in range(4):

        async def take() -> int:
            taken = await receiver.next()
            await send(taken + 1)
            return taken

        assert asyncio.run(take()) == number


async def test_a_receiver_goes_between_async_and_sync_code_and_keeps_its_place() -> None:
    await send(*range(300))
    receiver = numbers()
    seen = []
    for turn in range(60):
        if turn % 2:
            seen += [await receiver.next() for _ in range(5)]
        else:
            seen += await asyncio.to_thread(lambda: [next(receiver) for _ in range(5)])

    assert seen == list(range(300))


async def test_a_receiver_that_is_waited_for_on_one_loop_is_refused_on_another() -> None:
    receiver = numbers()
    async with waiting(receiver) as message:
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(next, receiver)

        await send(1)
        assert await message == 1


async def test_a_receiver_is_its_own_iterator_in_both_kinds_of_code() -> None:
    receiver = numbers()

    assert aiter(receiver) is receiver
    assert iter(receiver) is receiver


# --- its end -----------------------------------------------------------------------------------------------


async def test_a_closed_receiver_yields_nothing_more() -> None:
    await send(1, 2)
    async with numbers() as receiver:
        assert await receiver.next() == 1

    assert await there(receiver) == []
    with pytest.raises(RuntimeError, match="closed"):
        await receiver.next()
    receiver.close()


def test_a_closed_receiver_yields_nothing_more_in_synchronous_code() -> None:
    sync.send_input(1, RUN)
    with sync.receive_input(int, flow_run_id=RUN) as receiver:
        assert receiver.next() == 1

    assert list(receiver) == []
    with pytest.raises(RuntimeError, match="closed"):
        receiver.next()


async def test_who_waits_when_a_receiver_is_closed_leaves_the_loop() -> None:
    receiver = numbers()
    task = asyncio.ensure_future(there(receiver))
    await eventually_async(lambda: waiters(receiver))

    receiver.close()

    assert await task == []


async def test_who_waits_for_one_message_when_a_receiver_is_closed_is_told() -> None:
    receiver = numbers()
    async with waiting(receiver) as message:
        receiver.close()
        with pytest.raises(RuntimeError, match="closed"):
            await message


def test_a_thread_that_waits_when_a_receiver_is_closed_leaves_the_loop() -> None:
    receiver = sync.receive_input(int, flow_run_id=RUN, timeout=30)
    with ThreadPoolExecutor(1) as thread:
        numbers_of_it = thread.submit(list, receiver)
        eventually(lambda: waiters(receiver))
        receiver.close()

        assert numbers_of_it.result(20) == []


async def test_an_error_in_its_block_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        async with numbers():
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), sync.receive_input(int, flow_run_id=RUN):
        raise ZeroDivisionError


# --- which types -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, value",
    [
        (Optional[str], "x"),  # noqa: UP045 - both spellings
        (Optional[str], None),  # noqa: UP045
        (str | int, 3),
        (User | int, 3),
        (Literal["a", "b"], "b"),
        (Annotated[str, Field(min_length=1)], "x"),
        (Annotated[int | str, "a comment"], "x"),
        (list, [1]),
        (list[int], [1]),
        (dict[str, list[int]], {"a": [1]}),
        (datetime, datetime(2026, 1, 1)),  # noqa: DTZ001 - a naive one stays naive
        (UUID, UUID(int=3)),
    ],
    ids=str,
)
async def test_a_type_receives_what_is_sent_of_its_members(kind: Any, value: Any) -> None:
    await send(value)

    assert await there(now(kind)) == [value]


async def test_models_of_a_union_are_the_models_that_were_sent() -> None:
    await send(User(name="andrew"), Order(size=3), None)

    user, order, nothing = sorted(
        await there(now(User | Order | None)), key=lambda each: type(each).__name__ == "NoneType"
    )

    assert {type(user), type(order)} == {User, Order}
    assert nothing is None


async def test_across_the_channels_of_a_union_the_oldest_comes_first() -> None:
    sent = []
    for number in range(30):
        value = str(number) if number % 2 else number
        await send(value)
        sent.append(value)
        await anyio.sleep(0.002)  # so that no two are of one millisecond, to which the order holds

    assert await there(now(int | str)) == sent


async def test_a_union_can_go_on_behind_a_key_and_without_others() -> None:
    keys = await send(1, "two", 3, "four")

    assert sorted(map(str, await there(now(int | str, exclude_keys=keys[:2])))) == ["3", "four"]
    behind = await there(now(int | str, after=keys[1]))
    assert {"3", "four"} <= set(map(str, behind))
    assert "two" not in behind


@pytest.mark.parametrize("kind", [Any, T, "str", Iterable[int], object], ids=str)
async def test_a_type_that_tells_no_channel_wants_a_key_prefix(kind: Any) -> None:
    with pytest.raises(TypeError, match="give key_prefix"):
        receive_input(kind, flow_run_id=RUN)


async def test_with_a_key_prefix_any_type_will_do() -> None:
    await send(1, "two", [3], key_prefix="all")

    assert await there(now(Any, key_prefix="all")) == [1, "two", [3]]


async def test_a_channel_of_a_users_name_takes_plain_values_and_models() -> None:
    await send(User(name="andrew"), Order(size=3), "text", key_prefix="all")

    assert await there(now(User | Order | str, key_prefix="all")) == [User(name="andrew"), Order(size=3), "text"]
    assert await there(now(dict | str, key_prefix="all")) == [{"name": "andrew"}, {"size": 3}, "text"]


async def test_values_come_bare_models_as_they_are_and_with_metadata_all_can_be_answered() -> None:
    await send("text", User(name="andrew"), Order(size=3))

    assert await now(str).next() == "text"
    named = await now(str, with_metadata=True).next()
    assert isinstance(named, AutomaticRunInput)
    assert (named.value, named.metadata.receiver) == ("text", RUN)
    for kind in (User, Order):
        for with_metadata in (False, True):
            model = await now(kind, with_metadata=with_metadata).next()
            assert isinstance(model, kind)
            assert model.metadata.receiver == RUN


# --- an explicit client ----------------------------------------------------------------------------------


async def test_an_explicit_client_has_a_namespace_of_its_own() -> None:
    mine = Channels(namespace="mine")
    await mine.send_input("mine", RUN)
    await send("ours")

    assert await there(now(str)) == ["ours"]
    assert await mine.receive_input(str, flow_run_id=RUN).next() == "mine"


async def test_an_answer_goes_through_the_client_that_received() -> None:
    mine = Channels(namespace="mine")
    async with mine.open_run("asker"):
        await send_input("question", "oracle")

    question = await mine.receive_input(str, flow_run_id="oracle", with_metadata=True).next()
    await question.respond("42")

    assert await mine.receive_input(str, flow_run_id="asker").next() == "42"
    assert await there(now(str, flow_run_id="asker")) == []


def test_an_explicit_client_blocks_in_synchronous_code() -> None:
    mine = Channels(namespace="mine")

    @flow
    def talks_to_itself() -> str:
        mine.send_input("x", get_run_context().flow_run.id)
        return next(mine.receive_input(str, timeout=30))

    assert talks_to_itself() == "x"
    assert threading.current_thread() is threading.main_thread()
