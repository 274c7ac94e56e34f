"""The log of a run: the standard library's logging, with the run's name on every line."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import sys
import threading
from collections.abc import Callable, Generator, MutableMapping
from contextvars import ContextVar
from typing import Any

from flowchan.context import get_run_context

_RUNS = logging.getLogger("flowchan.flow_runs")
_ENGINE = logging.getLogger("flowchan.engine")


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
    _show(_RUNS, "Flow run %(flow_run_name)r")
    known = {"flow_run_id": str(run.id), "flow_run_name": run.name, "flow_name": run.flow_name or ""}
    return RunLogger(_RUNS, known)


def announce() -> None:
    """Have the current run's beginning logged; a person at a terminal sees it, to know what it can be spoken to by."""
    if sys.stderr is not None and sys.stderr.isatty():
        _show(_ENGINE, "%(name)s")
    if _ENGINE.isEnabledFor(logging.INFO) and _ENGINE.hasHandlers():
        run = get_run_context().flow_run
        _ENGINE.info("Created flow run %r for flow %r", run.name, run.flow_name)


@contextlib.contextmanager
def prints_logged(*, logged: bool = True) -> Generator[None]:
    """Have what is printed within the block logged by the run that it is printed in, instead; or not, again."""
    if logged:
        _patch_print()
    token = _is_logging_prints.set(logged)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # left in another context, as a coroutine that its loop closes is
            _is_logging_prints.reset(token)


_is_logging_prints: ContextVar[bool] = ContextVar("flowchan_log_prints", default=False)
_print: Callable[..., None] | None = None
_patching = threading.Lock()


def _patch_print() -> None:
    # Once, and for good: a block that ended could not know who else has put a print of their own there since.
    global _print  # noqa: PLW0603 - as builtins.print is one
    with _patching:
        if _print is not None:
            return
        _print = plain = builtins.print

    def logged(*values: Any, **options: Any) -> None:
        # To a file of its own, or where no run is: as ever.
        if options.get("file") is not None or not _is_logging_prints.get():
            plain(*values, **options)
            return
        text = io.StringIO()
        options.update(file=text, flush=False)
        plain(*values, **options)
        with prints_logged(logged=False):  # a handler of the program's may print
            get_run_logger().info(text.getvalue().rstrip("\n"))

    builtins.print = logged


def _show(logger: logging.Logger, who: str) -> None:
    # The lines are the flow's own words, which its author expects to read, and how it is called. What else the
    # library has to say goes where the program's logging sends it.
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s.%(msecs)03d | %(levelname)-7s | {who} - %(message)s", "%H:%M:%S")
    )
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    # A handler on the root logger that the program adds later would show each line twice.
    logger.propagate = False
