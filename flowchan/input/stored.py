"""What is stored with a run for a pause: the schema of what it asks for, and the response to it."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from flowchan.broker.broker import Broker
from flowchan.context import run_or_current
from flowchan.dual import asked
from flowchan.input.keyset import Keyset
from flowchan.input.metadata import RunInputMetadata
from flowchan.run import run_of_key
from flowchan.settings import current_settings
from flowchan.wire import keys


def schema_text(model: type[BaseModel]) -> bytes:
    """A model's JSON Schema as it is stored."""
    return json.dumps(model.model_json_schema()).encode()


def store_schema(
    model: type[BaseModel], description: str | None, keyset: Keyset, flow_run_id: UUID | str | None
) -> Awaitable[None]:
    """Store a model's JSON Schema, and a description if there is one, with a run.

    An awaitable in async code; in sync code they have been stored when it returns.
    """
    settings = current_settings()
    key = keys.inputs(settings.namespace, run_or_current(flow_run_id))
    values = {keyset["schema"]: schema_text(model)}
    if description is not None:
        values[keyset["description"]] = description.encode()
    return asked(lambda broker: broker.store(key, values), settings)


def fetch_response(
    keyset: Keyset, flow_run_id: UUID | str | None, made: Callable[[bytes | None, RunInputMetadata], Any]
) -> Awaitable[Any]:
    """What is made of the response that is stored with a run: JSON, or None where there is none.

    An awaitable in async code; in sync code the result.
    """
    run = run_or_current(flow_run_id)
    settings = current_settings()
    key = keys.inputs(settings.namespace, run)

    async def fetched(broker: Broker) -> Any:
        (response,) = await broker.fetch(key, [keyset["response"]])
        metadata = RunInputMetadata.model_validate(
            {"key": keyset["response"], "receiver": run_of_key(run), "sent_at": time.time()}
        )
        return made(response, metadata)

    return asked(fetched, settings)
