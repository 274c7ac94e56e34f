"""The samples of ``examples/guide``: what their text takes as given, and how they are run."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, NamedTuple

GUIDE = Path(__file__).parents[2] / "examples" / "guide"


class Sample(NamedTuple):
    """One sample: a quotation, which is not always a whole program."""

    after: str | None = None
    """The sample of the same document on which it builds: it is run in one namespace, before it."""
    given: str = ""
    """The import lines that the document does not print here."""


SAMPLES = {
    "000_1_sender_flow": Sample(),
    "000_2_receiver_flow": Sample(),
    "001_01_pause_for_a_builtin_type": Sample(),
    "001_02_pause_for_a_base_model": Sample(),
    "001_03_pause_for_a_run_input": Sample(given="from flowchan.flow_runs import pause_flow_run"),
    "001_04_provide_initial_data": Sample(given="from flowchan.flow_runs import pause_flow_run"),
    "001_05_provide_a_description": Sample(),
    "001_06_validate_an_order": Sample(),
    "001_07_fail_on_an_invalid_order": Sample(),
    "001_08_ask_again_for_an_invalid_order": Sample(),
    "001_09_receive_a_builtin_type": Sample(),
    "001_10_receive_with_metadata": Sample(),
    "001_11_receive_a_run_input": Sample(given="from flowchan.input.run_input import receive_input"),
    "001_12_keep_the_position_in_a_loop": Sample(),
    "001_13_suspend_and_remember_what_was_seen": Sample(),
    "001_14_respond_to_the_sender": Sample(),
    "001_15_look_for_an_exit_signal": Sample(),
    "001_16_send_what_is_typed": Sample(
        after="001_15_look_for_an_exit_signal",
        given="from flowchan import get_client\nfrom flowchan.input.run_input import send_input",
    ),
    "001_17_complete_example": Sample(),
    "003_1_define_an_input": Sample(),
    "003_2_pause_for_it": Sample(after="003_1_define_an_input", given="from flowchan import get_run_logger"),
    "003_3_provide_initial_data": Sample(after="003_1_define_an_input", given="from flowchan import get_run_logger"),
    "003_4_validate_an_order": Sample(given="from typing import Literal"),
    "003_5_fail_on_an_invalid_order": Sample(given="from typing import Literal"),
    "003_6_ask_again_for_an_invalid_order": Sample(),
}


def path_of(name: str) -> Path:
    """The file of a sample."""
    return GUIDE / f"{name}.py"


def text_of(name: str) -> str:
    """A sample as a program: what is given, the sample on which it builds, itself."""
    sample = SAMPLES[name]
    before = text_of(sample.after) if sample.after else ""
    return f"{sample.given}\n{before}\n{path_of(name).read_text()}"


def names_of(name: str) -> dict[str, Any]:
    """What a sample defines, run as a module of its own."""
    names: dict[str, Any] = {"__name__": name}
    exec(compile(text_of(name), path_of(name), "exec", dont_inherit=True), names)
    return names


def calling(name: str, function: str, *arguments: str) -> str:
    """A sample as a program that calls one of its flows, and waits for its end."""
    text = text_of(name)
    call = f"{function}({', '.join(arguments)})"
    if f"async def {function}(" in text:
        call = f"import asyncio\nasyncio.run({call})"
    return f"{text}\n\nif __name__ == '__main__':\n{textwrap.indent(call, '    ')}\n"


def serving(name: str, function: str) -> str:
    """A sample as a program that serves one of its flows under the name that the samples ask for."""
    return f"{text_of(name)}\n\nif __name__ == '__main__':\n    {function}.serve(name='send-receive')\n"
