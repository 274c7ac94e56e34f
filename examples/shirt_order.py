"""A shop's order that waits for two people: who buys a shirt, and somebody else who approves.

Start it in one terminal. It stops and prints what to type in another, where a form asks for what it waits for.
Choose a small green shirt, or approve your own order, and it asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Literal, Self

import pydantic

from flowchan import RunInput, flow, pause_flow_run
from flowchan.context import get_run_context


class ShirtOrder(RunInput):
    """What the customer chooses."""

    size: Literal["small", "medium", "large", "xlarge"]
    color: Literal["red", "green", "black"]

    @pydantic.model_validator(mode="after")
    def is_in_stock(self) -> Self:
        """What the types cannot say."""
        if self.color == "green" and self.size == "small":
            raise ValueError("Green is only in-stock for medium, large, and XL sizes.")
        return self


class Approval(RunInput):
    """What somebody else decides."""

    approved: bool
    by: str


@flow
async def shirt_order(customer: str) -> bool:
    order = await choose(customer)
    approval = await approve(customer, order)
    print(f"{customer}'s {order.size} {order.color} shirt: {approval.by} said {'yes' if approval.approved else 'no'}.")
    return approval.approved


async def choose(customer: str) -> ShirtOrder:
    problem = ""
    while True:
        print_what_to_type(f"{customer} chooses a shirt")
        try:
            return await pause_flow_run(
                ShirtOrder.with_initial_data(description=f"**A shirt for {customer}**\n\n{problem}")
            )
        except pydantic.ValidationError as error:
            # The types were right, or the resume would have been refused. This is what only the flow knows.
            problem = error.errors()[0]["msg"]
            print(problem)


async def approve(customer: str, order: ShirtOrder) -> Approval:
    while True:
        print_what_to_type("somebody approves")
        approval = await pause_flow_run(
            Approval.with_initial_data(
                description=f"**May {customer} have this shirt?**\n\n- size: {order.size}\n- color: {order.color}",
                approved=True,
            )
        )
        if approval.by != customer:
            return approval
        print("Nobody approves an order of their own.")


def print_what_to_type(who: str) -> None:
    print(f"Until {who}: flowchan resume {get_run_context().flow_run.name}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(shirt_order(*sys.argv[1:2] or ["andrew"]))
