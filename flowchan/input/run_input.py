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

import copy
import functools
import json
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar, cast, overload
from uuid import UUID

import pydantic
from pydantic import BaseModel, ConfigDict

from flowchan import bridge
from flowchan.broker.broker import Broker, broker_of_this_loop
from flowchan.context import calls_are_async, run_or_current
from flowchan.errors import RespondError
from flowchan.input.body import is_made_for_a_type
from flowchan.input.keyset import Keyset, keyset_from_base_key, keyset_from_paused_state
from flowchan.input.metadata import FlowRunInput, RunInputMetadata, metadata_of, run_of_key
from flowchan.input.receiver import InputReceiver
from flowchan.input.sending import deliver
from flowchan.input.types import Body, body_of, class_name, members, unwraps
from flowchan.settings import current_settings
from flowchan.wire import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound="RunInput")
K = TypeVar("K", bound=InputReceiver[Any])

_HOUR = 3600.0
_POLL = 10.0


class RunInput(BaseModel):
    """A model that can be sent to a run, received by one, and asked for by one that pauses.

    Every verb is awaited in async code and blocks in sync code; a send is on its way when the call returns.
    """

    model_config = ConfigDict(extra="forbid")

    # A slot, not a private attribute: those cost a microsecond for each instance.
    __slots__ = ("_received",)
    __flowchan_input__: ClassVar[bool] = True
    __flowchan_description__: ClassVar[str | None] = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "metadata" in cls.model_fields:
            # A field of the model's own. The property would be asked first; this is not.
            cls.metadata = None  # type: ignore[assignment,method-assign]

    @property
    def metadata(self) -> RunInputMetadata:
        """The input's key, sender, receiver and time.

        Raises:
            AttributeError: the instance was neither received nor loaded.
        """
        try:
            received: Any = object.__getattribute__(self, "_received")
        except AttributeError:
            raise AttributeError(
                f"This {type(self).__name__} has no metadata: it was neither received nor loaded, but made here."
            ) from None
        if isinstance(received, RunInputMetadata):
            return received
        # What a receiver leaves here is cheap to keep; the rest is made for those who ask.
        stream, entry, sender, _ = received
        return metadata_of(stream, entry, sender)

    @classmethod
    def keyset_from_type(cls) -> Keyset:
        """The keyset named after this class: of ``cls.__name__.lower()``."""
        return keyset_from_base_key(cls.__name__.lower())

    @classmethod
    def save(cls, keyset: Keyset, flow_run_id: UUID | str | None = None) -> Awaitable[None]:
        """Store this class's JSON Schema, and its description if there is one, with a run.

        Storing the same again is fine.

        Raises:
            MissingRunError: no run was named, and the caller is in none.
        """
        settings = current_settings()
        key = keys.inputs(settings.namespace, run_or_current(flow_run_id))
        values = {keyset["schema"]: json.dumps(cls.model_json_schema()).encode()}
        if cls.__flowchan_description__ is not None:
            values[keyset["description"]] = cls.__flowchan_description__.encode()
        return _awaited_or_done(lambda broker: broker.store(key, values))

    @classmethod
    def load(cls, keyset: Keyset, flow_run_id: UUID | str | None = None) -> Awaitable[Self]:
        """The response that is stored with a run, as an instance; ``cls()`` where there is none.

        Raises:
            MissingRunError: no run was named, and the caller is in none.
            ValidationError: the response does not fit, or there is none and fields are required.
        """
        run = run_or_current(flow_run_id)
        key = keys.inputs(current_settings().namespace, run)

        async def fetched(broker: Broker) -> Any:
            (response,) = await broker.fetch(key, [keyset["response"]])
            instance = cls() if response is None else cls.model_validate_json(response)
            _remember(
                instance,
                RunInputMetadata.model_validate(
                    {
                        "key": keyset["response"],
                        "receiver": run_of_key(run),
                        "sent_at": _now(),
                    }
                ),
            )
            return cls._delivered(instance)

        return cast("Awaitable[Self]", _awaited_or_done(fetched))

    @classmethod
    def load_from_flow_run_input(cls, flow_run_input: FlowRunInput) -> Self:
        """An instance from a stored input, with its metadata.

        Raises:
            ValidationError: the input does not fit this class.
        """
        instance = cls.model_validate_json(flow_run_input.value)
        metadata = RunInputMetadata(
            key=flow_run_input.key,
            sender=flow_run_input.sender,
            receiver=flow_run_input.flow_run_id,
            sent_at=flow_run_input.created,
        )
        _remember(instance, metadata)
        return instance

    @classmethod
    def with_initial_data(cls, description: str | None = None, **kwargs: Any) -> type[Self]:
        """A subclass of the same name with new defaults for its fields, and a description in Markdown.

        The fields keep their annotations and constraints. Calls can be chained: they add up.
        """
        fields: dict[str, Any] = {}
        for name, default in kwargs.items():
            known = cls.model_fields.get(name)
            if known is None:
                fields[name] = (type(default), default)
                continue
            field = copy.copy(known)
            field.default, field.default_factory = default, None
            # pydantic merges what stands in here, not what the attributes say.
            given = {**known._attributes_set, "default": default}  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            given.pop("default_factory", None)
            field._attributes_set = given  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            fields[name] = (known.annotation, field)
        model: Any = pydantic.create_model(cls.__name__, __base__=cls, __module__=cls.__module__, **fields)
        model.__doc__ = cls.__doc__
        if description is not None:
            model.__flowchan_description__ = description
        if is_made_for_a_type(cls):
            model.__flowchan_type__ = cls.__dict__["__flowchan_type__"]
        return cast("type[Self]", model)

    def respond(
        self, run_input: Any, sender: str | None = None, key_prefix: str | None = None
    ) -> Awaitable[RunInputMetadata]:
        """Send a model or a plain value to the run that sent this input.

        Raises:
            RespondError: it was not sent by a run.
            EncodeError, MessageTooLarge, InvalidKeyError: as :func:`send_input`.
        """
        received: Any = getattr(self, "_received", None)
        source = received.sender if isinstance(received, RunInputMetadata) else received[2] if received else None
        run = keys.run_of_sender(source)
        if run is None:
            raise RespondError
        settings = received[3] if isinstance(received, tuple) else None
        return cast("Awaitable[RunInputMetadata]", deliver(run_input, run, sender, key_prefix, None, settings))

    def send_to(
        self, flow_run_id: UUID | str, sender: str | None = None, key_prefix: str | None = None
    ) -> Awaitable[RunInputMetadata]:
        """Send this instance to a run; as :func:`send_input`."""
        return send_input(self, flow_run_id, sender, key_prefix)

    @classmethod
    def receive(
        cls,
        timeout: float | None = _HOUR,
        poll_interval: float = _POLL,
        raise_timeout_error: bool = True,
        exclude_keys: Iterable[str] | None = None,
        key_prefix: str | None = None,
        flow_run_id: UUID | str | None = None,
        group: str | None = None,
        after: str | None = None,
    ) -> InputReceiver[Self]:
        """Receive what a run is sent of this class; as :func:`receive_input`."""
        return receiver_of(
            InputReceiver,
            cls,
            timeout,
            poll_interval,
            raise_timeout_error,
            exclude_keys,
            key_prefix,
            flow_run_id,
            group,
            after,
            unwrap=False,
        )

    @classmethod
    def subclass_from_base_model_type(cls, model_cls: type[BaseModel]) -> type[RunInput]:
        """``<Name>RunInput``: a RunInput that is the given model too. The model's own config and fields win.

        The same model gives the same class each time.
        """
        return _upgraded(cls, model_cls)

    @classmethod
    def _delivered(cls, instance: Any) -> Any:
        return instance

    def __copy__(self) -> Self:
        return _with_metadata_of(self, super().__copy__())

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return _with_metadata_of(self, super().__deepcopy__(memo))


