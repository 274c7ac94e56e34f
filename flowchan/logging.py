"""The log of a run: the standard library's logging, with the run's name on every line."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from flowchan.context import get_run_context

_RUNS = logging.getLogger("flowchan.flow_runs")


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records bear ``flow_run_id``, ``flow_run_name`` and ``flow_name``."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add what is known of the run to a record."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def get_run_logger() -> RunLogger:
    """The current run's logger. Its lines are seen on standard error, unless the program has set logging up.

    Raises:
        MissingRunError: the caller is in no run.
    """
    run = get_run_context().flow_run
    _show()
    known = {"flow_run_id": str(run.id), "flow_run_name": run.name, "flow_name": run.flow_name or ""}
    return RunLogger(_RUNS, known)


def _show() -> None:
    # The lines are the flow's own words, which its author expects to read. What the library has to say goes
    # where the program's logging sends it.
    if _RUNS.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter(
            "%(asctime)s.%(msecs)03d | %(levelname)-7s | Flow run %(flow_run_name)r - %(message)s", "%H:%M:%S"
        )
    )
    _RUNS.addHandler(handler)
    _RUNS.setLevel(logging.INFO)
    # A handler on the root logger that the program adds later would show each line twice.
    _RUNS.propagate = False
