"""Where a replay begins, when many messages are excluded: behind them, if nothing stands between."""

from __future__ import annotations

from flowchan.broker.commands import Commands
from flowchan.broker.paging import FIRST_PAGE, next_page
from flowchan.wire import keys
from flowchan.wire.excluded import Excluded
from flowchan.wire.keys import EntryId

_WORTH_IT = 64


async def beginning(commands: Commands, stream: str, excluded: Excluded) -> EntryId:
    """The entry behind which every message that is not excluded stands.

    A receiver that resumes excludes what it has seen, mostly all from the first to some last one. Whether
    anything stands between is decided by counting: a stream knows its length, so it is known how many
    entries are not excluded; if that many stand behind the last excluded one, none stands before it. That
    costs what the new messages cost, however many old ones there are. In any doubt it is the beginning of
    the stream, and the excluded are read and passed over.

    Raises:
        Refusal, ConnectionLost, FlowchanError: as :meth:`Commands.call`.
    """
    if len(excluded) < _WORTH_IT or not await commands.call("XLEN", stream):
        return keys.FIRST
    reply = await commands.call("XINFO", "STREAM", stream)
    about = dict(zip(reply[::2], reply[1::2], strict=True))
    if not about[b"length"]:
        return keys.FIRST
    first = EntryId.parse(about[b"first-entry"][0])
    last = EntryId.parse(about[b"last-entry"][0])
    if EntryId.parse(about.get(b"max-deleted-entry-id", b"0-0")) >= first:
        return keys.FIRST  # entries were deleted from the middle: an excluded one may not count
    there, newest = excluded.between(first, last)
    others = about[b"length"] - there
    if others < 0 or others > there:
        return keys.FIRST  # reading the excluded costs less than counting the others
    behind, start, size = 0, f"({newest}", FIRST_PAGE
    while behind <= others:
        page = await commands.call("XRANGE", stream, start, str(last), "COUNT", size)
        behind += len(page)
        if len(page) < size:
            break
        start, size = "(" + page[-1][0].decode(), next_page(size, page)
    # More than there should be: the server has lost entries that are excluded, so the count says nothing.
    return newest if behind == others else keys.FIRST