class AutomaticRunInput(RunInput, Generic[T]):
    """The RunInput that flowchan makes for a plain type: it has one field, ``value``.

    ``AutomaticRunInput[str]`` is the class that carries what is sent as a plain ``str``: sending an instance
    of it is sending its value, and it receives what a sender of a ``str`` sends. A subclass with a name of
    its own has a channel of its own, as any RunInput has.
    """

    __flowchan_type__: ClassVar[Any] = Any

    value: T

    @classmethod
    def __class_getitem__(cls, _type: Any) -> Any:
        """The class for a type; where the type is a parameter, pydantic's generic one."""
        is_open = isinstance(_type, TypeVar) or (
            not isinstance(_type, type) and bool(getattr(_type, "__parameters__", ()))
        )
        if is_open or cls.__dict__.get("__flowchan_type__") is not Any:
            return super().__class_getitem__(_type)  # pyright: ignore[reportArgumentType]
        return cls.subclass_from_type(_type)

    @classmethod
    def subclass_from_type(cls, _type: Any) -> type[AutomaticRunInput[Any]]:
        """``<type>AutomaticRunInput``: a RunInput whose ``value`` is of the given type.

        The same type gives the same class each time.
        """
        try:
            return _automatic(cls, _type)
        except TypeError:  # an annotation that cannot be hashed, such as one with a list in its metadata
            return _new_automatic(cls, _type)

    @overload  # type: ignore[override]
    @classmethod
    def receive(
        cls,
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
    ) -> InputReceiver[Self]: ...

    @overload
    @classmethod
    def receive(
        cls,
        timeout: float | None = ...,
        poll_interval: float = ...,
        raise_timeout_error: bool = ...,
        exclude_keys: Iterable[str] | None = ...,
        key_prefix: str | None = ...,
        flow_run_id: UUID | str | None = ...,
        with_metadata: Literal[False] = ...,
        group: str | None = ...,
        after: str | None = ...,
    ) -> InputReceiver[T]: ...

    @overload
    @classmethod
    def receive(
        cls,
        timeout: float | None = ...,
        poll_interval: float = ...,
        raise_timeout_error: bool = ...,
        exclude_keys: Iterable[str] | None = ...,
        key_prefix: str | None = ...,
        flow_run_id: UUID | str | None = ...,
        with_metadata: bool = ...,
        group: str | None = ...,
        after: str | None = ...,
    ) -> InputReceiver[Any]: ...

    @classmethod
    def receive(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        timeout: float | None = _HOUR,
        poll_interval: float = _POLL,
        raise_timeout_error: bool = True,
        exclude_keys: Iterable[str] | None = None,
        key_prefix: str | None = None,
        flow_run_id: UUID | str | None = None,
        with_metadata: bool = False,
        group: str | None = None,
        after: str | None = None,
    ) -> InputReceiver[Any]:
        """Receive bare values, or with ``with_metadata=True`` the instances that hold them."""
        return receiver_of(
            InputReceiver,
            cls,
            timeout,
            poll_interval,
            raise_timeout_error,
            exclude_keys,
            key_prefix,
            flow_run_id,
            group,
            after,
            unwrap=not with_metadata,
        )

    @classmethod
    def _delivered(cls, instance: Any) -> Any:
        return instance.value


