"""Ten thousand receivers in one process, under the limits that a user has."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import connections
from tests.support import programs
from tests.support.server import Server
from tests.support.waiting import eventually

PROGRAM = """
    import asyncio, resource, sys
    from flowchan import receive_input, send_input

    COUNT = 10_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))

    async def main():
        loop = asyncio.get_running_loop()
        waits = [loop.create_task(receive_input(int, flow_run_id=f"r{i}", timeout=60).next()) for i in range(COUNT)]
        await loop.run_in_executor(None, sys.stdin.readline)
        for i in range(COUNT):
            await send_input(i, f"r{i}") if i % 1000 == 0 else send_input(i, f"r{i}")
        assert await asyncio.gather(*waits) == list(range(COUNT))
        print("received", flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)

    asyncio.run(main())
"""


@pytest.mark.timeout(120)
def test_ten_thousand_receivers_in_one_process_share_few_connections_and_all_get_their_message(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(append_only=False)
    monkeypatch.setenv("FLOWCHAN_URL", server.url)
    with programs.running(PROGRAM) as program, server.client() as client:
        assert program.stdin is not None
        assert program.stdout is not None

        def all_wait() -> bool:
            reading = [each for each in connections(client) if each["cmd"] == "xreadgroup"]
            created = client.info("commandstats").get("cmdstat_xgroup|create", {"calls": 0})["calls"]
            return len(reading) == 250 and created >= 10_000

        eventually(all_wait, "the wait of all", 60)
        program.stdin.write("go\n")
        program.stdin.flush()
        assert program.stdout.readline() == "received\n"
        assert len(connections(client)) <= 256
        _, errors = program.communicate("end\n", timeout=30)
        assert (program.returncode, errors) == (0, "")
        assert not sum(len(client.xinfo_groups(key)) for key in client.scan_iter("*}:r*", count=1000))  # type: ignore[arg-type]
