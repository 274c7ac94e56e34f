"""RunInput and AutomaticRunInput: the members that the documents name, and what they promise."""

from __future__ import annotations

import asyncio
import copy
import json
import warnings
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar
from uuid import UUID, uuid4

import pytest
import redis
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, computed_field, model_validator

from flowchan import RunInput, flow, open_run, receive_input, send_input, sync
from flowchan.errors import EncodeError, InvalidKeyError, MissingRunError, RespondError
from flowchan.input import (
    AutomaticRunInput,
    FlowRunInput,
    RunInputMetadata,
    keyset_from_base_key,
    run_input_subclass_from_type,
)
from flowchan.wire import keys
from tests.support.streams import Streams

pytestmark = pytest.mark.anyio

T = TypeVar("T")
RUN = "run"


class Color(Enum):
    RED = "red"


class ShirtOrder(RunInput):
    """A shirt."""

    size: Literal["small", "large"]
    color: Literal["green", "black"] = "black"

    @model_validator(mode="after")
    def _in_stock(self) -> ShirtOrder:
        if self.color == "green" and self.size == "small":
            raise ValueError("Green is only in stock for large.")
        return self


class Box(RunInput, Generic[T]):
    content: T


class User(BaseModel):
    """Somebody."""

    name: str


class Name(AutomaticRunInput[str]):
    pass


async def received(model: type[RunInput], **options: Any) -> Any:
    return await model.receive(**{"flow_run_id": RUN, "timeout": 0, **options}).next()


def stored(client: redis.Redis, namespace: str, run: str = RUN) -> dict[str, str]:
    """What is stored with a run beside its channels."""
    values: Any = client.hgetall(keys.inputs(namespace, run))
    return {name.decode(): value.decode() for name, value in values.items()}


def respond_with(client: redis.Redis, namespace: str, value: Any, name: str = "base-response", run: str = RUN) -> None:
    """Store a response, as who resumes a run does."""
    key = keys.inputs(namespace, run)
    client.hset(key, name, json.dumps(value))
    client.expire(key, 60)


# --- the model ------------------------------------------------------------------------------------------------


def test_it_is_a_pydantic_model_that_takes_no_extra_fields() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        ShirtOrder(size="small", pockets=2)  # type: ignore[call-arg]


def test_what_was_made_here_has_no_metadata_and_says_so() -> None:
    order = ShirtOrder(size="small")

    with pytest.raises(AttributeError, match="neither received nor loaded"):
        _ = order.metadata
    assert not hasattr(order, "metadata")


async def test_metadata_is_no_part_of_the_value() -> None:
    sent = ShirtOrder(size="small")
    await sent.send_to(RUN)
    order = await received(ShirtOrder)

    assert order == sent
    assert order.model_dump() == sent.model_dump()
    assert "metadata" not in ShirtOrder.model_json_schema()["properties"]


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda order: order.model_copy(update={"color": "green"})],
    ids=["copy", "deepcopy", "model_copy"],
)  # fmt: skip
async def test_a_copy_can_be_answered_as_the_original_can(duplicate: Any) -> None:
    async with open_run("asker"):
        await ShirtOrder(size="large").send_to(RUN)
    order = await received(ShirtOrder)

    twin = duplicate(order)

    assert twin.metadata == order.metadata
    await twin.respond("sewn")
    assert await receive_input(str, flow_run_id="asker", timeout=0).next() == "sewn"


async def test_a_generic_class_has_one_channel_for_all_its_parameters() -> None:
    await Box(content=1).send_to(RUN)
    await Box[int](content=2).send_to(RUN)

    receiver = Box[int].receive(flow_run_id=RUN, timeout=0)
    assert [(await receiver.next()).content for _ in range(2)] == [1, 2]


async def test_a_class_of_any_name_has_a_channel() -> None:
    class Über_Größe(RunInput):  # noqa: N801, PLC2401 - that is the point
        size: int

    await Über_Größe(size=3).send_to(RUN)

    assert (await received(Über_Größe)).size == 3


