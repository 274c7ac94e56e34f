"""After a loss: which of the sends that were under way have been stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowchan.broker.connection import Connection, Identity, Refusal
from flowchan.broker.paging import next_page
from flowchan.broker.refusals import PASSING
from flowchan.broker.sent import Sent
from flowchan.wire.envelope import FOR_GROUP_FIELD

_FIRST_PAGE = 4


async def fence(connection: Connection, lost: Identity) -> None:
    """End a lost connection at the server too: what it still holds of it would be stored after the look.

    Raises:
        Refusal: the server does not do so now.
        ConnectionLost: this one was lost, too.
    """
    if lost == connection.identity:
        return  # it is shared and lives on: what it still holds is done before what is asked now
    try:
        # A server that was started anew counts anew, so the ID alone may be somebody else's.
        about = await connection.call("CLIENT", "LIST", "ID", lost.id)
        if f" name={lost.name} ".encode() in about:
            await connection.call("CLIENT", "KILL", "ID", lost.id)
    except Refusal as refusal:
        if refusal.code in PASSING:
            raise


def unfound(doubtful: Iterable[Sent], stored: Mapping[str, bytes]) -> list[Sent]:
    """Those sends, in the order in which they were written, that were not stored.

    One in front of another that was stored has its number no more: with it, a receiver would take it for a copy.
    """
    missing = []
    in_front: dict[str, list[Sent]] = {}
    for sent in doubtful:
        producer = sent.message_id.partition("-")[0]
        if sent.message_id not in stored:
            missing.append(sent)
            in_front.setdefault(producer, []).append(sent)
        elif producer in in_front:
            first = in_front[producer][0]
            first.destination.begin_anew(first.message_id)
    return missing


async def look_back(connection: Connection, doubtful: Iterable[Sent]) -> dict[str, bytes]:
    """The entries of those messages that were stored, by message ID.

    Raises:
        Refusal, ConnectionLost: it could not be found out.
    """
    by_stream: dict[str, list[Sent]] = {}
    for sent in doubtful:
        by_stream.setdefault(sent.stream, []).append(sent)
    stored: dict[str, bytes] = {}
    for stream, those in by_stream.items():
        stored |= await _stored(connection, stream, those)
    return stored


async def _stored(connection: Connection, stream: str, doubtful: list[Sent]) -> dict[str, bytes]:
    """Those of one stream, in the order in which they were written.

    Looks from the end backwards until one of ours turns up that is older than all of them, or one that is known to be.
    """
    wanted = {sent.message_id.encode() for sent in doubtful}
    # There may be several producers, each of which began when the one before it had been given up.
    ours, _, counter = doubtful[0].message_id.encode().partition(b"-")
    first, floor = int(counter, 16), doubtful[0].destination.floor
    found: dict[str, bytes] = {}
    end, count = "+", _FIRST_PAGE
    while True:
        page = await connection.call("XREVRANGE", stream, end, floor, "COUNT", count)
        for entry_id, fields in page:
            entry = dict(zip(fields[::2], fields[1::2], strict=False))
            if FOR_GROUP_FIELD in entry:
                continue  # sent again for a group by whoever did so: it says nothing of when it was sent first
            message_id = entry.get(b"id", b"")
            if message_id in wanted:
                found[message_id.decode()] = entry_id
            elif message_id.startswith(ours + b"-") and int(entry.get(b"seq", b"0")) < first:
                return found
        if len(page) < count or len(found) == len(wanted):
            return found
        end = "(" + page[-1][0].decode()
        count = next_page(count, page)
