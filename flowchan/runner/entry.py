"""Where a flow's code is, so that another process finds it."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import types
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flowchan.errors import CodeError

if TYPE_CHECKING:
    from flowchan.flows import Flow

MAIN = "__mp_main__"
"""What a script is called in a process that imports it, as Python's multiprocessing calls it: a pool that a flow
starts finds the script's functions by that name."""

_SCRIPTS = frozenset({"__main__", MAIN})


class Entry(NamedTuple):
    """A place in code: a script's file or a module's name, and the name of a flow in it."""

    place: str
    is_file: bool
    name: str

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"


def entry_of(flow: Flow[..., Any]) -> Entry:
    """Where a flow is.

    Raises:
        CodeError: no other process could find it; says why.
    """
    fn = flow.fn
    module_name: str = getattr(fn, "__module__", None) or type(fn).__module__
    module = sys.modules.get(module_name)
    name = _name_in(module, flow) if module is not None else None
    if name is None:
        qualname = getattr(fn, "__qualname__", flow.name)
        why = (
            "it is defined within a function"
            if "<locals>" in qualname
            else f"the module {module_name!r} has no such flow by any name"
        )
        raise CodeError(
            f"Flow {flow.name!r} cannot be served: {why}, and each run is executed by another process, which imports"
            " the code and looks for the flow. Give it a name at the top of a module or a script."
        )
    if module_name not in _SCRIPTS:
        return Entry(module_name, is_file=False, name=name)
    spec = getattr(module, "__spec__", None)
    if spec is not None and module_name == "__main__":  # python -m
        return Entry(spec.name, is_file=False, name=name)
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        raise CodeError(
            f"Flow {flow.name!r} cannot be served: it is in no file (it was typed, piped or given by -c), and each run"
            " is executed by another process, which imports the code. Put it into a file."
        )
    return Entry(str(Path(file).absolute()), is_file=True, name=name)


def _name_in(module: types.ModuleType, flow: Flow[..., Any]) -> str | None:
    qualname = getattr(flow.fn, "__qualname__", None)
    if qualname is not None and "<locals>" not in qualname:
        found: Any = module
        for part in qualname.split("."):
            found = getattr(found, part, None)
        if found is flow:
            return str(qualname)
    return next((name for name, value in vars(module).items() if value is flow), None)


loading = False
"""Whether this process is importing what it is to execute."""


@contextlib.contextmanager
def _loading() -> Generator[None]:
    global loading  # noqa: PLW0603 - serve() asks for it, wherever it is called
    loading = True
    try:
        yield
    finally:
        loading = False


def load(entry: Entry) -> Flow[..., Any]:
    """Import the code, and find the flow in it.

    Raises:
        BaseException: what the code raises.
        LookupError: there is no such flow in it.
    """
    from flowchan.flows import Flow  # noqa: PLC0415 - flows know of this room

    with _loading():
        found: Any = _script(entry.place) if entry.is_file else importlib.import_module(entry.place)
    for part in entry.name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Flow):
        raise LookupError(f"{entry.place} has no flow {entry.name!r}")  # noqa: TRY004 - it is not there
    return found


def _script(path: str) -> types.ModuleType:
    known = sys.modules.get(MAIN)
    # multiprocessing gives this name to whatever the program's module is when it is imported.
    if known is not None and getattr(known, "__file__", None) == path:
        return known
    with io.open_code(path) as file:
        source = file.read()
    module = types.ModuleType(MAIN)
    module.__file__ = path
    before = sys.modules.get("__main__")
    # What looks for the program's own module, as multiprocessing does, is to find the user's.
    sys.modules[MAIN] = sys.modules["__main__"] = module
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - that is what importing it is
    except BaseException:
        del sys.modules[MAIN]
        if before is not None:
            sys.modules["__main__"] = before
        raise
    return module