async def test_overridden_methods_are_called() -> None:
    class Loud(RunInput):
        text: str

        def respond(self, run_input: Any, *args: Any, **kwargs: Any) -> Any:
            return super().respond(f"{run_input}!", *args, **kwargs)

    async with open_run("asker"):
        await Loud(text="x").send_to(RUN)
    await (await received(Loud)).respond("hello")

    assert await receive_input(str, flow_run_id="asker", timeout=0).next() == "hello!"


# --- answering ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", ["text", 3, None, [1, (2, 3)], ShirtOrder(size="small"), User(name="andrew")], ids=str
)
async def test_an_answer_may_be_any_value_that_can_be_sent(answer: Any) -> None:
    async with open_run("asker"):
        await ShirtOrder(size="large").send_to(RUN)

    await (await received(ShirtOrder)).respond(answer)

    got = await receive_input(type(answer), flow_run_id="asker", timeout=0).next()
    assert got == answer or got.model_dump() == answer.model_dump()


async def test_an_answer_names_its_sender_and_may_have_another_channel() -> None:
    async with open_run("asker"):
        await ShirtOrder(size="large").send_to(RUN)
    order = await received(ShirtOrder)

    async with open_run(RUN):
        by_run = await order.respond("seen")
        by_name = await order.respond("sewn", sender="the tailor", key_prefix="news")

    assert (by_run.receiver, by_run.sender) == ("asker", f"flowchan.flow-run.{RUN}")
    assert by_name.sender == "the tailor"
    assert await receive_input(str, flow_run_id="asker", key_prefix="news", timeout=0).next() == "sewn"


@pytest.mark.parametrize(
    "sender", [None, "somebody", "prefect.flow-run.x", "flowchan.flow-run.", "flowchan.flow-run.a:b", "flowchan.flow-run.{1}*"]
)  # fmt: skip
async def test_a_sender_that_is_no_run_cannot_be_answered(sender: str | None) -> None:
    await send_input(ShirtOrder(size="large"), RUN, sender=sender)
    order = await received(ShirtOrder)

    with pytest.raises(RespondError, match="Cannot respond to an input that was not sent by a flow run"):
        order.respond("hello?")


def test_what_was_not_received_cannot_be_answered() -> None:
    with pytest.raises(RespondError):
        ShirtOrder(size="small").respond("x")


async def test_what_is_wrong_with_an_answer_is_said_at_the_call() -> None:
    async with open_run("asker"):
        await ShirtOrder(size="large").send_to(RUN)
    order = await received(ShirtOrder)

    with pytest.raises(EncodeError):
        order.respond(object())
    with pytest.raises(InvalidKeyError):
        order.respond("x", key_prefix="a b")


# --- stored inputs --------------------------------------------------------------------------------------------


KEYSET = keyset_from_base_key("base")


def test_a_class_has_a_keyset_of_its_name() -> None:
    assert ShirtOrder.keyset_from_type() == {
        "description": "shirtorder-description",
        "response": "shirtorder-response",
        "schema": "shirtorder-schema",
    }


async def test_saving_stores_the_schema_for_some_time(client: redis.Redis, namespace: str) -> None:
    await ShirtOrder.save(KEYSET, flow_run_id=RUN)
    await ShirtOrder.save(KEYSET, flow_run_id=RUN)

    assert {name: json.loads(value) for name, value in stored(client, namespace).items()} == {
        "base-schema": ShirtOrder.model_json_schema()
    }
    assert client.ttl(keys.inputs(namespace, RUN)) > 3600


async def test_saving_stores_the_description_if_there_is_one(client: redis.Redis, namespace: str) -> None:
    async with open_run(RUN):
        await ShirtOrder.with_initial_data(description="# A shirt", size="small").save(KEYSET)

    found = stored(client, namespace)
    assert found["base-description"] == "# A shirt"
    assert json.loads(found["base-schema"])["properties"]["size"]["default"] == "small"


