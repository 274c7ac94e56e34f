"""``flowchan broker``: the embedded server, by hand."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from cyclopts import App

from flowchan.broker import embedded
from flowchan.broker.embedded.figures import figures
from flowchan.cli import terminal
from flowchan.cli.options import Json
from flowchan.settings import current_settings

NOT_RUNNING = 3
"""The exit code of ``status`` then, as systemctl has it."""

app = App(name="broker", help="The embedded server, which flowchan runs where FLOWCHAN_URL is not set.")


@app.command
def start(*, as_json: Json = False) -> None:
    """Start the embedded server, unless it runs, and print its URL.

    Programs start it by themselves, and it stops by itself when it is not used (FLOWCHAN_SERVER_IDLE seconds after its
    last client). For who wants its URL:

        export FLOWCHAN_URL=$(flowchan broker start)
    """
    settings = current_settings()
    was_running = embedded.running(settings) is not None
    server = embedded.ensure(settings)
    url = f"unix://{server.socket}"
    if as_json:
        _print_json(url=url, started=not was_running, **_about(server))
        return
    print(url)
    state = "ran already" if was_running else "was started"
    _tell(
        f"{server.engine.capitalize()} {server.version}, process {server.pid}, {state}."
        f" It stops {settings.server_idle:g} s after its last client has gone."
    )
    _warn_if_unused()


@app.command
def stop(*, as_json: Json = False) -> None:
    """Stop the embedded server, whoever uses it. All that was stored stays.

    Whoever needs it next starts it again. For example, before a copy of its data is made:

        flowchan broker stop && cp -r "$(flowchan broker path --json | jq -r .data)" copy
    """
    stopped = embedded.stop(current_settings())
    if as_json:
        _print_json(stopped=stopped)
    else:
        print("Stopped." if stopped else "It was not running.")


@app.command
def status(*, as_json: Json = False) -> None:
    """Say whether the embedded server runs, and what it has to do. Starts nothing.

    Exits with 0 if it runs, and with 3 if not:

        flowchan broker status > /dev/null || flowchan broker start
    """
    settings = current_settings()
    server = embedded.running(settings)
    if server is None:
        if as_json:
            _print_json(running=False, data=str(embedded.Place.of(settings.home).data))
        else:
            _print_table({"": "not running", "data": str(embedded.Place.of(settings.home).data)})
            _warn_if_unused()
        sys.exit(NOT_RUNNING)
    found = figures(settings)
    if as_json:
        numbers = {} if found is None else vars(found)
        _print_json(running=True, **_about(server), **numbers)
        return
    rows = {
        "": "running",
        "server": f"{server.engine.capitalize()} {server.version}",
        "process": str(server.pid),
    }
    if found is not None:
        rows |= {
            "up for": _duration(found.uptime),
            "clients": str(found.clients),
            "memory": _size(found.memory),
            "on disk": _size(found.disk),
        }
    _print_table({**rows, "data": str(server.data), "socket": str(server.socket)})
    _warn_if_unused()


@app.command
def path(*, as_json: Json = False) -> None:
    """Print where the embedded server keeps its data, its log and its socket. Starts nothing.

    redis-cli -s "$(flowchan broker path --json | jq -r .socket)"
    """
    place = embedded.Place.of(current_settings().home)
    paths = {"data": str(place.data), "log": str(place.log), "socket": str(place.socket)}
    if as_json:
        _print_json(**paths)
    else:
        _print_table(paths)


def _about(server: embedded.Server) -> dict[str, Any]:
    return {
        "pid": server.pid,
        "engine": server.engine,
        "version": server.version,
        "data": str(server.data),
        "socket": str(server.socket),
    }


def _print_json(**values: Any) -> None:
    print(json.dumps(values))


def _print_table(rows: dict[str, str]) -> None:
    """A name and a value a line; the state of the server has no name."""
    from rich.text import Text  # noqa: PLC0415 - not for who asks for JSON

    width = max(map(len, rows)) + 2
    console = terminal.output()
    for name, value in rows.items():
        if name:
            console.print(Text.assemble((f"{name:<{width}}", "dim"), value))
        else:
            style = "bold green" if value == "running" else "bold yellow"
            console.print(Text.assemble("The embedded server is ", (value, style), "."))


def _tell(text: str) -> None:
    """What a person may want to know, and no program reads."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _warn_if_unused() -> None:
    if os.environ.get("FLOWCHAN_URL"):
        _tell("FLOWCHAN_URL is set: programs use the server that it names, not this one.")


def _duration(seconds: int) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{seconds // size} {unit}{'' if seconds // size == 1 else 's'}"
    return f"{seconds} s"


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1024
    raise AssertionError
