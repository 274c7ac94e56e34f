"""An append-only file whose end is missing, as after a power cut: what it held is gone, acknowledged or not."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import NamedTuple

from flowchan.channels import Channels
from tests.faults.checker import Sender, hold
from tests.faults.fault import Broken, Fault, Progress, Seen
from tests.faults.newcomer import Newcomer
from tests.faults.surroundings import RUN, looking, own_server
from tests.support.server import Server
from tests.support.streams import CHANNEL

_SENDERS = 3
_BEFORE, _AFTER = 20, 2


class _Sent(NamedTuple):
    sender: Sender
    client: Channels


async def _send(those: list[_Sent], count: int) -> None:
    for _ in range(count):
        for sender, client in those:
            value = f"{sender.name}-{len(sender.told)}"
            sender.sends(value)
            await client.send_input(value, RUN, sender.name, CHANNEL)
            sender.acknowledged(value)


def _cut(server: Server, chance: random.Random) -> int:
    """Take away the end of the file; how many bytes."""
    (file,) = (server.folder / "appendonlydir").glob("*.incr.aof")
    size = file.stat().st_size
    # Sometimes nearly all of it: then the stream itself was never there.
    left = int(size * chance.choice([chance.random(), 0.5 + chance.random() / 2, 0.98]))
    with file.open("r+b") as opened:
        opened.truncate(left)
    return size - left


async def _one(server: Server, chance: random.Random) -> tuple[list[Sender], Newcomer]:
    # Settings of their own give them connections of their own.
    those = [_Sent(Sender(f"s{number}"), Channels(home=Path(f"/nowhere/{number}"))) for number in range(_SENDERS)]
    await _send(those, _BEFORE)
    server.kill()
    _cut(server, chance)
    server.start()
    # What is missing is told by the next message of its sender.
    await _send(those, _AFTER)
    newcomer = Newcomer()
    await newcomer.read()
    return [sender for sender, _ in those], newcomer


def _run(count: int, progress: Progress) -> Seen:
    chance = random.Random(1)
    sends = lost = 0
    for number in range(count):
        with own_server() as server:
            senders, newcomer = asyncio.run(_one(server, chance))
            with looking(server) as streams:
                stored = streams.values(RUN)
        findings = hold(stored, senders)
        sends += sum(len(sender.told) for sender in senders)
        lost += len(findings.missing)
        counted = f"{number + 1} files cut, {sends:,} acknowledged sends of {_SENDERS} senders a file"
        findings.must_be_none(counted, besides=["missing"])
        newcomer.saw.hold(stored, senders).must_be_none(counted)
        untold, made_up = newcomer.untold(findings), newcomer.made_up(senders)
        if untold or made_up:
            raise Broken(
                counted, f"{lost:,} lost, {len(untold):,} of them untold; {len(made_up):,} told that were not lost"
            )
        progress(number + 1)
    if not lost:
        raise Broken(counted, "nothing was lost: the files were not cut")
    return Seen(counted, f"{lost:,} lost, each of them told, and no other; 0 twice, in order")


FAULTS = (Fault("append-only file cut short", "what is missing is reported, never silent", 8, 200, _run),)