async def test_loading_gives_the_response_with_its_metadata(client: redis.Redis, namespace: str) -> None:
    respond_with(client, namespace, {"size": "large", "color": "green"})

    order = await ShirtOrder.load(KEYSET, flow_run_id=RUN)

    assert order == ShirtOrder(size="large", color="green")
    assert (order.metadata.key, order.metadata.sender, order.metadata.receiver) == ("base-response", None, RUN)


async def test_loading_what_is_not_there_is_making_one_of_defaults() -> None:
    assert (await ShirtOrder.with_initial_data(size="small").load(KEYSET, RUN)).size == "small"
    with pytest.raises(ValidationError, match="size"):
        await ShirtOrder.load(KEYSET, RUN)


async def test_loading_asks_the_models_validators(client: redis.Redis, namespace: str) -> None:
    respond_with(client, namespace, {"size": "small", "color": "green"})

    with pytest.raises(ValidationError, match="only in stock"):
        await ShirtOrder.load(KEYSET, RUN)


async def test_a_response_is_json_even_to_a_strict_model(client: redis.Redis, namespace: str) -> None:
    class Strict(RunInput):
        model_config = ConfigDict(strict=True)

        when: datetime
        which: UUID
        color: Color
        price: Decimal
        size: Annotated[int, Field(alias="theSize")]

    respond_with(
        client,
        namespace,
        {"when": "2026-01-02T03:04:05Z", "which": str(UUID(int=1)), "color": "red", "price": "1.10", "theSize": 3},
    )

    loaded = await Strict.load(KEYSET, RUN)

    assert loaded.when == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (loaded.which, loaded.color, loaded.price, loaded.size) == (UUID(int=1), Color.RED, Decimal("1.10"), 3)


async def test_an_automatic_input_loads_as_its_bare_value(client: redis.Redis, namespace: str) -> None:
    respond_with(client, namespace, {"value": "andrew"})

    assert await AutomaticRunInput[str].load(KEYSET, RUN) == "andrew"  # type: ignore[comparison-overlap]
    assert await run_input_subclass_from_type(str).load(KEYSET, RUN) == "andrew"  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("verb", [ShirtOrder.save, ShirtOrder.load], ids=["save", "load"])
async def test_storing_needs_a_run(verb: Any) -> None:
    with pytest.raises(MissingRunError):
        verb(KEYSET)
    with pytest.raises(InvalidKeyError):
        verb(KEYSET, flow_run_id="a b")


def test_storing_blocks_in_synchronous_code(client: redis.Redis, namespace: str) -> None:
    @flow
    def stores() -> str:
        assert ShirtOrder.save(KEYSET) is None
        (run,) = client.scan_iter(f"{namespace}:*@inputs")
        respond_with(client, namespace, {"size": "small"}, run=keys.address(run.decode()).run)
        return ShirtOrder.load(KEYSET).size  # type: ignore[attr-defined, no-any-return]

    assert stores() == "small"


def test_an_instance_can_be_made_of_a_stored_input() -> None:
    run = uuid4()
    stored_input = FlowRunInput(
        flow_run_id=run, key="a-key", value='{"size": "small"}', sender="flowchan.flow-run.asker"
    )

    assert stored_input.decoded_value == {"size": "small"}
    order = ShirtOrder.load_from_flow_run_input(stored_input)

    assert order == ShirtOrder(size="small")
    assert order.metadata == RunInputMetadata(
        key="a-key", sender="flowchan.flow-run.asker", receiver=run, sent_at=stored_input.created
    )


async def test_who_sent_a_stored_input_can_be_answered() -> None:
    order = ShirtOrder.load_from_flow_run_input(
        FlowRunInput(flow_run_id=RUN, key="k", value='{"size": "small"}', sender="flowchan.flow-run.asker")
    )

    await order.respond("sewn")

    assert await receive_input(str, flow_run_id="asker", timeout=0).next() == "sewn"


def test_a_stored_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError):
        ShirtOrder.load_from_flow_run_input(FlowRunInput(flow_run_id=RUN, key="k", value='{"size": "huge"}'))


# --- initial data ---------------------------------------------------------------------------------------------


