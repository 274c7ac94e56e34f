"""What is known of an input besides its value: its key, its sender, its receiver, when it was stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from flowchan.run import run_of_key
from flowchan.wire import keys
from flowchan.wire.keys import EntryId


class RunInputMetadata(BaseModel):
    """An input's place in its channel, and who put it there."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    key: str
    """The message's key: unique, and what ``exclude_keys`` and ``after`` take."""
    sender: str | None = None
    """``flowchan.flow-run.<id>`` where a run sent it. The client's word, not a proof."""
    receiver: UUID | str
    """The ID of the run that it was sent to."""
    sent_at: datetime
    """When the broker stored it, by the broker's clock, in UTC."""
    delivery_count: int = 1
    """How often it was handed out; more than once only under ``group``."""


class _Later(RunInputMetadata):
    """Metadata whose fields are made when one first looks: most who await a send do not.

    From the first attribute on that is asked for, an instance is an ordinary RunInputMetadata. Whatever Python or
    pydantic does with one (compare, print, copy, pickle, dump) begins with an attribute.
    """

    def __getattribute__(self, name: str) -> Any:
        # In this order, for two threads may look for the first time: made twice it is the same.
        given = object.__getattribute__(self, "__dict__").get("given")
        if given is not None:
            stream, entry, sender = given
            made = metadata_of(stream, EntryId.parse(entry), sender)
            for part in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__", "__dict__"):
                object.__setattr__(self, part, getattr(made, part))
        object.__setattr__(self, "__class__", RunInputMetadata)
        return getattr(self, name)


def metadata_later(stream: str, entry: bytes, sender: str | None) -> RunInputMetadata:
    """As :func:`metadata_of`, of an entry's ID as the server writes it: in a tenth of the time, unless it is looked at."""
    later = _new(_Later)
    _set(later, "given", (stream, entry, sender))
    return later


_new, _set = object.__new__, object.__setattr__


class FlowRunInput(BaseModel):
    """A stored input of a run, in the form in which the documents hand it to ``load_from_flow_run_input``."""

    model_config = ConfigDict(defer_build=True)

    flow_run_id: UUID | str = Field(union_mode="left_to_right")
    key: str
    value: str
    """JSON."""
    sender: str | None = None
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def decoded_value(self) -> Any:
        """What ``value`` says."""
        return json.loads(self.value)


def metadata_of(stream: str, entry: EntryId, sender: str | None, delivery_count: int = 1) -> RunInputMetadata:
    """The metadata of an entry of a stream."""
    return RunInputMetadata(
        key=keys.message_key(stream, entry),
        sender=sender,
        receiver=run_of_key(keys.address(stream).run),
        sent_at=datetime.fromtimestamp(entry.ms / 1000, UTC),
        delivery_count=delivery_count,
    )
