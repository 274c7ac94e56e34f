"""The documents' own samples, word for word: only ``prefect`` on their import lines becomes ``flowchan``.

Those that pause, suspend or deploy come with what they need.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis
from pydantic import ValidationError

from flowchan import flow, receive_input, send_input
from flowchan.context import get_run_context
from flowchan.wire import keys
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

# --- the reference of the module run_input ---------------------------------------------------------------------

SENDER_FLOW = """
import random
from uuid import UUID
from prefect import flow, get_run_logger
from prefect.input import RunInput

class NumberData(RunInput):
    number: int

@flow
async def sender_flow(receiver_flow_run_id: UUID):
    logger = get_run_logger()

    the_number = random.randint(1, 100)

    await NumberData(number=the_number).send_to(receiver_flow_run_id)

    receiver = NumberData.receive(flow_run_id=receiver_flow_run_id)
    squared = await receiver.next()

    logger.info(f"{the_number} squared is {squared.number}")
"""

RECEIVER_FLOW = """
import random
from uuid import UUID
from prefect import flow, get_run_logger
from prefect.input import RunInput

class NumberData(RunInput):
    number: int

@flow
async def receiver_flow():
    async for data in NumberData.receive():
        squared = data.number ** 2
        data.respond(NumberData(number=squared))
"""

# --- the guide ------------------------------------------------------------------------------------------------

PRINTING_GREETER = """
from prefect import flow
from prefect.input.run_input import receive_input

@flow
async def greeter_flow():
    async for name_input in receive_input(str, timeout=None):
        # Prints "Hello, andrew!" if another flow sent "andrew"
        print(f"Hello, {name_input}!")
"""

GREETER_WITH_METADATA = """
from prefect import flow
from prefect.input.run_input import receive_input

@flow
async def greeter_flow():
    async for name_input in receive_input(
        str,
        timeout=None,
        with_metadata=True
    ):
        # Input will always be in the field "value" on this object.
        print(f"Hello, {name_input.value}!")
"""

# Its second import is missing in the guide.
GREETER_WITH_A_CLASS = """
from prefect import flow
from prefect.input.run_input import RunInput
from prefect.input.run_input import receive_input

class GreeterInput(RunInput):
    value: str

@flow
async def greeter_flow():
    async for name_input in receive_input(GreeterInput, timeout=None):
        print(f"Hello, {name_input.value}!")
"""

RESPONDING_GREETER = """
from prefect import flow
from prefect.input.run_input import receive_input

@flow
async def greeter():
    async for name_input in receive_input(
        str,
        with_metadata=True,
        timeout=None
    ):
        await name_input.respond(f"Hello, {name_input.value}!")
"""

GREETER_WITH_AN_END = """
from prefect import flow
from prefect.input.run_input import receive_input

EXIT_SIGNAL = "__EXIT__"

@flow
async def greeter():
    async for name_input in receive_input(
        str,
        with_metadata=True,
        poll_interval=0.1,
        timeout=None
    ):
        if name_input.value == EXIT_SIGNAL:
            print("Goodbye!")
            return
        await name_input.respond(f"Hello, {name_input.value}!")
"""

SHIRT_ORDER = """
from typing import Literal
import pydantic
from prefect.input import RunInput

class ShirtOrder(RunInput):
    size: Literal["small", "medium", "large", "xlarge"]
    color: Literal["red", "green", "black"]

    @pydantic.model_validator(mode="after")
    def validate_age(self):
        if self.color == "green" and self.size == "small":
            raise ValueError(
                "Green is only in-stock for medium, large, and XL sizes."
            )
        return self
