"""Where a replay begins: behind what is excluded, or behind a message's key; and what that costs."""

from __future__ import annotations

import random
from typing import Any

import pytest
import redis

from flowchan import receive_input, send_input
from flowchan.errors import InvalidKeyError, MessagesLost
from flowchan.wire import codec, keys
from flowchan.wire.envelope import Envelope, to_fields
from tests.support.streams import CHANNEL, Streams

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop does here: it has no part in what is looked at."""
    return "asyncio", {"use_uvloop": False}


FILL = """
local ids = {}
for value = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do
  local body = ARGV[4] ~= '' and ARGV[4] or '\\129\\165value\\206' .. struct.pack('>I4', value)
  ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', 'v', '1', 'id', string.format('00000000000000bb-%x', value + 1),
    'seq', value + 1, 'schema', '00000000', 'body', body)
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return ids
"""


def fill(streams: Streams, values: range, run: str = "r", size: int = 0) -> list[str]:
    """Store messages as some other process has; returns their keys."""
    key = streams.key(run)
    body = codec.encode({"value": b"x" * size}) if size else b""
    ids: Any = streams.client.eval(FILL, 1, key, values.start, values.stop, 600_000, body)
    return [keys.message_key(key, keys.EntryId.parse(each)) for each in ids]


async def received(type_: type = int, **options: Any) -> list[Any]:
    """What there is, without waiting for more."""
    return (await received_and_lost(type_, **options))[0]


async def received_and_lost(type_: type = int, **options: Any) -> tuple[list[Any], list[set[int]]]:
    """What there is, and what there is not, as the values that :func:`fill` would have given those messages."""
    options = {"flow_run_id": "r", "key_prefix": CHANNEL, "timeout": 0, "raise_timeout_error": False, **options}
    got: list[Any] = []
    lost: list[set[int]] = []
    async with receive_input(type_, **options) as receiver:
        while True:
            try:
                async for value in receiver:
                    got.append(value)  # noqa: PERF401 - what came before an error counts
            except MessagesLost as told:
                lost.append(set(range(told.first - 1, told.last)))
            else:
                return got, lost


class Cost:
    """What the server was asked for since it was made."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._reads = self._reads_so_far()
        self._bytes = self._bytes_so_far()

    def _reads_so_far(self) -> int:
        return sum(
            stats["calls"]
            for name, stats in self._client.info("commandstats").items()
            if name in ("cmdstat_xrange", "cmdstat_xinfo|stream", "cmdstat_xlen", "cmdstat_xrevrange")
        )

    def _bytes_so_far(self) -> int:
        return int(self._client.info("stats")["total_net_output_bytes"])

    def check(self, *, reads: int, size: int) -> None:
        """No more than so many reads, and so many bytes of answers."""
        sent = self._bytes_so_far() - self._bytes  # first, for to look has an answer too
        asked = self._reads_so_far() - self._reads
        assert (asked <= reads, sent <= size) == (True, True), (asked, sent)


# --- exclude_keys ------------------------------------------------------------------------------------------


async def test_excluded_messages_are_not_yielded_wherever_they_are(streams: Streams) -> None:
    given = fill(streams, range(10))
    assert await received(exclude_keys=given[:3]) == [3, 4, 5, 6, 7, 8, 9]
    assert await received(exclude_keys=[given[0], given[5], given[9]]) == [1, 2, 3, 4, 6, 7, 8]
    assert await received(exclude_keys=given) == []
    assert await received(exclude_keys=iter(given[1:])) == [0]


async def test_what_is_there_is_found_behind_any_number_of_excluded_messages_without_waiting(streams: Streams) -> None:
    # Fewer than are worth a look for the beginning, and more than a page
    given = fill(streams, range(60))
    assert await received(exclude_keys=given[:50]) == list(range(50, 60))


async def test_resuming_with_a_hundred_thousand_excluded_keys_costs_what_the_new_messages_cost(
    streams: Streams, client: redis.Redis
) -> None:
    excluded = fill(streams, range(100_000))
    fill(streams, range(100_000, 100_010))
    cost = Cost(client)
    assert await received(exclude_keys=excluded) == list(range(100_000, 100_010))
    cost.check(reads=10, size=50_000)

    # And where there is nothing new, nearly nothing
    excluded += await keys_of_the_last(streams, 10)
    cost = Cost(client)
    assert await received(exclude_keys=excluded) == []
    cost.check(reads=10, size=20_000)


