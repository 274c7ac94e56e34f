"""``flowchan doctor``: which broker there is, why that one, and whether it is fit for its work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from flowchan import bridge
from flowchan.broker import embedded
from flowchan.broker.embedded.choice import would_start
from flowchan.broker.inspection import inspect, server_name
from flowchan.cli import terminal
from flowchan.cli.checks import Check, Mark, checks
from flowchan.cli.echo import echo
from flowchan.cli.options import Json
from flowchan.errors import BrokerError, FlowchanError
from flowchan.settings import Settings, current_settings

_SIGNS = {
    Mark.OK: ("✔", "green"),
    Mark.WARN: ("!", "bold yellow"),
    Mark.BAD: ("✘", "bold red"),
    Mark.NOTE: ("·", "dim"),
}

_NAMES = 13  # columns


def doctor(*, as_json: Json = False) -> None:
    """Look at the broker: which it is and why that one, and whether it is fit for its work.

    Exits with 0 if it can be used, and with 1 if not; a warning does not count. What there is to be done, for example:

        flowchan doctor --json | jq -r 'select(.mark == "warn" or .mark == "bad") | .hint // .found'
    """
    terminal.prepare()
    good = True
    for check in _all_checks():
        good = good and check.mark is not Mark.BAD
        if as_json:
            print(json.dumps(check.as_dict()), flush=True)
        else:
            _show(check)
    if not good:
        sys.exit(1)


def _all_checks() -> Iterator[Check]:
    """One after the other, up to what makes it useless to go on."""
    try:
        settings = current_settings()
        yield from _which(settings)
        found = bridge.call(inspect, settings)
    except FlowchanError as error:
        yield Check("connection", Mark.BAD, str(error))
        return
    fit = True
    for check in checks(found, settings):
        fit = fit and check.mark is not Mark.BAD
        yield check
    if fit:
        yield _latency(settings)


def _which(settings: Settings) -> Iterable[Check]:
    if settings.url is not None:
        name = server_name(settings)
        yield Check("broker", Mark.OK, name, "because FLOWCHAN_URL names it", {"embedded": False})
        return
    runs = embedded.running(settings)
    state = f"process {runs.pid}" if runs else "started for this"
    facts: dict[str, Any] = {"embedded": True, "was_running": runs is not None, "home": str(settings.home)}
    yield Check("broker", Mark.OK, f"The embedded server, {state}", "because FLOWCHAN_URL is not set", facts)
    yield Check("home", Mark.OK, _short(settings.home), _because_of("FLOWCHAN_HOME"))
    try:
        choice = would_start(settings)
    except FlowchanError as error:
        if runs:  # it can be used, this once
            yield Check("binary", Mark.WARN, "none for the next start", str(error))
        return  # otherwise the attempt to start one says so
    later = ", for the next start" if runs and (runs.engine, runs.version) != choice.engine else ""
    told = f"{choice.engine} from {choice.origin}{later}"
    yield Check("binary", Mark.OK, told, _short(choice.path), {"path": str(choice.path), "origin": choice.origin})


def _latency(settings: Settings) -> Check:
    try:
        seconds = bridge.call(lambda _: echo(), settings)
    except BrokerError as error:
        return Check("messages", Mark.BAD, str(error))
    told = f"sent and received in {seconds * 1000:.1f} ms"
    return Check("messages", Mark.OK, told, facts={"round_trip_ms": round(seconds * 1000, 3)})


def _because_of(variable: str) -> str:
    return f"because {variable} says so" if os.environ.get(variable) else f"the default; {variable} is not set"


def _short(path: object) -> str:
    text, home = str(path), os.path.expanduser("~")  # noqa: PTH111 - as text
    return f"~{text.removeprefix(home)}" if home != "/" and text.startswith(f"{home}/") else text


def _show(check: Check) -> None:
    from rich.table import Table  # noqa: PLC0415 - for people only
    from rich.text import Text  # noqa: PLC0415

    sign, style = _SIGNS[check.mark]
    console = terminal.output()
    if not console.is_terminal:
        hint = f" ({check.hint})" if check.hint else ""
        print(f"{sign} {check.name:<{_NAMES}}{check.found}{hint}", flush=True)
        return
    told = Text(check.found, overflow="fold")
    if check.hint:
        told.append(f"\n{check.hint}", style="dim" if check.mark in (Mark.OK, Mark.NOTE) else "yellow")
    line = Table.grid()
    line.add_column(width=_NAMES + 2)
    line.add_column(overflow="fold")
    line.add_row(Text.assemble((sign, style), f" {check.name}"), told)
    console.print(line, soft_wrap=False)
