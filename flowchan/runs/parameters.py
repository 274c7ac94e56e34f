"""A flow's parameters: bound as Python binds them, made the types that the function wants, stored with the run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pydantic
import pydantic_core

from flowchan.errors import EncodeError, ParameterBindError, ParameterTypeError
from flowchan.input.body import body_of_value

_KEPT = 16 * 1024
"""Bytes of parameters that are kept for people to read, with a run that is called."""


def bound(name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a function's parameters would be, by their names, defaults included.

    Raises:
        ParameterBindError: it cannot be called so.
    """
    try:
        arguments = inspect.signature(fn).bind(*args, **kwargs)
    except TypeError as error:
        raise ParameterBindError(f"Flow {name!r} cannot be called with these parameters: {error}.") from None
    arguments.apply_defaults()
    return dict(arguments.arguments)


def arguments_of(fn: Callable[..., Any], parameters: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a function is called with parameters by their names."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    left = dict(parameters)
    for name, parameter in inspect.signature(fn).parameters.items():
        if name not in left:
            continue
        value = left.pop(name)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            args.append(value)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            args.extend(value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs.update(value)
        else:
            kwargs[name] = value
    return tuple(args), {**kwargs, **left}


def validated(
    name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> inspect.BoundArguments:
    """The arguments, each made the type that it is annotated with.

    Raises:
        ParameterTypeError: one cannot be; names it, and says why.
    """
    try:
        args, kwargs = _validator(fn)(*args, **kwargs)
    except pydantic.ValidationError as error:
        names = list(inspect.signature(fn).parameters)
        problems = [
            f"{_path(problem['loc'], names)}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise ParameterTypeError(
            f"Flow {name!r} was called with parameters that do not fit: {'; '.join(problems)}."
        ) from None
    return inspect.signature(fn).bind(*args, **kwargs)


def validated_by_name(name: str, fn: Callable[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters by their names, each made the type that it is annotated with.

    Raises:
        ParameterBindError: one is missing, or there is none of that name.
        ParameterTypeError: one does not fit.
    """
    known = inspect.signature(fn).parameters
    kinds = {each.kind for each in known.values()}
    unknown = [each for each in parameters if each not in known]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        raise ParameterBindError(f"Flow {name!r} has no parameter {unknown[0]!r}.")
    args, kwargs = arguments_of(fn, parameters)
    bound(name, fn, args, kwargs)
    arguments = validated(name, fn, args, kwargs)
    arguments.apply_defaults()
    return dict(arguments.arguments)


def schema_of(fn: Callable[..., Any]) -> dict[str, Any] | None:
    """The JSON Schema of a function's parameters; None where they have none."""
    try:
        function: Any = _plain(fn)
        return pydantic.TypeAdapter(function).json_schema()
    except Exception:  # noqa: BLE001 - what annotations of users may raise; it is for people to read
        return None


def stored(parameters: dict[str, Any], limit: int = _KEPT) -> bytes | None:
    """Parameters as they are stored; None where they cannot be, or are too large."""
    try:
        body = body_of_value(parameters)
    except EncodeError:
        return None
    return body if len(body) <= limit else None


def serialized(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as JSON has them; what it has no form for is left out."""
    made = {}
    for name, value in parameters.items():
        try:
            made[name] = pydantic_core.to_jsonable_python(value)
        except (pydantic_core.PydanticSerializationError, ValueError):
            continue
    return made


def _path(location: tuple[int | str, ...], names: list[str]) -> str:
    first, *rest = location
    if isinstance(first, int) and first < len(names):
        first = names[first]
    return ".".join(map(str, (first, *rest)))


def _plain(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, also of an object that can be called."""
    if inspect.isroutine(fn) or isinstance(fn, functools.partial):
        return fn
    plain: Callable[..., Any] = getattr(fn, "__call__")  # noqa: B004, B009 - a type checker knows of no such attribute
    return plain


@functools.lru_cache(maxsize=512)
def _validator(fn: Callable[..., Any]) -> Callable[..., Any]:
    def taken(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs

    try:
        return pydantic.validate_call(config={"arbitrary_types_allowed": True})(functools.wraps(_plain(fn))(taken))
    except (NameError, pydantic.errors.PydanticUserError):
        # An annotation that exists for a type checker only: there is nothing to validate with.
        return taken
