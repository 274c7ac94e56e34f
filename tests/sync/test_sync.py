"""Synchronous code: plain scripts and threads, which share one loop that they never see."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowchan import Channels, bridge, flow, open_run, receive_input, send_input, sync
from flowchan.context import get_run_context
from flowchan.errors import BrokerUnavailable
from flowchan.input import RunInputMetadata
from tests.support import programs
from tests.support.server import Server
from tests.support.waiting import eventually, waiters

RUN = "run"


def test_a_call_returns_its_result() -> None:
    sent = sync.send_input("andrew", RUN)

    assert isinstance(sent, RunInputMetadata)
    assert sync.receive_input(str, flow_run_id=RUN).next() == "andrew"
    assert sync.receive_input(str, flow_run_id=RUN, with_metadata=True).next().metadata == sent


def test_the_modules_own_functions_do_the_same_without_a_loop() -> None:
    sent: Any = send_input("andrew", RUN)
    receiver: Any = receive_input(str, flow_run_id=RUN)

    assert isinstance(sent, RunInputMetadata)
    assert receiver.next() == "andrew"


@pytest.mark.anyio
async def test_it_blocks_even_where_a_loop_runs() -> None:
    assert isinstance(sync.send_input("andrew", RUN), RunInputMetadata)
    assert sync.receive_input(str, flow_run_id=RUN, timeout=30).next() == "andrew"


@pytest.mark.anyio
async def test_a_receiver_of_synchronous_code_blocks_after_it_was_handed_to_async_code() -> None:
    receiver = sync.receive_input(str, flow_run_id=RUN, timeout=30)
    await send_input("andrew", RUN)

    assert receiver.next() == "andrew"


def test_the_flow_and_the_run_are_the_same_things() -> None:
    assert sync.flow is flow
    assert sync.open_run is open_run

    @sync.flow
    def talks_to_itself() -> str:
        sync.send_input("andrew", get_run_context().flow_run.id)
        return sync.receive_input(str).next()

    assert talks_to_itself() == "andrew"


def test_threads_send_and_receive_at_once() -> None:
    def converse(number: int) -> list[int]:
        mine, other = f"{number}", f"{number ^ 1}"
        receiver = sync.receive_input(int, flow_run_id=mine, timeout=30)
        heard = []
        for turn in range(30):
            sync.send_input(number * 100 + turn, other)
            heard.append(receiver.next())
        return heard

    with ThreadPoolExecutor(16) as threads:
        heard = list(threads.map(converse, range(16)))

    assert heard == [[(number ^ 1) * 100 + turn for turn in range(30)] for number in range(16)]


@pytest.mark.parametrize("keys", [None, "a:c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtdG8tc2lnbg=="])
def test_threads_that_share_a_receiver_share_its_messages(keys: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if keys is not None:
        monkeypatch.setenv("FLOWCHAN_SIGNING_KEYS", keys)
    for number in range(600):
        sync.send_input(number, RUN)
    receiver = sync.receive_input(int, flow_run_id=RUN, timeout=0, raise_timeout_error=False)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as threads:
            heard = list(threads.map(lambda _: list(receiver), range(6)))
    finally:
        sys.setswitchinterval(before)

    assert sorted(number for each in heard for number in each) == list(range(600))


def test_the_sends_of_a_thread_keep_their_order_among_those_of_others() -> None:
    def send(thread: int) -> None:
        for number in range(50):
            sync.send_input((thread, number), RUN)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, range(8)))

    pairs = list(sync.receive_input(tuple[int, int], flow_run_id=RUN, timeout=0, raise_timeout_error=False))
    assert len(pairs) == 400
    assert all([n for t, n in pairs if t == thread] == list(range(50)) for thread in range(8))


def test_ctrl_c_ends_a_wait_and_loses_nothing() -> None:
    receiver = sync.receive_input(str, flow_run_id=RUN, timeout=30)

    def interrupt() -> None:
        eventually(lambda: waiters(receiver))
        os.kill(os.getpid(), signal.SIGINT)

    for number in range(5):
        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.raises(KeyboardInterrupt):
            receiver.next()
        other.join()

        sync.send_input(str(number), RUN)
        assert receiver.next() == str(number)


def test_a_failure_is_raised_where_the_call_is(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCHAN_CONNECT_TIMEOUT", "0.2")
    server.kill()

    with pytest.raises(BrokerUnavailable, match="unix://"):
        sync.send_input("andrew", RUN)
    server.start()
    sync.send_input("marvin", RUN)
    assert sync.receive_input(str, flow_run_id=RUN, timeout=0).next() == "marvin"


def test_a_call_on_the_loops_own_thread_is_refused_rather_than_waits_for_itself() -> None:
    async def calls(_: object) -> Any:
        return sync.send_input("andrew", RUN)

    with pytest.raises(RuntimeError, match="wait for itself"):
        bridge.call(calls)


def test_namespaces_share_the_thread_and_nothing_else() -> None:
    mine, yours = Channels(namespace="mine"), Channels(namespace="yours")
    with mine.open_run(RUN):
        sync.send_input("mine", RUN)
    with yours.open_run(RUN):
        sync.send_input("yours", RUN)

        assert sync.receive_input(str, timeout=30).next() == "yours"
    assert [thread.name for thread in threading.enumerate()].count("flowchan-bridge") == 1


def test_a_plain_script_may_end_wherever_it_is() -> None:
    said = programs.run("""
        import threading
        from flowchan import receive_input, send_input, sync

        send_input("andrew", "run")
        receiver = receive_input(str, flow_run_id="run")
        print(next(receiver))
        with sync.receive_input(str, flow_run_id="run") as names:
            print(names.next())
        threading.Thread(target=receiver.next, daemon=True).start()
    """)

    assert said.splitlines() == ["andrew", "andrew"]


def test_sync_and_async_code_of_one_process_talk() -> None:
    async def answers() -> None:
        question = await receive_input(str, flow_run_id="oracle", with_metadata=True, timeout=30).next()
        await question.respond(f"{question.value}: 42")

    oracle = threading.Thread(target=asyncio.run, args=[answers()])
    oracle.start()
    with open_run("asker"):
        sync.send_input("question", "oracle")
        assert sync.receive_input(str, timeout=30).next() == "question: 42"
    oracle.join()
