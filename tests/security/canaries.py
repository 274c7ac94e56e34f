"""A program that does, with the log wide open, all that might tell a payload, a password or a secret: see the test."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import redis
from pydantic import BaseModel

import flowchan
from flowchan import Channels, RunInput, flow, open_run, pause_flow_run, receive_input, resume_flow_run, send_input
from flowchan.broker.broker import broker_of_this_loop
from flowchan.context import get_run_context
from flowchan.errors import FlowchanError
from flowchan.settings import current_settings
from flowchan.wire import keys
from tests.support.runs import seen, started

PAYLOAD = "CANARY-payload"
LOUD = logging.Formatter("%(levelname)s %(name)s %(message)s %(args)s")


class Order(RunInput):
    size: int
    note: str = ""


class Plain(BaseModel):
    size: int


class Odd:
    def __repr__(self) -> str:
        return PAYLOAD


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")


def show(*what: object) -> None:
    for each in what:
        say(type(each).__name__, repr(each), str(each))


async def fails(what: Callable[[], Awaitable[Any]], kind: type[BaseException] = FlowchanError) -> None:
    """Do what must fail; show the error as a traceback shows it, to its last cause."""
    try:
        got = await what()
    except kind as error:
        show(error)
        traceback.print_exception(error)
        traceback.print_exc()
    else:
        raise AssertionError(f"it went well: {type(got).__name__}")


async def sends_and_receives() -> None:
    async with open_run("canary"):
        sending = send_input(PAYLOAD, "canary")
        show(sending, await sending)
        await send_input(Order(size=1, note=PAYLOAD), "canary", idempotency_key="k")
        receiver = receive_input(str, with_metadata=True, timeout=5)
        message = await receiver.next()
        show(receiver, message.metadata, get_run_context().flow_run)
        show(current_settings(), Channels(), broker_of_this_loop(current_settings()))


async def what_does_not_fit(raw: redis.Redis) -> None:
    for kind, channel in ((int, "a"), (Order, "b"), (Plain, "c"), (list[int], "d"), (int | None, "e")):
        value: Any = {"size": PAYLOAD, "note": PAYLOAD} if channel in "bc" else [PAYLOAD] if channel == "d" else PAYLOAD
        await send_input(value, "misfit", key_prefix=channel)
        await fails(receive_input(kind, key_prefix=channel, flow_run_id="misfit", timeout=5).next, ValueError)  # type: ignore[arg-type]
    stream = keys.stream(current_settings().namespace, "misfit", "f")
    good = {"v": 1, "id": "0123456789abcdef-1", "seq": 1, "schema": "0" * 8, "body": msgpack.packb({"value": PAYLOAD})}
    bad = [
        {PAYLOAD: PAYLOAD},
        {**good, "v": PAYLOAD},
        {**good, "id": PAYLOAD},
        {**good, "seq": PAYLOAD},
        {**good, "from": PAYLOAD.encode() + b"\xff"},
        {**good, "h.x": PAYLOAD.encode() + b"\xff"},
        {**good, "body": PAYLOAD},
        {**good, "body": msgpack.packb(PAYLOAD)[:-1]},
        {**good, "body": msgpack.packb({"value": PAYLOAD}) + b"\xff"},
        {**good, "body": b"\x81\xa5value\xae" + PAYLOAD.encode()[:-1] + b"\xff"},
        {**good, "body": msgpack.packb({"value": msgpack.ExtType(9, PAYLOAD.encode())})},
        {**good, "body": msgpack.packb({"value": msgpack.ExtType(6, PAYLOAD.encode())})},
        {**good, "body": msgpack.packb({"value": PAYLOAD * 100_000})},
        {**good, "sig": f"{PAYLOAD}!:{PAYLOAD}"},
        {**good, "sig": f"k1:{PAYLOAD}"},
        good,
    ]
    if current_settings().signing_keys is None:
        del bad[-3:]  # which are as good as any, then
    for number, fields in enumerate(bad):
        is_known = fields.get("id") == good["id"] and fields["seq"] == 1
        own = {"id": f"0123456789abcdef-{number + 1:x}", "seq": number + 1} if is_known else {}
        raw.xadd(stream, {**fields, **own})  # type: ignore[arg-type]
    raw.expire(stream, 60)
    for group in (None, "g"):
        receiver = receive_input(str, key_prefix="f", flow_run_id="misfit", timeout=5, group=group)
        for _ in bad:
            await fails(receiver.next)
        receiver.close()


async def what_cannot_be_sent() -> None:
    deep: list[Any] = [PAYLOAD]
    for _ in range(100):
        deep = [deep]
    unfit = (
        Odd(),
        {"x": Odd()},
        {PAYLOAD: Odd()},
        PAYLOAD + "\ud800",
        PAYLOAD * 100_000,
        deep,
        {1: PAYLOAD, "1": Odd()},
    )
    for value in unfit:
        await fails(lambda value=value: send_input(value, "r"))  # type: ignore[misc]
    await fails(lambda: send_input(1, f"{PAYLOAD[:3]}:", key_prefix="x"))


@flow
async def asks() -> Any:
    return await pause_flow_run(Order)


@flow
async def takes(order: Order) -> Any:
    return order.model_validate({"size": PAYLOAD})


async def runs() -> None:
    async with started(asks) as flowing:
        run = await seen("asks", "PAUSED")
        await fails(lambda: resume_flow_run(run.id, {"size": PAYLOAD}))
        await fails(lambda: resume_flow_run(run.id, {"size": 1, "more": PAYLOAD}))
        await resume_flow_run(run.id, {"size": 1, "note": PAYLOAD})
        await flowing
    await fails(lambda: takes({"size": PAYLOAD}))
    await fails(lambda: takes({"size": 1, "note": PAYLOAD}), ValueError)
    known = await flowchan.get_client().read_flow_runs()
    for each in known:
        say(repr(each), str(each.state))


async def who_cannot_be_reached(folder: Path) -> None:
    secret = "CANARY-user:CANARY-password"
    urls = [
        f"unix://{secret}@{folder}/none",
        f"redis://{secret}@127.0.0.1:1",
        f"rediss://{secret}@127.0.0.1:1?ssl_keyfile=CANARY-key",
        f"redis://{secret}@broker.example",
        f"redis://{secret}/@broker.example",
        f"http://{secret}@localhost",
        f"redis://{secret}@localhost?no_such_option={secret}",
        os.environ["CANARY_TCP"].replace("redis://", f"redis://{secret}@"),
        os.environ["CANARY_TCP"].replace("redis://", f"rediss://{secret}@"),
        os.environ["CANARY_TLS"].replace("rediss://", f"rediss://{secret}@"),
    ]
    for url in urls:
        await fails(lambda url=url: Channels(url=url, connect_timeout=1).send_input(PAYLOAD, "r"))  # type: ignore[misc]
        await fails(Channels(url=url, connect_timeout=1).receive_input(str, flow_run_id="r", timeout=20).next)
    for wrong in ("CANARY-secret", "k1:CANARY-secret", os.environ["CANARY_KEYS"] + ",k1:" + "Q0FOQVJZ" * 5):
        try:
            Channels(signing_keys=wrong)
        except FlowchanError as error:
            show(error)
            traceback.print_exc()


async def a_server_that_dies() -> None:
    async def unawaited() -> None:
        for _ in range(10):
            send_input(PAYLOAD, "r")

    receiver = receive_input(str, flow_run_id="r", timeout=2)
    await send_input(PAYLOAD, "r")
    await receiver.next()
    waiting = asyncio.ensure_future(receiver.next())
    await asyncio.sleep(0)
    os.kill(int(os.environ["CANARY_PID"]), signal.SIGKILL)
    await unawaited()
    await fails(lambda: send_input(PAYLOAD, "r"))
    await fails(lambda: waiting)
    send_input(PAYLOAD, "r")  # and the loop ends


def main() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LOUD)
    logging.basicConfig(level=logging.DEBUG, handlers=[handler])
    raw = redis.Redis.from_url(os.environ["CANARY_RAW"])

    async def all_of_it() -> None:
        await sends_and_receives()
        await what_does_not_fit(raw)
        await what_cannot_be_sent()
        await runs()
        await who_cannot_be_reached(Path(os.environ["CANARY_FOLDER"]))
        await a_server_that_dies()

    asyncio.run(all_of_it())
    raw.close()
    say("It has ended.")


main()
