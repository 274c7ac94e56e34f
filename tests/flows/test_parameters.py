"""What a flow is called with: bound as Python binds it, and made the types that it wants."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from flowchan import flow, get_client
from flowchan.errors import ParameterBindError, ParameterTypeError
from flowchan.states import State

pytestmark = pytest.mark.anyio


class Order(BaseModel):
    size: str
    count: int = 1


@flow
def echo(*args: int, **kwargs: float) -> tuple[tuple[int, ...], dict[str, float]]:
    return args, kwargs


@flow
def order(number: UUID, item: Order, when: date | None = None, *, price: Decimal = Decimal(1)) -> Any:
    return number, item, when, price


@flow
def positional(a: int, /, b: int) -> tuple[int, int]:
    return a, b


NUMBER = uuid.uuid4()


# --- coercion ------------------------------------------------------------------------------------------------


def test_what_is_passed_is_made_the_types_that_are_annotated() -> None:
    called: Any = order

    assert called(str(NUMBER), {"size": "xl", "count": "2"}, "2026-01-02", price="9.99") == (
        NUMBER,
        Order(size="xl", count=2),
        date(2026, 1, 2),
        Decimal("9.99"),
    )


def test_a_default_is_left_as_it_is() -> None:
    assert order(NUMBER, Order(size="s")) == (NUMBER, Order(size="s"), None, Decimal(1))


def test_a_model_that_fits_is_passed_on_as_it_is() -> None:
    item = Order(size="s")

    assert order(NUMBER, item)[1] is item


def test_any_number_of_arguments_are_made_their_type_too() -> None:
    called: Any = echo

    assert called("1", 2, a="0.5") == ((1, 2), {"a": 0.5})


def test_positional_only_parameters_are_bound_as_such() -> None:
    called: Any = positional

    assert called("1", b="2") == (1, 2)
    with pytest.raises(ParameterBindError, match="positional"):
        called(a=1, b=2)


def test_a_method_gets_its_parameters_made_and_itself_as_it_is() -> None:
    class Shop:
        @flow
        def sells(self, count: int) -> tuple[Any, int]:
            return self, count

    shop: Any = Shop()

    assert shop.sells("3") == (shop, 3)


def test_an_object_that_can_be_called_gets_its_parameters_made() -> None:
    class Shop:
        def __call__(self, count: int) -> int:
            return count

    called: Any = flow(Shop())

    assert called("3") == 3


async def test_an_async_flow_gets_its_parameters_made() -> None:
    @flow
    async def sells(count: int) -> int:
        return count

    called: Any = sells

    assert await called("3") == 3


def test_what_pydantic_knows_nothing_of_is_passed_on_if_it_is_of_the_class() -> None:
    class Shop: ...

    @flow
    def visits(shop: Shop) -> Shop:
        return shop

    called: Any = visits
    # The class is a local one, which no annotation that is text can name: nothing is validated.
    shop = Shop()
    assert called(shop) is shop


def test_without_validation_everything_is_passed_as_it_is() -> None:
    called: Any = order.with_options(validate_parameters=False)

    assert called("x", {"size": 3}) == ("x", {"size": 3}, None, Decimal(1))


# --- what does not fit ---------------------------------------------------------------------------------------


def test_what_does_not_fit_fails_the_run_and_names_each_fault() -> None:
    called: Any = order

    with pytest.raises(ParameterTypeError) as caught:
        called("no number", {"count": "many"})
    text = str(caught.value)
    for told in ("'order'", "number: ", "item.size: ", "item.count: "):
        assert told in text


def test_a_fault_is_told_without_the_value() -> None:
    called: Any = order

    with pytest.raises(ParameterTypeError) as caught:
        called("a secret", Order(size="s"))
    assert "secret" not in str(caught.value)


def test_the_run_of_what_did_not_fit_has_failed() -> None:
    called: Any = order
    state: State = called("x", {}, return_state=True)

    assert state.is_failed()
    assert isinstance(state.data, ParameterTypeError)
    client: Any = get_client()
    (run,) = client.read_flow_runs()
    assert run.state.is_failed()


@pytest.mark.parametrize(
    "args, kwargs, told",
    [
        ((), {}, "number"),
        ((1, 2, 3, 4), {}, "positional"),
        ((1, 2), {"colour": "red"}, "colour"),
        ((1,), {"number": 2}, "number"),
    ],
    ids=["missing", "too many", "unknown", "twice"],
)
def test_a_call_that_no_function_would_take_makes_no_run(args: Any, kwargs: Any, told: str) -> None:
    called: Any = order

    with pytest.raises(ParameterBindError, match=told) as caught:
        called(*args, **kwargs)
    assert isinstance(caught.value, TypeError)
    assert "'order'" in str(caught.value)
    client: Any = get_client()
    assert client.read_flow_runs() == []


# --- by name -------------------------------------------------------------------------------------------------


def test_parameters_can_be_validated_without_a_call() -> None:
    assert order.validate_parameters({"number": str(NUMBER), "item": {"size": "m"}}) == {
        "number": NUMBER,
        "item": Order(size="m"),
        "when": None,
        "price": Decimal(1),
    }


def test_any_number_of_arguments_can_be_validated_by_name() -> None:
    assert echo.validate_parameters({"args": ["1", 2], "kwargs": {"a": "1.5"}}) == {
        "args": (1, 2),
        "kwargs": {"a": 1.5},
    }
    assert positional.validate_parameters({"a": "1", "b": "2"}) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "parameters, error, told",
    [
        ({"number": NUMBER}, ParameterBindError, "item"),
        ({"number": NUMBER, "item": Order(size="s"), "colour": "red"}, ParameterBindError, "colour"),
        ({"number": "x", "item": Order(size="s")}, ParameterTypeError, "number"),
    ],
    ids=["missing", "unknown", "wrong type"],
)
def test_parameters_that_do_not_fit_are_refused_by_name(
    parameters: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        order.validate_parameters(parameters)


def test_serialized_parameters_are_what_json_has() -> None:
    made = order.serialize_parameters(
        {"number": NUMBER, "item": Order(size="s"), "when": datetime(2026, 1, 2, tzinfo=UTC), "price": Decimal("1.5")}
    )

    assert made == {
        "number": str(NUMBER),
        "item": {"size": "s", "count": 1},
        "when": "2026-01-02T00:00:00Z",
        "price": "1.5",
    }
    assert json.loads(json.dumps(made)) == made


def test_serialized_parameters_keep_numbers_numbers_and_leave_out_what_json_has_no_form_for() -> None:
    assert order.serialize_parameters({"a": 1, "b": [True, None], "c": object(), "d": 0.5}) == {
        "a": 1,
        "b": [True, None],
        "d": 0.5,
    }


# --- what is known of them -----------------------------------------------------------------------------------


def test_what_a_run_was_called_with_is_known_of_it() -> None:
    echo(1, 2, a=0.5)
    client: Any = get_client()
    (run,) = client.read_flow_runs()

    assert run.parameters == {"args": (1, 2), "kwargs": {"a": 0.5}}


@pytest.mark.parametrize("value", [object(), "x" * 100_000], ids=["not to be stored", "too large"])
def test_what_cannot_be_kept_is_passed_all_the_same(value: Any) -> None:
    @flow
    def takes(it: Any) -> bool:
        return it is value

    assert takes(value)
    client: Any = get_client()
    (run,) = client.read_flow_runs()
    assert run.parameters is None
