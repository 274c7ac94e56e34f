"""Typed inputs: from a value to a message and back."""

from __future__ import annotations

from flowchan.input.automatic import AutomaticRunInput, run_input_subclass_from_type
from flowchan.input.dead_letters import DeadLetter, read_dead_letters
from flowchan.input.keyset import Keyset, keyset_from_base_key, keyset_from_paused_state
from flowchan.input.metadata import FlowRunInput, RunInputMetadata
from flowchan.input.model import RunInput
from flowchan.input.receiver import InputReceiver
from flowchan.input.run_input import receive_input, send_input

__all__ = [
    "AutomaticRunInput",
    "DeadLetter",
    "FlowRunInput",
    "InputReceiver",
    "Keyset",
    "RunInput",
    "RunInputMetadata",
    "keyset_from_base_key",
    "keyset_from_paused_state",
    "read_dead_letters",
    "receive_input",
    "run_input_subclass_from_type",
    "send_input",
]