def run_input_subclass_from_type(_type: Any) -> type[RunInput]:
    """The RunInput class for a type: a RunInput itself, a BaseModel upgraded, anything else automatic.

    The same type gives the same class each time.
    """
    return model_of(_type, RunInput, AutomaticRunInput)


def model_of(_type: Any, family: type[RunInput], automatic: type[AutomaticRunInput[Any]]) -> type[RunInput]:
    """As :func:`run_input_subclass_from_type`, with the classes to make the new one of."""
    if isinstance(_type, type) and body_of(_type) is Body.FIELDS:
        model: type[Any] = _type
        return model if issubclass(model, RunInput) else family.subclass_from_base_model_type(model)
    return automatic.subclass_from_type(_type)


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
            process it comes, and returns the first one's metadata.

    Returns:
        The metadata of what was stored.

    Raises:
        InvalidKeyError: the run's ID or the channel can be none.
        EncodeError: the value cannot be serialised; names the type and the path.
        MessageTooLarge: it takes more than ``FLOWCHAN_MAX_MESSAGE_BYTES``.
        SendQueueFull: too many sends wait already.
        BrokerUnavailable, BrokerRefused, SendOutcomeUnknown: from the ``await``, or the sync call.
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
) -> InputReceiver[Any]: ...


def receive_input(
    input_type: Any,
    timeout: float | None = _HOUR,
    poll_interval: float = _POLL,
    raise_timeout_error: bool = True,
    exclude_keys: Iterable[str] | None = None,
    key_prefix: str | None = None,
    flow_run_id: UUID | str | None = None,
    with_metadata: bool = False,
    group: str | None = None,
    after: str | None = None,
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
        group: not available yet.
        after: the key of the message behind which to begin.

    Raises:
        MissingRunError: no run was named, and the caller is in none.
        InvalidKeyError: a name or key can be none.
        TypeError: the channel cannot be derived from the type; give ``key_prefix``.
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
        unwrap=unwraps(input_type) and not with_metadata,
    )


