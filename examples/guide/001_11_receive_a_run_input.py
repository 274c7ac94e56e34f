from flowchan import flow
from flowchan.input.run_input import RunInput


class GreeterInput(RunInput):
    value: str


@flow
async def greeter_flow():
    async for name_input in receive_input(GreeterInput, timeout=None):
        print(f"Hello, {name_input.value}!")
