"""What can be sent, and what arrives: the value that it was, as the type that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, ValidationError, create_model

from flowchan import RunInput, open_run, receive_input, send_input
from flowchan.errors import EncodeError

pytestmark = pytest.mark.anyio


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int


class User(BaseModel):
    name: str
    age: int


class NumberData(RunInput):
    number: int


class Ticket(RunInput):
    size: Literal["small", "large"]


@pytest.mark.parametrize(
    "value",
    [
        "andrew",
        3,
        2.5,
        True,
        b"\x00\xff",
        None,
        [1, 2],
        {"a": 1},
        (1, "a"),
        {1, 2},
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        Decimal("1.10"),
        UUID(int=7),
        Color.RED,
        Point(1, 2),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_value_arrives_as_what_it_was(value: Any) -> None:
    await send_input(value, "run")

    received = await receive_input(type(value), flow_run_id="run").next()

    assert received == value
    assert type(received) is type(value)


async def test_a_tuple_in_a_list_stays_a_tuple() -> None:
    await send_input([("andrew", 1.5)], "run")

    assert await receive_input(list[tuple[str, float]], flow_run_id="run").next() == [("andrew", 1.5)]


async def test_a_model_arrives_as_a_model_that_can_be_answered() -> None:
    async with open_run():
        await send_input(User(name="andrew", age=42), "run")

    user = await receive_input(User, flow_run_id="run").next()

    assert isinstance(user, User)
    assert isinstance(user, RunInput)
    assert (user.name, user.age) == ("andrew", 42)


async def test_a_run_input_class_sends_and_receives_itself() -> None:
    await NumberData(number=3).send_to("run")

    data = await NumberData.receive(flow_run_id="run").next()

    assert type(data) is NumberData
    assert data.number == 3


async def test_each_type_has_a_channel_of_its_own() -> None:
    await send_input("three", "run")
    await send_input(3, "run")

    assert await receive_input(int, flow_run_id="run").next() == 3
    assert await receive_input(str, flow_run_id="run").next() == "three"


async def test_a_union_receives_what_is_sent_of_each_member_oldest_first() -> None:
    await send_input("one", "run")
    await send_input(2, "run")
    await send_input(None, "run")

    receiver = receive_input(str | int | None, flow_run_id="run")
    received = [await receiver.next() for _ in range(3)]

    assert sorted(received, key=str) == [2, None, "one"]


async def test_a_message_that_does_not_fit_is_an_error_once_and_no_obstacle() -> None:
    await create_model("Ticket", __base__=RunInput, size=(str, ...))(size="huge").send_to(
        "run"
    )  # the sender's own class
    await Ticket(size="small").send_to("run")

    tickets = Ticket.receive(flow_run_id="run")
    with pytest.raises(ValidationError):
        await tickets.next()
    assert (await tickets.next()).size == "small"


async def test_what_cannot_be_sent_is_refused_with_its_place() -> None:
    with pytest.raises(EncodeError, match=r"value\[1\].*'object'"):
        await send_input([1, object()], "run")


async def test_a_run_may_have_any_name_that_another_system_gave_it() -> None:
    order = uuid4()
    await send_input("paid", str(order))
    await send_input("shipped", "workflow_7.step-3")

    assert await receive_input(str, flow_run_id=order).next() == "paid"
    assert await receive_input(str, flow_run_id="workflow_7.step-3").next() == "shipped"
