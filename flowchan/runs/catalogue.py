"""The deployments of a namespace, as the broker knows them: what is served under which name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from flowchan.broker.broker import Broker
from flowchan.broker.records import fields_of
from flowchan.errors import ObjectNotFound, SignatureError
from flowchan.wire import codec, keys
from flowchan.wire.signing import Keyring

KEPT = 30 * 24 * 3600.0
"""Seconds that a deployment is known after it was served last."""

_NAMES = UUID("6f0cb2a8-6f5f-5f0c-8d0e-5e0f7a6f1c57")


class Deployment(NamedTuple):
    """A flow that servers execute when it is asked for."""

    flow: str
    """The flow's name."""
    name: str
    parameters: bytes | None = None
    """What a run is given where it is given nothing else, as parameters are stored with a run."""
    schema: Mapping[str, Any] | None = None
    """The JSON Schema of the flow's parameters."""
    description: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    retries: int = 0
    """How often a run that failed is tried again."""
    entrypoint: str = ""
    """Where its code is, on the machine that served it last."""
    served: datetime | None = None
    """When a server last said that it is there, in UTC."""

    @property
    def full_name(self) -> str:
        """By which it is asked for: ``flow/name``."""
        return f"{self.flow}/{self.name}"

    def defaults(self) -> dict[str, Any]:
        """The parameters that a run is given where it is given nothing else."""
        if self.parameters is None:
            return {}
        body: Any = codec.decode(self.parameters, max_bytes=len(self.parameters))
        return dict(body["value"])


def id_of(namespace: str, full_name: str) -> UUID:
    """A deployment's ID, which follows from its name."""
    return uuid5(_NAMES, f"{namespace}/{full_name}")


async def save(broker: Broker, deployment: Deployment) -> UUID:
    """Have a deployment known, from now on and for as long as it is saved again; its ID."""
    namespace = broker.settings.namespace
    found = id_of(namespace, deployment.full_name)
    key, where = keys.deployment(namespace, str(found)), f"deployment {deployment.full_name}"
    fields: dict[str, Any] = {
        "flow": deployment.flow,
        "name": deployment.name,
        "parameters": deployment.parameters or b"",
        "schema": json.dumps(deployment.schema) if deployment.schema is not None else "",
        "description": deployment.description or "",
        "version": deployment.version or "",
        "tags": json.dumps(deployment.tags),
        "retries": deployment.retries,
        "entrypoint": deployment.entrypoint,
        "served": datetime.now(UTC).isoformat(),
    }
    keyring = Keyring.of(broker.settings.signing_pairs)
    if keyring is not None:
        fields["signature"] = keyring.sign_deployment(key, deployment.parameters or b"")
    index, kept = keys.deployments(namespace), int(KEPT * 1000)
    commands = [
        ("HSET", key, *(part for field in fields.items() for part in field)),
        ("PEXPIRE", key, kept),
        ("HSET", index, str(found), deployment.full_name),
        ("PEXPIRE", index, kept),
    ]
    await broker.persistent.all(where, commands)
    return found


async def read(broker: Broker, name: UUID | str) -> tuple[UUID, Deployment]:
    """What is known of a deployment, by its ID or its name, and its ID.

    Raises:
        ObjectNotFound: nothing is; says how it comes to be.
        SignatureError: there are signing keys, and none of them has signed the parameters that its runs are given.
    """
    namespace = broker.settings.namespace
    found = _as_id(name) or id_of(namespace, str(name))
    key = keys.deployment(namespace, str(found))
    flat = await broker.persistent.call(f"deployment {name}", "HGETALL", key)
    fields = fields_of(flat)
    if "flow" not in fields:
        raise ObjectNotFound(_unknown(str(name), _as_id(name) is not None))
    keyring = Keyring.of(broker.settings.signing_pairs)
    if keyring is not None:
        try:
            keyring.verify_deployment(fields.get("signature"), key, fields.get("parameters", b""))
        except SignatureError as error:
            raise SignatureError(f"What is known of deployment {name} is refused: {error}") from None
    return found, _deployment(fields)


async def names(broker: Broker) -> dict[UUID, str]:
    """The deployments that are known: their names by their IDs."""
    flat = await broker.persistent.call("deployments", "HGETALL", keys.deployments(broker.settings.namespace))
    return {UUID(found): name.decode() for found, name in fields_of(flat).items()}


def _as_id(name: UUID | str) -> UUID | None:
    try:
        return UUID(str(name))
    except ValueError:
        return None


def _unknown(name: str, is_id: bool) -> str:
    if is_id:
        return f"There is no deployment {name}: it never was, or has not been served for long."
    flow, slash, own = name.rpartition("/")
    if not slash:
        return f"There is no deployment {name!r}: a deployment is called 'flow/name'."
    return (
        f"There is no deployment {name!r}. It is there once the flow {flow!r} was served under that name, by"
        f" flow.serve(name={own!r}), in the namespace and with the broker that are used here."
    )


def _deployment(fields: Mapping[str, bytes]) -> Deployment:
    def text(name: str) -> str | None:
        return fields.get(name, b"").decode() or None

    schema, served = text("schema"), text("served")
    return Deployment(
        flow=fields["flow"].decode(),
        name=fields["name"].decode(),
        parameters=fields.get("parameters") or None,
        schema=json.loads(schema) if schema else None,
        description=text("description"),
        version=text("version"),
        tags=tuple(json.loads(text("tags") or "[]")),
        retries=int(fields.get("retries", b"0")),
        entrypoint=text("entrypoint") or "",
        served=datetime.fromisoformat(served) if served else None,
    )