class Form(RunInput):
    """A form."""

    name: str
    nickname: str | None
    age: Annotated[int, Field(gt=17, description="In years")]
    tags: list[str] = Field(default_factory=list)
    title: str = Field("Dr", alias="theTitle", max_length=4)


def test_initial_data_are_new_defaults() -> None:
    form = Form.with_initial_data(name="anonymous", nickname="anon", age=18, tags=["new"], title="Mr")()

    assert (form.name, form.nickname, form.age, form.tags, form.title) == ("anonymous", "anon", 18, ["new"], "Mr")
    assert isinstance(form, Form)


def test_the_class_with_initial_data_has_the_same_name_channel_and_docstring() -> None:
    made = Form.with_initial_data(name="anonymous")

    assert (made.__name__, made.__module__, made.__doc__) == ("Form", Form.__module__, "A form.")
    assert made.keyset_from_type() == Form.keyset_from_type()


def test_initial_data_change_no_annotation() -> None:
    made = Form.with_initial_data(nickname="anon", age=18, title="Mr", name=None)

    assert {name: field.annotation for name, field in made.model_fields.items()} == {
        name: field.annotation for name, field in Form.model_fields.items()
    }
    assert made(name="a", nickname=None).nickname is None
    for wrong in ({"age": 3}, {"theTitle": "Professor"}, {"nickname": 3}):
        with pytest.raises(ValidationError):
            made.model_validate({"name": "a", **wrong})


def test_a_mutable_initial_value_is_not_shared() -> None:
    made = Form.with_initial_data(name="a", nickname=None, age=18, tags=["new"])

    made().tags.append("old")

    assert made().tags == ["new"]


def test_the_class_itself_stays_as_it_was() -> None:
    Form.with_initial_data("text", name="anonymous", tags=["new"])

    assert Form.model_fields["name"].is_required()
    assert Form(name="a", nickname=None, age=18).tags == []


def test_initial_data_of_no_field_make_a_field() -> None:
    made: Any = Form.with_initial_data(color="red")

    assert made(name="a", nickname=None, age=18).color == "red"
    assert "color" not in Form.model_fields


def test_calls_add_up() -> None:
    made = Form.with_initial_data("the text", name="a").with_initial_data(age=18).with_initial_data(nickname=None)

    form = made()
    assert (form.name, form.age, form.nickname) == ("a", 18, None)
    assert made.__flowchan_description__ == "the text"


async def test_what_is_sent_of_a_class_with_initial_data_is_received_as_the_class() -> None:
    await Form.with_initial_data(nickname=None, age=18)(name="andrew").send_to(RUN)

    assert (await received(Form)).name == "andrew"


# --- from a type to a class -------------------------------------------------------------------------------------


def test_the_same_type_gives_the_same_class_each_time() -> None:
    for kind in (str, int, list[int], Optional[str], User, ShirtOrder, Box[int]):  # noqa: UP045
        assert run_input_subclass_from_type(kind) is run_input_subclass_from_type(kind)


def test_a_run_input_class_is_its_own() -> None:
    assert run_input_subclass_from_type(ShirtOrder) is ShirtOrder
    assert run_input_subclass_from_type(Name) is Name


def test_a_model_is_upgraded() -> None:
    made = run_input_subclass_from_type(User)

    assert issubclass(made, RunInput)
    assert issubclass(made, User)
    assert (made.__name__, made.__doc__) == ("UserRunInput", "Somebody.")
    assert made is RunInput.subclass_from_base_model_type(User)


@pytest.mark.parametrize(
    "kind, name", [(str, "str"), (int, "int"), (list[int], "list"), (Color, "color"), (Optional[str], "optional")]  # noqa: UP045
)  # fmt: skip
def test_anything_else_gets_a_class_with_a_value(kind: Any, name: str) -> None:
    made = run_input_subclass_from_type(kind)

    assert issubclass(made, AutomaticRunInput)
    assert made.__name__ == f"{name}AutomaticRunInput"
    assert list(made.model_fields) == ["value"]
    assert made.model_fields["value"].annotation == kind


def test_an_annotation_that_cannot_be_hashed_will_do() -> None:
    made: Any = run_input_subclass_from_type(Annotated[int, ["a list"]])

    assert made(value=3).value == 3


