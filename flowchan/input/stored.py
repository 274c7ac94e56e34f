"""What is stored with a run for a pause: the schema of what it asks for, and the response to it."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from flowchan.broker.broker import Broker
from flowchan.context import run_or_current
from flowchan.dual import asked
from flowchan.errors import SignatureError
from flowchan.input.keyset import Keyset
from flowchan.input.metadata import RunInputMetadata
from flowchan.run import run_of_key
from flowchan.settings import Settings, current_settings
from flowchan.wire import keys
from flowchan.wire.signing import Keyring


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
    keyset: Keyset,
    flow_run_id: UUID | str | None,
    made: Callable[[bytes | None, RunInputMetadata], Any],
    question: UUID | None = None,
) -> Awaitable[Any]:
    """What is made of the response that is stored with a run: JSON, or None where there is none.

    An awaitable in async code; in sync code the result. ``question`` is as for :func:`response_of`.

    Raises:
        SignatureError: there are signing keys, and none of them has signed it.
    """
    run = run_or_current(flow_run_id)
    settings = current_settings()

    async def fetched(broker: Broker) -> Any:
        response = await response_of(broker, run, keyset, question)
        metadata = RunInputMetadata.model_validate(
            {"key": keyset["response"], "receiver": run_of_key(run), "sent_at": time.time()}
        )
        return made(response, metadata)

    return asked(fetched, settings)


async def response_of(broker: Broker, run: str, keyset: Keyset, question: UUID | None = None) -> bytes | None:
    """The response that is stored with a run; None where there is none.

    ``question`` is the ID of the state in which the run waited for it, where it must be the response to that.

    Raises:
        SignatureError: there are signing keys, and it was not signed with one of them, or not for this.
    """
    key, name = keys.inputs(broker.settings.namespace, run), keyset["response"]
    response, signature = await broker.fetch(key, [name, _signature(name)])
    keyring = Keyring.of(broker.settings.signing_pairs)
    if keyring is not None and (response is not None or question is not None):
        asked_by = str(question) if question is not None else None
        try:
            # One that should be there and is not: the run was resumed by somebody who could not sign.
            keyring.verify_answer(signature, key, name, response or b"", question=asked_by)
        except SignatureError as error:
            raise SignatureError(f"The response {name!r} of run {run} is refused: {error}", key=name) from None
    return response


def response_fields(
    settings: Settings, run: str, keyset: Keyset, question: UUID, response: bytes
) -> Mapping[str, bytes]:
    """What is stored for a response: itself, and its signature where there are signing keys."""
    key, name = keys.inputs(settings.namespace, run), keyset["response"]
    keyring = Keyring.of(settings.signing_pairs)
    if keyring is None:
        return {name: response}
    return {name: response, _signature(name): keyring.sign_answer(key, name, str(question), response)}


def _signature(response: str) -> str:
    """The field of a response's signature: no keyset has one of that name."""
    return f"{response}.sig"
