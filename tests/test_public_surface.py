"""What may be imported from where: the names that users build on, and nothing by accident."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
import types

import pytest

import flowchan

NAMES = {
    "flowchan": {
        *("Channels", "RunInput", "flow", "get_client", "get_run_logger", "open_run", "receive_input", "send_input"),
        *("pause_flow_run", "resume_flow_run", "serve", "suspend_flow_run", "tags", "__version__"),
    },
    "flowchan.input": {
        *("AutomaticRunInput", "FlowRunInput", "InputReceiver", "Keyset", "RunInput", "RunInputMetadata"),
        *("keyset_from_base_key", "keyset_from_paused_state", "run_input_subclass_from_type"),
        *("receive_input", "send_input", "DeadLetter", "read_dead_letters"),
    },
    "flowchan.input.run_input": {
        *("AutomaticRunInput", "FlowRunInput", "InputReceiver", "Keyset", "RunInput", "RunInputMetadata"),
        *("keyset_from_base_key", "keyset_from_paused_state", "run_input_subclass_from_type"),
        *("receive_input", "send_input", "DeadLetter", "read_dead_letters"),
    },
    "flowchan.blocks.system": {"JSON"},
    "flowchan.client": {"FlowchanClient", "get_client"},
    "flowchan.context": {"FlowRun", "FlowRunContext", "get_run_context", "open_run", "tags"},
    "flowchan.flow_runs": {
        *("cancel_flow_run", "pause_flow_run", "resume_flow_run", "suspend_flow_run", "wait_for_flow_run"),
    },
    "flowchan.sync": {
        *("AutomaticRunInput", "FlowchanClient", "InputReceiver", "RunInput", "receive_input", "send_input"),
        *("cancel_flow_run", "pause_flow_run", "resume_flow_run", "suspend_flow_run", "wait_for_flow_run"),
        *("JSON", "flow", "get_client", "get_run_logger", "open_run", "run_deployment"),
        *("DeadLetter", "read_dead_letters"),
    },
}

ALSO = {
    "flowchan.deployments": {"run_deployment", "serve"},
    "flowchan.logging": {"get_run_logger"},
    "flowchan.states": {
        *("State", "Scheduled", "Pending", "Running", "Paused", "Suspended"),
        *("Cancelling", "Cancelled", "Completed", "Failed", "Crashed"),
    },
    "flowchan.errors": {
        *("FlowchanError", "MissingRunError", "RespondError", "DecodeError", "BrokerUnavailable", "InvalidRunInput"),
        *("NotPausedError", "ObjectNotFound", "FlowPauseTimeout", "IllegalTransition", "MessageTooLarge"),
        *("MessagesLost", "SendOutcomeUnknown"),
    },
}


@pytest.mark.parametrize("module", NAMES)
def test_a_modules_names_are_these_and_no_others(module: str) -> None:
    assert set(importlib.import_module(module).__all__) == NAMES[module]


@pytest.mark.parametrize("module, name", [(m, n) for m, names in {**NAMES, **ALSO}.items() for n in sorted(names)])
def test_a_name_is_where_it_is_said_to_be(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_a_name_is_the_same_object_wherever_it_is_imported_from() -> None:
    for name in NAMES["flowchan.input"]:
        assert getattr(importlib.import_module("flowchan.input"), name) is getattr(
            importlib.import_module("flowchan.input.run_input"), name
        )
    assert flowchan.RunInput is importlib.import_module("flowchan.input").RunInput
    assert flowchan.open_run is importlib.import_module("flowchan.context").open_run
    assert flowchan.get_run_logger is importlib.import_module("flowchan.logging").get_run_logger


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", flowchan.__version__)


def documented() -> list[tuple[str, object]]:
    """Every public function and class of the modules that users import from, and the classes' public members."""
    found: dict[str, object] = {}
    for module_name in {**NAMES, **ALSO}:
        module = importlib.import_module(module_name)
        found[module_name] = module
        for name in getattr(module, "__all__", None) or dir(module):
            value = getattr(module, name)
            if name.startswith("_") or getattr(value, "__module__", "").partition(".")[0] != "flowchan":
                continue
            found[f"{module_name}.{name}"] = value
            if isinstance(value, type):
                found |= {
                    f"{module_name}.{name}.{member}": getattr(value, member)
                    for member, defined in vars(value).items()
                    if not member.startswith("_")
                    and isinstance(defined, types.FunctionType | classmethod | staticmethod | property)
                }
    return sorted(found.items())


@pytest.mark.parametrize("name, value", documented(), ids=lambda each: each if isinstance(each, str) else "")
def test_what_is_public_says_what_it_does(name: str, value: object) -> None:
    assert inspect.getdoc(value), name


def test_importing_the_package_starts_nothing_and_reads_no_setting() -> None:
    program = """
import asyncio, os, threading
os.environ["FLOWCHAN_MAX_PENDING"] = "none of your business"
import flowchan
print(threading.active_count())
try:
    flowchan.send_input("x", "run")
except ValueError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    threads, error = ended.stdout.splitlines()
    assert threads == "1"
    assert "FLOWCHAN_MAX_PENDING" in error
