"""Requests for runs, taken as a server of deployments takes them."""

from __future__ import annotations

import secrets
from uuid import UUID

from flowchan.broker.broker import broker_of_this_loop
from flowchan.broker.records import Taken
from flowchan.deployments import run_deployment
from flowchan.runs import catalogue, store
from flowchan.runs.catalogue import Deployment
from flowchan.settings import current_settings
from flowchan.states import Pending

LEASE = 15.0


async def asked_for(flow: str = "asked") -> tuple[UUID, str]:
    """A deployment that nobody serves, and a run of it that waits."""
    deployment = await catalogue.save(broker_of_this_loop(current_settings()), Deployment(flow, "it"))
    run = await run_deployment(f"{flow}/it", timeout=0)
    return deployment, str(run.id)


async def taken(deployment: UUID) -> Taken | None:
    """What becomes of the oldest request for a deployment's runs; None if there is none."""
    records = broker_of_this_loop(current_settings()).records
    waiting = await records.requests_waiting(str(deployment))
    if not waiting:
        return None
    tag, request = min(waiting.items(), key=lambda each: each[1])
    state = Pending()
    state_id, whole, rest = store.stored(state)
    about = state_id, whole, state.type.value, rest
    return await records.take(str(deployment), tag, request, secrets.token_hex(8), LEASE, about)