"""

INITIAL_DATA = '''
from datetime import datetime
from prefect import flow
from prefect.logging import get_run_logger
from prefect.input import RunInput

class UserInput(RunInput):
    name: str
    age: int

current_date = datetime.now().strftime("%B %d, %Y")
description_md = f"""
**Welcome to the User Greeting Flow!**
Today's Date: {current_date}
Please enter your details below:
- **Name**: What should we call you?
- **Age**: Just a number, nothing more.
"""
WithData = UserInput.with_initial_data(
    description=description_md, name="anonymous"
)
'''

Run = Callable[[Awaitable[Any], str], Any]


def names_of(sample: str) -> dict[str, Any]:
    """What a sample defines, run as a module of its own."""
    own = re.sub(r"^(from|import) prefect\b", r"\1 flowchan", sample, flags=re.MULTILINE)
    names: dict[str, Any] = {"__name__": "sample"}
    exec(compile(own, "sample", "exec", dont_inherit=True), names)
    return names


@pytest.fixture
def running(client: redis.Redis, namespace: str) -> Run:
    """Runs a flow until the block ends; gives the ID of its run, which receives on a channel by then."""

    def channel_of_a_run(channel: str) -> str | None:
        return next((keys.address(key.decode()).run for key in client.scan_iter(f"{namespace}:*:{channel}")), None)

    @contextlib.asynccontextmanager
    async def running(flow_run: Awaitable[Any], channel: str) -> AsyncIterator[tuple[str, asyncio.Task[Any]]]:
        task = asyncio.ensure_future(flow_run)
        yield await eventually_async(lambda: channel_of_a_run(channel), "the run"), task
        task.cancel()
        await asyncio.wait([task])

    return running


@flow
async def sends(run: str, *names: str) -> list[str]:
    """Send names and hear an answer to each."""
    greetings = receive_input(str, timeout=30)
    heard = []
    for name in names:
        await send_input(name, run)
        heard.append(await greetings.next())
    return heard


async def test_a_number_is_squared_by_another_run(running: Run, caplog: pytest.LogCaptureFixture) -> None:
    receiver_flow = names_of(RECEIVER_FLOW)["receiver_flow"]
    # A run reads its own inputs: what it is answered is among them.
    sender_flow = names_of(SENDER_FLOW.replace("receive(flow_run_id=receiver_flow_run_id)", "receive()"))["sender_flow"]

    with caplog.at_level(logging.INFO):
        async with running(receiver_flow(), "numberdata-auto") as (run, _):
            await sender_flow(run)

    (line,) = [record.getMessage() for record in caplog.records if record.name == "flowchan.flow_runs"]
    number, squared = map(int, re.findall(r"\d+", line))
    assert line == f"{number} squared is {squared}"
    assert squared == number**2


async def test_as_printed_the_sender_reads_its_own_question_back(
    running: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with running(names_of(RECEIVER_FLOW)["receiver_flow"](), "numberdata-auto") as (run, _):
            await names_of(SENDER_FLOW)["sender_flow"](run)

    (line,) = [record.getMessage() for record in caplog.records if record.name == "flowchan.flow_runs"]
    number, squared = re.findall(r"\d+", line)
    assert squared == number


@pytest.mark.parametrize("sample", [PRINTING_GREETER, GREETER_WITH_METADATA], ids=["values", "with metadata"])
async def test_a_greeter_prints_each_name_that_it_is_sent(
    sample: str, running: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ""
    async with running(names_of(sample)["greeter_flow"](), "strautomaticruninput-auto") as (run, _):
        await send_input("andrew", run)
        await send_input("marvin", run)
        while said.count("\n") < 2:
            await asyncio.sleep(0.005)
            said += capsys.readouterr().out

    assert said == "Hello, andrew!\nHello, marvin!\n"


async def test_a_class_is_received_from_who_sends_that_class_and_not_from_who_sends_a_text(
    running: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = names_of(GREETER_WITH_A_CLASS)
    said = ""
    async with running(sample["greeter_flow"](), "greeterinput-auto") as (run, _):
        await send_input("a text", run)
        await send_input(names_of(GREETER_WITH_A_CLASS)["GreeterInput"](value="andrew"), run)
        while not said:
            await asyncio.sleep(0.005)
            said += capsys.readouterr().out

        # As the guide says: when the run asks for a text, the input is waiting.
        assert await receive_input(str, flow_run_id=run, timeout=0).next() == "a text"

    assert said == "Hello, andrew!\n"


async def test_a_greeter_responds_to_whoever_sent_the_name(running: Run) -> None:
    async with running(names_of(RESPONDING_GREETER)["greeter"](), "strautomaticruninput-auto") as (run, _):
        heard = await asyncio.gather(*(sends(run, f"{number}a", f"{number}b") for number in range(10)))

    assert heard == [[f"Hello, {number}a!", f"Hello, {number}b!"] for number in range(10)]


async def test_a_greeter_ends_when_it_is_told_to(running: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sample = names_of(GREETER_WITH_AN_END)
    async with running(sample["greeter"](), "strautomaticruninput-auto") as (run, greeter):
        assert await sends(run, "andrew") == ["Hello, andrew!"]
        await send_input(sample["EXIT_SIGNAL"], run)
        assert await asyncio.wait_for(greeter, 30) is None

    assert capsys.readouterr().out == "Goodbye!\n"


async def test_an_orders_own_validation_runs_when_it_is_received() -> None:
    order_class = names_of(SHIRT_ORDER)["ShirtOrder"]

    @flow
    async def takes_an_order() -> Any:
        run = get_run_context().flow_run.id
        await send_input(order_class.model_construct(size="small", color="green"), run)
        await send_input(order_class(size="large", color="green"), run)
        orders = order_class.receive(timeout=30)
        with pytest.raises(ValidationError, match="Green is only in-stock for medium, large, and XL sizes"):
            await orders.next()
        return await orders.next()

    order = await takes_an_order()
    assert (order.size, order.color) == ("large", "green")


async def test_a_form_has_initial_data_and_a_description(client: redis.Redis, namespace: str) -> None:
    names = names_of(INITIAL_DATA)
    form = names["WithData"]

    assert (form.__name__, form(age=42).name) == ("UserInput", "anonymous")
    await form.save(form.keyset_from_type(), flow_run_id="run")
    description: Any = client.hget(keys.inputs(namespace, "run"), "userinput-description")
    assert description.decode() == names["description_md"]
