"""``flowchan show``: all that is known of one run."""

from __future__ import annotations

from flowchan import bridge
from flowchan.broker.broker import Broker
from flowchan.cli import terminal, told
from flowchan.cli.find import find
from flowchan.cli.options import Json
from flowchan.run import FlowRun
from flowchan.runs import store
from flowchan.runs.answer import Question, question
from flowchan.runs.parameters import serialized
from flowchan.states import State
from flowchan.wire import keys


def show(run: str, /, *, as_json: Json = False) -> None:
    """Show a run: its flow and parameters, its states so far, and what it waits for.

    RUN is its ID, the beginning of that, or its name. What it waits for, for example, as JSON Schema:

        flowchan show gregarious-owl --json | jq .schema
    """
    terminal.prepare()

    async def ask(broker: Broker) -> tuple[FlowRun, list[State], Question | None, int]:
        known = await find(broker, run)
        waits = await question(broker, known) if known.waiting_for is not None else None
        dead = await broker.dead_letters.count(keys.run_id(known.id))
        return known, await store.history(broker, known.id), waits, dead

    known, states, waits, dead = bridge.call(ask)
    if as_json:
        about = told.as_dict(known)
        about["parameters"] = serialized(known.parameters) if known.parameters is not None else None
        about["states"] = [told.state_as_dict(state) for state in states]
        about["schema"] = waits.schema if waits else None
        about["description"] = waits.description if waits else None
        about["dead_letters"] = dead
        print(told.line(about))
        return
    _show(known, states, waits, dead)


def _show(known: FlowRun, states: list[State], waits: Question | None, dead: int) -> None:
    from rich.markdown import Markdown  # noqa: PLC0415 - for people only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = terminal.output()
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("run", Text(known.name, style="bold"))
    facts.add_row("id", str(known.id))
    for name, value in (
        ("flow", known.flow_name),
        ("deployment", known.deployment_name),
        ("called by", known.parent_id),
        ("tags", ", ".join(known.tags)),
        ("executed", f"{known.run_count} times" if known.run_count > 1 else None),
        ("parameters", told.line(serialized(known.parameters)) if known.parameters else None),
    ):
        if value:
            facts.add_row(name, str(value))
    console.print(facts, soft_wrap=False)
    console.print()
    history = Table.grid(padding=(0, 2, 0, 0))
    history.add_column(style="dim", no_wrap=True)
    history.add_column(no_wrap=True)
    history.add_column(overflow="fold")
    for state in states:
        when = state.timestamp.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        history.add_row(when, Text(told.state_name(state), style=told.COLOURS[state.type]), state.message or "")
    console.print(history, soft_wrap=False)
    if dead:
        console.print()
        console.print(f"{dead} dead {'letter' if dead == 1 else 'letters'}: flowchan dead-letters {known.name}")
    if waits is None:
        return
    console.print()
    console.print(f"It waits for {known.waiting_for}: flowchan resume {known.name}")
    if waits.description:
        console.print(Markdown(waits.description), soft_wrap=False)
    for name, field in ((waits.schema or {}).get("properties") or {}).items():
        console.print(f"  {name}: {field.get('description') or field.get('title') or ''}".rstrip())
