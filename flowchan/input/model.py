"""A model that travels: sent to a run, received by it, responded to."""

from __future__ import annotations

import copy
import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, Self, TypeVar, cast
from uuid import UUID

import pydantic
from pydantic import BaseModel, ConfigDict

from flowchan.errors import RespondError
from flowchan.input.body import is_made_for_a_type
from flowchan.input.keyset import Keyset, keyset_from_base_key
from flowchan.input.metadata import FlowRunInput, RunInputMetadata, metadata_of
from flowchan.input.receiver import InputReceiver
from flowchan.input.receiving import HOUR, POLL, receiver_of
from flowchan.input.sending import deliver
from flowchan.input.stored import fetch_response, store_schema
from flowchan.input.terms import OnInvalid
from flowchan.input.types import class_name
from flowchan.wire import keys

R = TypeVar("R", bound="RunInput")


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
        stream, entry, sender, _, count = received
        return metadata_of(stream, entry, sender, count)

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
        return store_schema(cls, cls.__flowchan_description__, keyset, flow_run_id)

    @classmethod
    def load(cls, keyset: Keyset, flow_run_id: UUID | str | None = None) -> Awaitable[Self]:
        """The response that is stored with a run, as an instance; ``cls()`` where there is none.

        Raises:
            MissingRunError: no run was named, and the caller is in none.
            ValidationError: the response does not fit, or there is none and fields are required.
        """

        def made(response: bytes | None, metadata: RunInputMetadata) -> Any:
            instance = cls() if response is None else cls.model_validate_json(response)
            _remember(instance, metadata)
            return cls._delivered(instance)

        return cast("Awaitable[Self]", fetch_response(keyset, flow_run_id, made))

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
        return cast("Awaitable[RunInputMetadata]", deliver(self, flow_run_id, sender, key_prefix, None))

    @classmethod
    def receive(
        cls,
        timeout: float | None = HOUR,
        poll_interval: float = POLL,
        raise_timeout_error: bool = True,
        exclude_keys: Iterable[str] | None = None,
        key_prefix: str | None = None,
        flow_run_id: UUID | str | None = None,
        group: str | None = None,
        after: str | None = None,
        on_invalid: OnInvalid = "raise",
        max_deliveries: int | None = None,
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
            on_invalid,
            max_deliveries,
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


def _new_upgraded(family: type[RunInput], model_cls: type[BaseModel]) -> type[RunInput]:
    model: Any = pydantic.create_model(
        class_name(model_cls), __base__=(family, model_cls), __module__=model_cls.__module__
    )
    model.__doc__ = model_cls.__doc__
    return cast("type[RunInput]", model)


# Declared as it is called: lru_cache itself wants a Hashable, which type[object] is not in the eyes of a type checker.
_upgraded: Callable[[type[RunInput], type[BaseModel]], type[RunInput]] = functools.lru_cache(1024)(_new_upgraded)


def _remember(instance: RunInput, received: RunInputMetadata) -> None:
    object.__setattr__(instance, "_received", received)


def _with_metadata_of(original: R, duplicate: R) -> R:
    received = getattr(original, "_received", None)
    if received is not None:
        object.__setattr__(duplicate, "_received", received)
    return duplicate