def test_an_upgraded_models_own_config_wins() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow", frozen=True)

        a: int

    made: Any = run_input_subclass_from_type(Open)

    assert made(a=1, b=2).b == 2
    with pytest.raises(ValidationError, match="frozen"):
        made(a=1).a = 3


async def test_an_upgraded_model_keeps_what_its_author_gave_it() -> None:
    class Rich(BaseModel):
        price: int
        _seen: int = PrivateAttr(default=7)

        @computed_field  # type: ignore[prop-decorator]
        @property
        def gross(self) -> int:
            return self.price * 2

        def greet(self) -> str:
            return f"{self.price} {self._seen}"

    await send_input(Rich(price=3), RUN)

    rich = await receive_input(Rich, flow_run_id=RUN, timeout=0).next()

    assert (rich.gross, rich.greet(), rich.model_dump()) == (6, "3 7", {"price": 3, "gross": 6})


async def test_a_models_fields_win_over_the_names_that_an_input_has() -> None:
    class Document(BaseModel):
        metadata: dict[str, int]
        sender: str
        respond: int

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with open_run("asker"):
            await send_input(Document(metadata={"pages": 3}, sender="me", respond=1), RUN)
        document: Any = await receive_input(Document, flow_run_id=RUN, timeout=0).next()

    assert (document.metadata, document.sender, document.respond) == ({"pages": 3}, "me", 1)
    document.metadata = {"pages": 4}
    assert document.model_dump()["metadata"] == {"pages": 4}
    await RunInput.respond(document, "read")
    assert await receive_input(str, flow_run_id="asker", timeout=0).next() == "read"


# --- automatic inputs -------------------------------------------------------------------------------------------


def test_the_class_of_a_type_can_be_named() -> None:
    assert AutomaticRunInput[str] is run_input_subclass_from_type(str)
    assert AutomaticRunInput[str] is AutomaticRunInput.subclass_from_type(str)
    assert AutomaticRunInput[str](value="x").value == "x"
    with pytest.raises(ValidationError):
        AutomaticRunInput[int](value="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "kind, value", [(str, "x"), (list[int], [1]), (Optional[str], None), (Optional[str], "x"), (User, User(name="a"))]  # noqa: UP045
)  # fmt: skip
async def test_an_automatic_input_listens_where_the_value_is_sent_and_is_sent_where_the_type_listens(
    kind: Any, value: Any
) -> None:
    automatic: Any = AutomaticRunInput[kind]
    await send_input(value, RUN)
    await automatic(value=value).send_to(RUN)

    plain = [each.model_dump() if isinstance(each, BaseModel) else each async for each in all_of(kind)]
    wrapped = [each.value async for each in all_of(automatic)]
    bare = [each async for each in automatic.receive(flow_run_id=RUN, timeout=0, raise_timeout_error=False)]
    with_metadata = automatic.receive(flow_run_id=RUN, timeout=0, with_metadata=True)

    expected = value.model_dump() if isinstance(value, BaseModel) else value
    assert plain == [expected, expected]
    assert wrapped == bare == [value, value]
    assert type(await with_metadata.next()) is automatic


def all_of(kind: Any) -> Any:
    return receive_input(kind, flow_run_id=RUN, timeout=0, raise_timeout_error=False)


async def test_what_was_received_with_metadata_can_be_sent_on_as_it_is() -> None:
    await send_input(None, RUN)
    nothing = await receive_input(Optional[str], flow_run_id=RUN, timeout=0, with_metadata=True).next()  # noqa: UP045

    await send_input(nothing, "another")

    assert await receive_input(Optional[str], flow_run_id="another", timeout=0).next() is None  # noqa: UP045


async def test_an_automatic_input_with_initial_data_stays_where_it_was() -> None:
    made: Any = AutomaticRunInput[Optional[str]].with_initial_data(value="anonymous")  # noqa: UP045

    await made().send_to(RUN)

    assert await receive_input(Optional[str], flow_run_id=RUN, timeout=0).next() == "anonymous"  # noqa: UP045


