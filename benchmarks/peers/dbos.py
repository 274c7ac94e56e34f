"""DBOS: a workflow a side, that sends to the other's and receives; each of it is a step that is written down.

``interval``: seconds between two looks for a message, or "default": one; PostgreSQL tells of one at once. Synchronous
workflows: the asynchronous ones do the same in threads.
"""

from __future__ import annotations

import uuid

from dbos import DBOS, DBOSConfig, SetWorkflowID

from benchmarks.conversation import NAME, PATIENCE, check, greeting
from benchmarks.orders import at_once, blocking, obey


class Side:
    def __init__(self, mine: str) -> None:
        self._mine = mine

    def open(self) -> str:
        return self._mine

    def meet(self, theirs: str) -> None:
        self._theirs = theirs

    async def ask(self) -> None:
        DBOS.send(self._theirs, NAME)
        check(DBOS.recv(timeout_seconds=PATIENCE))

    async def answer(self) -> None:
        DBOS.send(self._theirs, greeting(DBOS.recv(timeout_seconds=PATIENCE)))


def main(url: str, interval: str) -> None:
    mine = uuid.uuid4().hex
    # A name each, for else the second would take the first's workflow for one of its own that was left behind.
    config: DBOSConfig = {"name": f"bench-{mine}", "executor_id": mine, "system_database_url": url}
    if interval != "default":
        config["notification_listener_polling_interval_sec"] = float(interval)
    DBOS(config=config)

    @DBOS.workflow()
    def conversation() -> None:
        blocking(obey(Side(mine), at_once))

    DBOS.launch()
    with SetWorkflowID(mine):
        conversation()
    DBOS.destroy()
