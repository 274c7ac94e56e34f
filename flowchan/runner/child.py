"""The process of one run: it imports the code, waits to be told of a run, executes it, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import queue
import signal
import socket
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowchan import bridge
from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.dual import in_async, in_sync
from flowchan.errors import FlowchanError, IllegalTransition, ParameterBindError, SignatureError
from flowchan.runner.entry import Entry, load
from flowchan.runs import store
from flowchan.runs.engine import Handed, run_flow
from flowchan.runs.execution import Execution
from flowchan.runs.parameters import arguments_of
from flowchan.runs.store import Change
from flowchan.settings import Settings, chosen
from flowchan.states import Failed
from flowchan.stops import StopRun

if TYPE_CHECKING:
    from flowchan.flows import Flow

logger = logging.getLogger(__name__)

_LONGEST = 1 << 16
_NOT_EXECUTED = (ParameterBindError, SignatureError)
"""What a run fails with before it has begun."""

_GRAIN = 10_000_000
"""Nanoseconds by which a file system's clock may be behind."""


class Control:
    """The line to the server: what it says is heard at once, whatever the run does.

    Guarantees: when the server has died, this process ends on the spot, with all that it has started in its session:
    by then the run is somebody else's, or will be.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._execution: Execution | None = None
        self._told: str | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="flowchan-control", daemon=True).start()

    def hear(self) -> dict[str, Any]:
        """The next thing that is to be done."""
        return self._heard.get()

    def say(self, **what: Any) -> None:
        """Tell the server."""
        with contextlib.suppress(OSError):  # it has died, and the other thread ends this process
            self._line.sendall(json.dumps(what).encode() + b"\n")

    def attach(self, execution: Execution) -> None:
        """Have an execution told what is done to its run."""
        with self._lock:
            self._execution = execution
            told = self._told
        if told is not None:
            execution.told(told)

    def _listen(self) -> None:
        rest = b""
        while True:
            try:
                data = self._line.recv(_LONGEST)
            except OSError:
                data = b""
            # All that is there, first of all the end: a run is not begun for a server that has died.
            while data:
                try:
                    more = self._line.recv(_LONGEST, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                except OSError:
                    more = b""
                data = data + more if more else b""
            if not data:
                _end_all()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                what = json.loads(line)
                if "told" in what:
                    self._be_told(what["told"])
                else:
                    self._heard.put(what)

    def _be_told(self, kind: str) -> None:
        with self._lock:
            self._told = kind
            execution = self._execution
        if execution is not None:
            execution.told(kind)


def main() -> None:
    """Be such a process. The last argument is the number of the socket on which the server speaks."""
    line = socket.socket(fileno=int(sys.argv[-1]))
    os.set_inheritable(line.fileno(), False)  # noqa: FBT003 - that is how it is called
    # Whatever the server's shell, or the thread that started this process, made of it: this is how a function is
    # interrupted.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    control = Control(line)
    setup = control.hear()
    sys.argv[:] = setup["argv"]
    with chosen(Settings.model_validate(setup["settings"])), asyncio.Runner() as runner:
        entries = {name: Entry(*entry) for name, entry in setup["entries"].items()}
        begun = time.time_ns()
        flows, problems = _loaded(entries)
        _warm(runner, flows)
        control.say(ready={"problems": problems, "files": _files(entries.values(), begun)})
        given = control.hear()
        control.say(begun=True)
        try:
            _execute(runner, flows[given["deployment"]], given, control)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            control.say(over=True)


def _loaded(entries: dict[str, Entry]) -> tuple[dict[str, Flow[..., Any]], dict[str, str]]:
    flows: dict[str, Flow[..., Any]] = {}
    problems: dict[str, str] = {}
    shown: set[str] = set()
    for name, entry in entries.items():
        try:
            flows[name] = load(entry)
        except BaseException as error:  # noqa: BLE001 - whatever code does when it is imported, sys.exit() too
            problems[name] = _told_of(error)
            if problems[name] not in shown:
                shown.add(problems[name])
                traceback.print_exception(error)
    return flows, problems


def _told_of(error: BaseException) -> str:
    """An import's error in a line: its kind, its text, and where it was raised."""
    text = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, LookupError):
        return text
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} ({Path(error.filename).name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else text


def _files(entries: Iterable[Entry], since: int) -> dict[str, tuple[int, int]]:
    """The user's own files that were imported, each with when it was changed and how large it is.

    When one changes, a process that has imported it is no use any more. One that was changed while it was imported
    (``since`` is when that began, in nanoseconds) counts as changed: nobody knows what was read of it.
    """
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    others = tuple(f"{folder}{os.sep}" for folder in (*installed, str(Path(__file__).parents[1])) if folder)
    paths = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    paths |= {entry.place for entry in entries if entry.is_file}
    now = time.time_ns()
    found: dict[str, tuple[int, int]] = {}
    for path in paths:
        if not path or path.startswith(others):
            continue
        with contextlib.suppress(OSError):
            about = os.stat(path)  # noqa: PTH116 - hundreds of them
            doubtful = since - _GRAIN <= about.st_mtime_ns <= now
            found[path] = (0, 0) if doubtful else (about.st_mtime_ns, about.st_size)
    return found


def _warm(runner: asyncio.Runner, flows: dict[str, Flow[..., Any]]) -> None:
    """Have the connections made that the runs will use first."""

    async def greet(broker: Broker) -> None:
        await broker.persistent.call("a greeting", "PING")

    async def greet_here(settings: Settings) -> None:
        await greet(broker_of_this_loop(settings))

    from flowchan.settings import current_settings  # noqa: PLC0415 - the ones that were chosen

    with contextlib.suppress(ConnectionError):  # the run will say so
        kinds = {flow.is_async for flow in flows.values()}
        if True in kinds:
            runner.run(greet_here(current_settings()))
        if False in kinds:
            bridge.call(greet)


def _execute(runner: asyncio.Runner, flow: Flow[..., Any], given: dict[str, Any], control: Control) -> None:
    run_id, holder, deployment = given["run"], given["holder"], given["deployment"]

    async def failed(broker: Broker, error: FlowchanError) -> None:
        await store.change(broker, run_id, Change(Failed(message=str(error)), holder=holder))

    async def executed() -> None:
        from flowchan.settings import current_settings  # noqa: PLC0415 - as above

        broker = broker_of_this_loop(current_settings())
        try:
            run = await store.read_request(broker, run_id, deployment)
            args, kwargs = arguments_of(flow.fn, run.parameters or {})
            await in_async(run_flow(flow, args, kwargs, Handed(run, holder, control.attach)))
        except _NOT_EXECUTED as error:
            await failed(broker, error)

    try:
        if flow.is_async:
            runner.run(executed())
            return
        try:
            run = bridge.call(lambda broker: store.read_request(broker, run_id, deployment))
            args, kwargs = arguments_of(flow.fn, run.parameters or {})
            in_sync(run_flow(flow, args, kwargs, Handed(run, holder, control.attach)))
        except _NOT_EXECUTED as error:
            message = error
            bridge.call(lambda broker: failed(broker, message))
    except StopRun:
        return  # suspended, or somebody else's: either way it has been said
    except IllegalTransition as refused:
        logger.warning("Run %s is not executed: %s", run_id, refused)


def _end_all() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