async def test_a_hole_in_the_excluded_is_found_though_that_takes_reading_all(streams: Streams) -> None:
    given = fill(streams, range(5000))
    hole = given.pop(500)
    assert await received(exclude_keys=given) == [500]
    assert await received(exclude_keys=given, after=hole) == []


async def keys_of_the_last(streams: Streams, count: int) -> list[str]:
    entries: Any = streams.client.xrevrange(streams.key("r"), count=count)
    return [keys.message_key(streams.key("r"), keys.EntryId.parse(entry)) for entry, _ in entries]


async def test_what_was_sent_while_nobody_received_is_counted_in_pages_of_few_bytes(
    streams: Streams, client: redis.Redis
) -> None:
    excluded = fill(streams, range(200))
    fill(streams, range(200, 260), size=500_000)
    cost = Cost(client)
    async with receive_input(bytes, flow_run_id="r", key_prefix=CHANNEL, timeout=10, exclude_keys=excluded) as receiver:
        assert len(await receiver.next()) == 500_000
        # The count reads all of it once, the replay a page.
        cost.check(reads=50, size=60 * 500_000 + 20_000_000)


async def test_holes_deletions_and_trims_in_any_combination_yield_what_is_left(streams: Streams) -> None:
    dice = random.Random(11)
    for turn in range(40):
        run = f"r{turn}"
        count = dice.choice((64, 100, 200))
        given = fill(streams, range(count), run)
        last = dice.choice((count, count - 3, count // 2))
        holes = set(dice.sample(range(last), dice.choice((0, 0, 1, 5))))
        excluded = [i for i in range(last) if i not in holes]
        deleted = set(dice.sample(range(count), dice.choice((0, 0, 1, 10, 30))))
        for i in deleted:
            entry = keys.entry_of_message_key(streams.key(run), given[i])
            streams.client.xdel(streams.key(run), str(entry))
        if dice.random() < 0.3:
            left: Any = streams.client.xlen(streams.key(run))
            cut = dice.randrange(left)
            gone: Any = streams.client.xrange(streams.key(run), count=cut)
            names = {keys.message_key(streams.key(run), keys.EntryId.parse(entry)): 0 for entry, _ in gone}
            deleted |= {i for i, key in enumerate(given) if key in names}
            streams.client.xtrim(streams.key(run), maxlen=left - cut, approximate=False)
        expected = [i for i in range(count) if i not in deleted and i not in excluded]
        given_keys = [given[i] for i in excluded]
        dice.shuffle(given_keys)
        got, lost = await received_and_lost(flow_run_id=run, exclude_keys=given_keys)
        assert got == expected, turn
        # What may have been excluded is not told, and nothing is told where nothing was deleted.
        assert all(each & deleted for each in lost), turn
        assert not any(each & set(got) for each in lost), turn


async def test_excluded_messages_that_the_server_has_lost_hide_no_hole(streams: Streams) -> None:
    # Given a server that crashed and lost the newest of what a receiver has seen
    given = fill(streams, range(100))
    key = streams.key("r")
    dump: Any = None
    streams.client.delete(key)
    with streams.client.pipeline(transaction=False) as pipe:
        for i, each in enumerate(given[:90]):
            message = Envelope(f"00000000000000bb-{i + 1:x}", None, i + 1, "00000000", {}, codec.encode({"value": i}))
            pipe.execute_command("XADD", key, str(keys.entry_of_message_key(key, each)), *to_fields(message))
        pipe.pexpire(key, 60_000)
        dump = pipe.execute()
    assert len(dump) == 91
    fill(streams, range(100, 110))
    # When that receiver had left one out
    left_out = given.pop(50)
    # Then it is yielded, whatever the number of entries says
    assert left_out
    assert await received(exclude_keys=given) == [50, *range(100, 110)]


async def test_keys_of_other_channels_and_runs_exclude_nothing(streams: Streams) -> None:
    fill(streams, range(5))
    other = fill(streams, range(100), "other")
    assert await received(exclude_keys=other) == [0, 1, 2, 3, 4]
    assert await received(exclude_keys=["nonsense", ""]) == [0, 1, 2, 3, 4]


async def test_a_key_excludes_a_message_of_its_own_channel_only() -> None:
    # Two channels of one run have messages of one ID all the time: it is the millisecond
    sent = [send_input(value, "r") for i in range(30) for value in (i, str(i))]
    found = [await each for each in sent]
    ints = [each.key for each in found if each.key.startswith("int")]
    assert await received(int | str, key_prefix=None, exclude_keys=ints) == [str(i) for i in range(30)]  # type: ignore[arg-type]


async def test_what_comes_while_an_excluding_receiver_waits_is_yielded(streams: Streams) -> None:
    given = fill(streams, range(100))
    async with receive_input(
        int, flow_run_id="r", key_prefix=CHANNEL, timeout=10, poll_interval=10, exclude_keys=given
    ) as receiver:
        with pytest.raises(TimeoutError):
            await receive_input(int, flow_run_id="r", key_prefix=CHANNEL, timeout=0.05, exclude_keys=given).next()
        await send_input(100, "r", key_prefix=CHANNEL)
        assert await receiver.next() == 100
        sent = await send_input(101, "r", key_prefix=CHANNEL)
        assert await receiver.next() == 101
        assert sent.key not in given


# --- after ------------------------------------------------------------------------------------------------


async def test_a_replay_begins_behind_a_key(streams: Streams) -> None:
    given = fill(streams, range(10))
    for place, key in enumerate(given):
        assert await received(after=key) == list(range(place + 1, 10))


async def test_a_replay_begins_behind_a_message_that_was_deleted_since(streams: Streams) -> None:
    given = fill(streams, range(5))
    streams.client.xdel(streams.key("r"), str(keys.entry_of_message_key(streams.key("r"), given[2])))
    assert await received(after=given[2]) == [3, 4]


async def test_after_costs_what_stands_behind_it(streams: Streams, client: redis.Redis) -> None:
    given = fill(streams, range(20_000))
    cost = Cost(client)
    assert await received(after=given[-6]) == list(range(19_995, 20_000))
    cost.check(reads=5, size=20_000)


async def test_after_and_excluded_keys_together(streams: Streams) -> None:
    given = fill(streams, range(100))
    assert await received(after=given[89], exclude_keys=given[:95]) == [95, 96, 97, 98, 99]
    assert await received(after=given[89], exclude_keys=given[91:95]) == [90, 95, 96, 97, 98, 99]


@pytest.mark.parametrize("key", ["", "nonsense", "numbers-1-0-00000000", "numbers-x-y-12345678"])
async def test_a_key_that_is_none_of_the_channel_is_refused_at_the_call(key: str, streams: Streams) -> None:
    fill(streams, range(3))
    with pytest.raises(InvalidKeyError, match="after"):
        receive_input(int, flow_run_id="r", key_prefix=CHANNEL, after=key)


async def test_a_key_of_another_run_is_refused(streams: Streams) -> None:
    (other,) = fill(streams, range(1), "other")
    with pytest.raises(InvalidKeyError):
        receive_input(int, flow_run_id="r", key_prefix=CHANNEL, after=other)


async def test_one_key_of_several_channels_resumes_all_of_them_without_a_loss() -> None:
    sent = [send_input(value, "r") for i in range(20) for value in (i, str(i))]
    for each in sent:
        await each
    async with receive_input(int | str, flow_run_id="r", timeout=5, with_metadata=True) as receiver:
        found = [await receiver.next() for _ in range(40)]
    for place in range(40):
        rest = await received(int | str, key_prefix=None, after=found[place].metadata.key)  # type: ignore[arg-type]
        # Of another channel, one that was stored in the same millisecond may come once more: rather that than never.
        now = found[place].metadata.sent_at
        again = [each.value for each in found[: place + 1] if each.metadata.sent_at == now]
        assert [value for value in rest if value not in again] == [each.value for each in found[place + 1 :]]
        assert found[place].value not in rest