def receiver_of(
    kind: type[K],
    model: type[RunInput],
    timeout: float | None,
    poll_interval: float,
    raise_timeout_error: bool,
    exclude_keys: Iterable[str] | None,
    key_prefix: str | None,
    flow_run_id: UUID | str | None,
    group: str | None,
    after: str | None,
    *,
    unwrap: bool,
) -> K:
    """A receiver of a kind, for what a model carries; ``unwrap`` has it yield the ``value`` in it."""
    run = run_or_current(flow_run_id)
    if group is not None:
        raise NotImplementedError("Named groups are not available yet: leave group out.")
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
    )


def _new_upgraded(family: type[RunInput], model_cls: type[BaseModel]) -> type[RunInput]:
    model: Any = pydantic.create_model(
        class_name(model_cls), __base__=(family, model_cls), __module__=model_cls.__module__
    )
    model.__doc__ = model_cls.__doc__
    return cast("type[RunInput]", model)


def _new_automatic(family: type[AutomaticRunInput[Any]], annotation: Any) -> type[AutomaticRunInput[Any]]:
    name = class_name(annotation) if isinstance(annotation, type) else f"{_spelt(annotation)}AutomaticRunInput"
    model: Any = pydantic.create_model(name, __base__=family, value=(annotation, ...))
    model.__flowchan_type__ = annotation
    return cast("type[AutomaticRunInput[Any]]", model)


# Declared as they are called: lru_cache itself wants a Hashable, which type[object] is not in the eyes of a type checker.
_upgraded: Callable[[type[RunInput], type[BaseModel]], type[RunInput]] = functools.lru_cache(1024)(_new_upgraded)
_automatic: Callable[[type[AutomaticRunInput[Any]], Any], type[AutomaticRunInput[Any]]] = functools.lru_cache(1024)(
    _new_automatic
)


def _spelt(annotation: Any) -> str:
    """A name for an annotation that has none of its own, as the documents' original spells it."""
    return str(getattr(annotation, "__name__", None) or getattr(annotation, "_name", None) or "").lower()


def _awaited_or_done(ask: Callable[[Broker], Awaitable[Any]]) -> Awaitable[Any]:
    """An awaitable in async code; in sync code, the result."""
    settings = current_settings()
    if calls_are_async():
        return ask(broker_of_this_loop(settings))
    return cast("Awaitable[Any]", bridge.call(ask, settings))


def _remember(instance: RunInput, received: RunInputMetadata) -> None:
    object.__setattr__(instance, "_received", received)


def _with_metadata_of(original: R, duplicate: R) -> R:
    received = getattr(original, "_received", None)
    if received is not None:
        object.__setattr__(duplicate, "_received", received)
    return duplicate


def _now() -> float:
    import time  # noqa: PLC0415

    return time.time()


__all__ = [
    "AutomaticRunInput",
    "FlowRunInput",
    "InputReceiver",
    "Keyset",
    "RunInput",
    "RunInputMetadata",
    "keyset_from_base_key",
    "keyset_from_paused_state",
    "receive_input",
    "run_input_subclass_from_type",
    "send_input",
]
