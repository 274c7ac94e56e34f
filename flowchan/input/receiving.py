"""A receive: which run and which channels it is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel

from flowchan.context import run_or_current
from flowchan.input.receiver import InputReceiver
from flowchan.input.terms import OnInvalid, terms_of
from flowchan.input.types import Body, members
from flowchan.settings import current_settings
from flowchan.wire import keys

K = TypeVar("K", bound=InputReceiver[Any])

HOUR = 3600.0
"""For how many seconds a message is waited for by default."""
POLL = 10.0
"""How many seconds one blocking read lasts by default."""


def receiver_of(
    kind: type[K],
    model: type[BaseModel],
    timeout: float | None,
    poll_interval: float,
    raise_timeout_error: bool,
    exclude_keys: Iterable[str] | None,
    key_prefix: str | None,
    flow_run_id: UUID | str | None,
    group: str | None,
    after: str | None,
    on_invalid: OnInvalid,
    max_deliveries: int | None,
    *,
    unwrap: bool,
) -> K:
    """A receiver of a kind, for what a model carries; ``unwrap`` has it yield the ``value`` in it."""
    run = run_or_current(flow_run_id)
    terms = terms_of(group, after, on_invalid, max_deliveries)
    channels: Mapping[str, Body | None]
    if key_prefix is not None:
        channels = {keys.channel_name(key_prefix): None}
    else:
        channels = members(model.__dict__.get("__flowchan_type__", model))
    return kind(
        model,
        channels,
        run,
        current_settings(),
        unwrap=unwrap,
        timeout=timeout,
        poll_interval=poll_interval,
        raise_timeout_error=raise_timeout_error,
        exclude_keys=exclude_keys,
        after=after,
        terms=terms,
    )