async def test_a_subclass_with_a_name_of_its_own_has_a_channel_of_its_own(streams: Streams) -> None:
    await Name(value="andrew").send_to(RUN)

    assert streams.length(RUN, "name-auto") == 1
    assert await received(Name) == "andrew"
    assert type(await received(Name, with_metadata=True)) is Name
    assert type(await receive_input(Name, flow_run_id=RUN, timeout=0).next()) is Name
    with pytest.raises(TimeoutError):
        await received(AutomaticRunInput[str])


async def test_a_subclass_may_have_more_fields_and_parameters() -> None:
    class Pair(AutomaticRunInput[tuple[T, T]], Generic[T]):
        note: str = ""

    await Pair[int](value=(1, 2), note="two").send_to(RUN)

    pair: Any = await receive_input(Pair[int], flow_run_id=RUN, timeout=0).next()
    assert (pair.value, pair.note) == ((1, 2), "two")
    with pytest.raises(ValidationError):
        Pair[int](value=("a", "b"))


async def test_without_a_type_it_carries_any_value_and_listens_nowhere() -> None:
    await AutomaticRunInput(value="x").send_to(RUN)

    assert await received(AutomaticRunInput[str]) == "x"
    with pytest.raises(TypeError, match="give key_prefix"):
        AutomaticRunInput.receive(flow_run_id=RUN)


# --- plain signatures -------------------------------------------------------------------------------------------


class PlainOrder(sync.RunInput):
    size: int


async def test_the_synchronous_verbs_block_even_where_a_loop_runs() -> None:
    async with open_run("asker"):
        sent = PlainOrder(size=3).send_to(RUN)
        text = sync.send_input("x", RUN)
    assert isinstance(sent, RunInputMetadata)
    assert isinstance(text, RunInputMetadata)

    order = PlainOrder.receive(flow_run_id=RUN, timeout=30).next()
    named = sync.receive_input(str, flow_run_id=RUN, timeout=30, with_metadata=True).next()

    assert (order.size, order.metadata, named.value) == (3, sent, "x")
    assert isinstance(order.respond("sewn"), RunInputMetadata)
    assert isinstance(named.respond("read"), RunInputMetadata)
    assert [*zip(range(2), sync.receive_input(str, flow_run_id="asker"), strict=False)] == [(0, "sewn"), (1, "read")]


async def test_a_model_that_is_received_in_synchronous_code_answers_in_it() -> None:
    with open_run("asker"):
        sync.send_input(User(name="andrew"), RUN)

    user: Any = sync.receive_input(User, flow_run_id=RUN, timeout=30).next()

    assert isinstance(user, User)
    assert isinstance(user.respond(3), RunInputMetadata)


async def test_the_synchronous_verbs_store_and_load(client: redis.Redis, namespace: str) -> None:
    assert PlainOrder.save(KEYSET, RUN) is None  # type: ignore[func-returns-value]
    respond_with(client, namespace, {"size": 3})

    assert PlainOrder.load(KEYSET, RUN) == PlainOrder(size=3)


async def test_both_kinds_of_classes_meet_in_one_channel() -> None:
    await send_input("x", RUN)
    await send_input(User(name="andrew"), RUN)

    assert sync.receive_input(str, flow_run_id=RUN, timeout=30).next() == "x"
    assert (
        await asyncio.to_thread(lambda: sync.receive_input(User, flow_run_id=RUN, timeout=30).next().name) == "andrew"
    )
    assert sync.AutomaticRunInput[str](value="y").send_to(RUN).receiver == RUN
    assert [each async for each in all_of(str)] == ["x", "y"]
    assert sync.AutomaticRunInput[str].receive(flow_run_id=RUN).next() == "x"


def test_a_default_that_json_has_no_form_for_is_no_hindrance_to_sending() -> None:
    class Quiet(RunInput):
        default: bytes = b"\xff"
        place: Path = Path("/tmp")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sync.send_input(Quiet(), RUN)

    assert sync.receive_input(Quiet, flow_run_id=RUN).next() == Quiet()
