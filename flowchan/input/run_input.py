"""Typed inputs of a run: sent to it and received by it while it runs, or given when it resumes.

A ``RunInput`` is a pydantic model that can be sent to a run, received by one, and responded to::

    class NumberData(RunInput):
        number: int

    @flow
    async def receiver_flow():
        async for data in NumberData.receive():
            await data.respond(NumberData(number=data.number ** 2))

Plain values need no class: :func:`send_input` and :func:`receive_input` make one for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, Literal, TypeVar, cast, overload
from uuid import UUID

from pydantic import BaseModel

from flowchan.input.automatic import AutomaticRunInput, run_input_subclass_from_type
from flowchan.input.dead_letters import DeadLetter, read_dead_letters
from flowchan.input.keyset import Keyset, keyset_from_base_key, keyset_from_paused_state
from flowchan.input.metadata import FlowRunInput, RunInputMetadata
from flowchan.input.model import RunInput
from flowchan.input.receiver import InputReceiver
from flowchan.input.receiving import HOUR, POLL, receiver_of
from flowchan.input.sending import deliver
from flowchan.input.terms import OnInvalid
from flowchan.input.types import unwraps

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def send_input(
    run_input: Any,
    flow_run_id: UUID | str,
    sender: str | None = None,
    key_prefix: str | None = None,
    idempotency_key: str | None = None,
) -> Awaitable[RunInputMetadata]:
    """Send a RunInput, a model, or any value that pydantic can serialise, to a run.

    Guarantees: in async code the send is on its way when the call returns, awaited or not, and ``await``
    waits until the broker has stored it; in sync code it has been stored when the call returns. Sends of
    one task to one channel keep their order. The run need not exist yet: the stream holds the message.

    Args:
        run_input: what to send. Values keep their types: bytes, datetimes, UUIDs, Decimals, sets, tuples.
        flow_run_id: the run to send to.
        sender: who sends; by default ``flowchan.flow-run.<id>`` of the current run, if there is one.
        key_prefix: the channel; by default ``<class name lower>-auto``.
        idempotency_key: a second send to this channel with the same key stores nothing, from whatever
            process it comes, and returns the first one's metadata. ``SendOutcomeUnknown``
            has one that stands for that send; what looks like a message ID is taken for one.

    Returns:
        The metadata of what was stored.

    Raises:
        InvalidKeyError: the run's ID or the channel can be none.
        EncodeError: the value cannot be serialised; names the type and the path.
        MessageTooLarge: it takes more than ``FLOWCHAN_MAX_MESSAGE_BYTES``.
        SendQueueFull: too many sends wait already.
        BrokerUnavailable, BrokerRefused, SendOutcomeUnknown: from the ``await``, or the sync call.
        ChannelFull: likewise; ``FLOWCHAN_MAX_CHANNEL_LENGTH`` messages wait in the channel.
    """
    return cast("Awaitable[RunInputMetadata]", deliver(run_input, flow_run_id, sender, key_prefix, idempotency_key))


@overload
def receive_input(  # type: ignore[overload-overlap] # a model is a T, too: the first that fits holds
    input_type: type[M],
    timeout: float | None = ...,
    poll_interval: float = ...,
    raise_timeout_error: bool = ...,
    exclude_keys: Iterable[str] | None = ...,
    key_prefix: str | None = ...,
    flow_run_id: UUID | str | None = ...,
    with_metadata: bool = ...,
    group: str | None = ...,
    after: str | None = ...,
    on_invalid: OnInvalid = ...,
    max_deliveries: int | None = ...,
) -> InputReceiver[M]: ...


@overload
def receive_input(
    input_type: type[T],
    timeout: float | None = ...,
    poll_interval: float = ...,
    raise_timeout_error: bool = ...,
    exclude_keys: Iterable[str] | None = ...,
    key_prefix: str | None = ...,
    flow_run_id: UUID | str | None = ...,
    *,
    with_metadata: Literal[True],
    group: str | None = ...,
    after: str | None = ...,
    on_invalid: OnInvalid = ...,
    max_deliveries: int | None = ...,
) -> InputReceiver[AutomaticRunInput[T]]: ...


@overload
def receive_input(
    input_type: type[T],
    timeout: float | None = ...,
    poll_interval: float = ...,
    raise_timeout_error: bool = ...,
    exclude_keys: Iterable[str] | None = ...,
    key_prefix: str | None = ...,
    flow_run_id: UUID | str | None = ...,
    with_metadata: Literal[False] = ...,
    group: str | None = ...,
    after: str | None = ...,
    on_invalid: OnInvalid = ...,
    max_deliveries: int | None = ...,
) -> InputReceiver[T]: ...


@overload
def receive_input(
    input_type: Any,
    timeout: float | None = ...,
    poll_interval: float = ...,
    raise_timeout_error: bool = ...,
    exclude_keys: Iterable[str] | None = ...,
    key_prefix: str | None = ...,
    flow_run_id: UUID | str | None = ...,
    with_metadata: bool = ...,
    group: str | None = ...,
    after: str | None = ...,
    on_invalid: OnInvalid = ...,
    max_deliveries: int | None = ...,
) -> InputReceiver[Any]: ...


def receive_input(
    input_type: Any,
    timeout: float | None = HOUR,
    poll_interval: float = POLL,
    raise_timeout_error: bool = True,
    exclude_keys: Iterable[str] | None = None,
    key_prefix: str | None = None,
    flow_run_id: UUID | str | None = None,
    with_metadata: bool = False,
    group: str | None = None,
    after: str | None = None,
    on_invalid: OnInvalid = "raise",
    max_deliveries: int | None = None,
) -> InputReceiver[Any]:
    """Receive what a run is sent of one type: all messages from the first, then each as it comes.

    Guarantees: oldest first, each once; nothing is consumed, so every call begins anew and two receivers
    do not take each other's messages. A message is pushed: it never waits for a poll.

    Args:
        input_type: a RunInput class, a model class (you get instances of both), or any other type that
            pydantic validates (you get bare values). Unions receive what is sent of each member.
        timeout: seconds allowed for each message. None: no limit. 0: only what is there already.
        poll_interval: the longest, in seconds, that one blocking read lasts before the connection is
            looked at.
        raise_timeout_error: whether a loop raises TimeoutError when time is up, or just ends.
        exclude_keys: keys of messages that are not to be yielded.
        key_prefix: the channel; by default derived from the type.
        flow_run_id: the run whose messages to receive; by default the current one.
        with_metadata: for plain types, yield the ``AutomaticRunInput`` with ``value`` and ``metadata``.
        group: the name of a group whose receivers share the messages, in this process or others. Its position is the
            broker's and outlives them. A message is acknowledged when its receiver asks for the next, or by
            ``ack()``; one whose receiver died comes to another, and ``metadata.delivery_count`` says how often.
        after: the key of the message behind which to begin. Across the channels of a union, another message of
            the same millisecond may come again.
        on_invalid: under ``group``, what becomes of a message that does not fit the type or cannot be read.
            ``"raise"``: it is raised, once, and acknowledged. ``"skip"``: it is acknowledged, and a warning says so in
            the log. ``"dead-letter"``: it becomes a dead letter (:func:`read_dead_letters`). With the last two the wait
            goes on, within the same ``timeout``.
        max_deliveries: under ``group``, how often a message is handed out at most. One that was, and was never
            acknowledged, becomes a dead letter. None: no limit.

    Raises:
        MissingRunError: no run was named, and the caller is in none.
        InvalidKeyError: a name or key can be none.
        TypeError: the channel cannot be derived from the type; give ``key_prefix``.
        ValueError: ``after`` with a ``group``; ``on_invalid`` or ``max_deliveries`` without one.
    """
    return receiver_of(
        InputReceiver,
        run_input_subclass_from_type(input_type),
        timeout,
        poll_interval,
        raise_timeout_error,
        exclude_keys,
        key_prefix,
        flow_run_id,
        group,
        after,
        on_invalid,
        max_deliveries,
        unwrap=unwraps(input_type) and not with_metadata,
    )


__all__ = [
    "AutomaticRunInput",
    "DeadLetter",
    "FlowRunInput",
    "InputReceiver",
    "Keyset",
    "RunInput",
    "RunInputMetadata",
    "keyset_from_base_key",
    "keyset_from_paused_state",
    "read_dead_letters",
    "receive_input",
    "run_input_subclass_from_type",
    "send_input",
]
