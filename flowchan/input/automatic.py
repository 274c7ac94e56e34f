"""From a type to the RunInput class that carries its values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast, overload
from uuid import UUID

import pydantic

from flowchan.input.model import RunInput
from flowchan.input.receiver import InputReceiver
from flowchan.input.receiving import HOUR, POLL, receiver_of
from flowchan.input.terms import OnInvalid
from flowchan.input.types import Body, body_of, class_name

T = TypeVar("T")


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
        on_invalid: OnInvalid = ...,
        max_deliveries: int | None = ...,
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
        on_invalid: OnInvalid = ...,
        max_deliveries: int | None = ...,
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
        on_invalid: OnInvalid = ...,
        max_deliveries: int | None = ...,
    ) -> InputReceiver[Any]: ...

    @classmethod
    def receive(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
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
            on_invalid,
            max_deliveries,
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


def _new_automatic(family: type[AutomaticRunInput[Any]], annotation: Any) -> type[AutomaticRunInput[Any]]:
    name = class_name(annotation) if isinstance(annotation, type) else f"{_spelt(annotation)}AutomaticRunInput"
    model: Any = pydantic.create_model(name, __base__=family, value=(annotation, ...))
    model.__flowchan_type__ = annotation
    return cast("type[AutomaticRunInput[Any]]", model)


# Declared as it is called: lru_cache itself wants a Hashable, which type[object] is not in the eyes of a type checker.
_automatic: Callable[[type[AutomaticRunInput[Any]], Any], type[AutomaticRunInput[Any]]] = functools.lru_cache(1024)(
    _new_automatic
)


def _spelt(annotation: Any) -> str:
    """A name for an annotation that has none of its own, as the documents' original spells it."""
    return str(getattr(annotation, "__name__", None) or getattr(annotation, "_name", None) or "").lower()
