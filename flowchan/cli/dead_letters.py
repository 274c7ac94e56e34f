"""``flowchan dead-letters``: messages that a group is not handed any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import pydantic_core
from cyclopts import ArgumentCollection, Group, Parameter

from flowchan import sync
from flowchan.cli import terminal, told
from flowchan.cli.find import run_called
from flowchan.cli.options import Json
from flowchan.errors import DecodeError, ObjectNotFound

if TYPE_CHECKING:
    from rich.table import Table

_WIDE = 120
_UNCUT = 400


def _make_sense(arguments: ArgumentCollection) -> None:
    given = {argument.name: argument for argument in arguments if argument.has_tokens}
    if {"--resend", "--discard"} <= given.keys():
        raise ValueError("Either --resend or --discard: not both.")
    verb = given.get("--resend") or given.get("--discard")
    if verb is None:
        if "--all" in given:
            raise ValueError("--all goes with --resend or --discard.")
    elif bool(verb.value) == ("--all" in given):
        raise ValueError(f"{verb.name} takes the keys of dead letters, or --all.")


_TO_DO = Group("To do with them", validator=_make_sense)


def dead_letters(
    run: str,
    channel: Annotated[str | None, Parameter(help="Only this channel.")] = None,
    /,
    *,
    group: Annotated[str | None, Parameter(name=["--group", "-g"], help="Only this group.")] = None,
    resend: Annotated[
        tuple[str, ...] | None,
        Parameter(
            group=_TO_DO,
            negative="",
            consume_multiple=True,
            show_default=False,
            help="Send these to their channel again: keys.",
        ),
    ] = None,
    discard: Annotated[
        tuple[str, ...] | None,
        Parameter(group=_TO_DO, negative="", consume_multiple=True, show_default=False, help="Throw these away: keys."),
    ] = None,
    all_of_them: Annotated[
        bool,
        Parameter(
            name="--all",
            group=_TO_DO,
            negative="",
            show_default=False,
            help="With --resend or --discard: all that are listed.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """List the messages of a run that a group is not handed any more, send them again, or throw them away.

    RUN is the run's ID, the beginning of that, or its name. After the handler was mended, for example:

        flowchan dead-letters gregarious-owl --resend --all
    """
    terminal.prepare()
    found = sync.read_dead_letters(run_called(run), channel, group)
    if resend is None and discard is None:
        _list(found, as_json=as_json)
        return
    for letter in _meant(found, resend or discard or (), all_of_them=all_of_them):
        try:
            _do(letter, resends=resend is not None, as_json=as_json)
        except ObjectNotFound:
            if not all_of_them:  # else somebody else was first
                raise


def _do(letter: sync.DeadLetter, *, resends: bool, as_json: bool) -> None:
    if resends:
        again = letter.resend()
        about = {"key": letter.key, "done": "resent", "message_key": again.key}
    else:
        letter.discard()
        about = {"key": letter.key, "done": "discarded", "message_key": letter.message_key}
    print(told.line(about) if as_json else f"{letter.key} is {about['done']}.", flush=True)


def _meant(found: list[sync.DeadLetter], given: tuple[str, ...], *, all_of_them: bool) -> list[sync.DeadLetter]:
    if all_of_them:
        return found
    known = {letter.key: letter for letter in found}
    for key in given:  # before anything is done
        if key not in known:
            raise ObjectNotFound(f"There is no dead letter {key}. `flowchan dead-letters` lists those that there are.")
    return [known[key] for key in dict.fromkeys(given)]


def _list(found: list[sync.DeadLetter], *, as_json: bool) -> None:
    if as_json:
        for letter in found:
            print(told.line(as_dict(letter)))
        return
    if not found:
        print("There are no dead letters.")
        return
    console = terminal.output()
    if not console.is_terminal:
        console.width = _UNCUT  # a program that reads it wants no column cut
    console.print(_table(found, console.width), soft_wrap=False)


def as_dict(letter: sync.DeadLetter) -> dict[str, Any]:
    """What is known of a dead letter, for a line of JSON."""
    return {
        "key": letter.key,
        "message_key": letter.message_key,
        "channel": letter.channel,
        "group": letter.group,
        "reason": letter.reason,
        "error": letter.error or None,
        "deliveries": letter.deliveries,
        "died_at": letter.died_at.isoformat(),
        "sender": letter.sender,
        "value": _value(letter),
    }


def _value(letter: sync.DeadLetter) -> Any:
    """The value, as ``flowchan listen`` shows it; None where it cannot be read."""
    try:
        return pydantic_core.to_jsonable_python(letter.value, fallback=str, bytes_mode="base64")
    except DecodeError:
        return None


def _table(found: list[sync.DeadLetter], width: int) -> Table:
    from rich.table import Table  # noqa: PLC0415 - for people only
    from rich.text import Text  # noqa: PLC0415

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("since", "channel", "group", "reason", "times"):
        shown.add_column(heading, no_wrap=True)
    shown.add_column("value", overflow="ellipsis", no_wrap=True)
    if width >= _WIDE:
        shown.add_column("error", overflow="ellipsis", no_wrap=True)
    shown.add_column("key", style="dim", overflow="fold" if width < _WIDE else "ellipsis", no_wrap=width >= _WIDE)
    for letter in found:
        value = _value(letter)
        shown.add_row(
            told.ago(letter.died_at),
            Text(letter.channel.removesuffix("-auto"), style="cyan"),
            letter.group,
            Text(letter.reason, style="red"),
            str(letter.deliveries),
            Text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)),
            *([Text(letter.error)] if width >= _WIDE else []),
            letter.key,
        )
    return shown
