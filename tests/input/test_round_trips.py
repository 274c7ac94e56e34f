"""What is sent is what is received: equal, and of the same type all the way down."""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    AnyUrl,
    Base64Bytes,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    ValidationError,
    computed_field,
    field_serializer,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from flowchan import RunInput, sync
from flowchan.errors import EncodeError
from flowchan.input import run_input_subclass_from_type
from flowchan.input.body import body_of_value, instance_of
from flowchan.input.types import Body, channel_of, members, unwraps
from flowchan.wire import codec

T = TypeVar("T")
K = TypeVar("K")

_runs = count()


def through_the_body(value: Any, kind: Any) -> Any:
    """What a receiver of a type makes of the bytes that a sender makes of a value."""
    model: Any = run_input_subclass_from_type(kind)
    body: Any = codec.decode(body_of_value(value), max_bytes=2**20)
    if not unwraps(kind):
        return instance_of(model, body)
    sent_as = members(kind)[channel_of(type(value))]
    return instance_of(model, {"value": body} if sent_as is Body.FIELDS else body).value


def through_the_broker(value: Any, kind: Any) -> Any:
    """What is received of a type in a run that was sent a value."""
    run = f"run-{next(_runs)}"
    sync.send_input(value, run)
    return sync.receive_input(kind, flow_run_id=run, timeout=30).next()


def assert_same(one: Any, other: Any) -> None:
    """Equal, and of the same types all the way down; a model may have been upgraded."""
    if isinstance(one, BaseModel) and not isinstance(one, RootModel):
        assert isinstance(other, type(one))
        assert_same(dict(one), dict(other))
        assert one.__pydantic_extra__ == other.__pydantic_extra__
        assert one.__pydantic_private__ == other.__pydantic_private__
        return
    assert type(one) is type(other)
    if isinstance(one, Mapping):
        assert one.keys() == other.keys()
        assert {type(key) for key in one} == {type(key) for key in other}
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, list | tuple | collections.deque):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
    elif isinstance(one, datetime | time):
        assert (one, one.fold, one.utcoffset()) == (other, other.fold, other.utcoffset())
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


# --- types that users have ------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"
    MIXED = ("x", 1)


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Node:
    number: int
    when: datetime | None = None
    color: Color = Color.RED
    child: Optional[Node] = None  # noqa: UP045 - both spellings


@dataclasses.dataclass(kw_only=True, slots=True, frozen=True)
class Frozen:
    number: int
    data: bytes = b""


@pydantic.dataclasses.dataclass
class Checked:
    number: int = Field(alias="theNumber")
    color: Color = Color.RED


class Point(NamedTuple):
    x: int
    color: Color


class Movie(TypedDict):
    title: str
    color: Color


class User(BaseModel):
    name: str
    age: int = 3


class Admin(User):
    rights: list[str] = []


class Aliased(BaseModel):
    first: str = Field(alias="firstName")
    both: int = Field(3, serialization_alias="BOTH", validation_alias=AliasChoices("q", "qq"))
    path: int = Field(1, validation_alias=AliasPath("x", 0))


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    my_field: int
    my_child: Optional[Camel] = None  # noqa: UP045 - both spellings


class ByAliasOnly(BaseModel):
    model_config = ConfigDict(validate_by_name=False, validate_by_alias=True, serialize_by_alias=True)

    number: int = Field(alias="No.")


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.number * 2


class Jsons(BaseModel):
    numbers: Json[list[int]]
    anything: Json[Any]


class Secrets(BaseModel):
    text: SecretStr
    data: SecretBytes
    number: Secret[int]


class Sealed(BaseModel):
    user: Secret[User]
    when: Secret[datetime]
    colors: Secret[list[Color]]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    number: int
    which: UUID
    color: Color = Color.MIXED
    colors: dict[Color, list[Color]] = {Color.RED: [Color.MIXED]}
    place: Path = Path("/x")
    address: IPv4Address = IPv4Address("1.2.3.4")
    url: AnyUrl | None = AnyUrl("http://example.org/")
    node: Node | None = None
    user: User | None = User(name="a")
    point: Point | None = None
    movie: Movie | None = None
    ratio: float = 1.5
    pair: tuple[int, str] = (1, "a")
    members: set[int] = {1}
    secret: SecretStr = SecretStr("s")


class Numbers(RootModel[list[int]]):
    pass


class Private(BaseModel):
    number: int
    _seen: int = PrivateAttr(default=5)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    number: int


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str]


class Owner(BaseModel):
    pet: Annotated[Union[Cat, Dog], Field(discriminator="kind")]  # noqa: UP007 - both spellings
    others: list[Cat | Dog] = []


class Box(BaseModel, Generic[T]):
    content: T


class Labelled(BaseModel, Generic[K, T]):
    boxes: dict[K, Box[T]]


class Tree(BaseModel):
    value: int
    branches: list[Tree] = []


class OwnInit(BaseModel):
    number: int

    def __init__(self, number: int = 0, **others: Any) -> None:
        super().__init__(number=number, **others)


class EnumValues(BaseModel):
    model_config = ConfigDict(use_enum_values=True)

    color: Color


class FieldSerializer(BaseModel):
    when: datetime

    @field_serializer("when")
    def _as_text(self, value: datetime) -> str:
        return value.isoformat()


class ModelSerializer(BaseModel):
    number: int

    @model_serializer
    def _as_text(self) -> dict[str, str]:
        return {"text": f"no. {self.number}"}

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, data: Any) -> Any:
        return {"number": int(data["text"].removeprefix("no. "))} if isinstance(data, dict) and "text" in data else data


class Holder(BaseModel):
    user: SerializeAsAny[User]


class Odd(BaseModel):
    encoded: Base64Bytes
    size: ByteSize
    default: bytes = b"\xff\x00"


class Deep(BaseModel):
    all: dict[UUID, dict[tuple[int, str], list[set[Decimal]]]]


class Order(RunInput):
    size: int
    when: datetime


class OrderOf(RunInput, Generic[T]):
    items: list[T]


class Carrier(BaseModel):
    value: int


NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ID = UUID("01a1fa6b-1a17-72e4-b33a-64185e1be8e4")

TYPED: list[tuple[Any, Any]] = [
    ("x", str),
    ("\x00 ü 🎈", str),
    (1, int),
    (2**70, int),
    (-(2**70), int),
    (1.5, float),
    (-0.0, float),
    (math.inf, float),
    (True, bool),
    (None, type(None)),
    (None, None),
    (b"\xff\x00", bytes),
    (1j, complex),
    ([1, "a", (1, 2), {3}], list),
    ([(1, "a")], list[tuple[int, str]]),
    ({1: 2, None: 3, (1,): 4}, dict),
    ({1: 2}, dict[int, int]),
    ({1, 2}, set[int]),
    (frozenset({1}), frozenset[int]),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    (NOW, datetime),
    (NOW.replace(tzinfo=None), datetime),
    (NOW.replace(tzinfo=timezone(timedelta(hours=-3, minutes=-30))), datetime),
    (datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), datetime),
    (NOW.date(), date),
    (NOW.time(), time),
    (timedelta(days=-1, microseconds=3), timedelta),
    (ID, UUID),
    (Decimal("1.10"), Decimal),
    (Color.RED, Color),
    (Color.MIXED, Color),
    (Level.LOW, Level),
    (Word.YES, Word),
    (Right.READ | Right.WRITE, Right),
    ([Color.RED, Color.MIXED], list[Color]),
    ({Color.RED: 1}, dict[Color, int]),
    (Node(1, NOW, Color.MIXED, Node(2, NOW)), Node),
    ([Node(1, NOW)], list[Node]),
    (Frozen(number=1, data=b"x"), Frozen),
    (Checked(theNumber=1), Checked),  # type: ignore[call-arg]
    ([Checked(theNumber=2)], list[Checked]),  # type: ignore[call-arg]
    (Point(1, Color.RED), Point),
    ([Point(1, Color.MIXED)], list[Point]),
    ({"title": "a", "color": Color.MIXED}, Movie),
    ([{"title": "a", "color": Color.RED}], list[Movie]),
    (User(name="a"), User),
    ([User(name="a")], list[User]),
    ({"a": User(name="a")}, dict[str, User]),
    ((User(name="a"), 1), tuple[User, int]),
    (Admin(name="a", rights=["r"]), Admin),
    (Aliased(firstName="a", q=4, x=[2]), Aliased),  # type: ignore[call-arg]
    ([Aliased(firstName="a", q=4)], list[Aliased]),  # type: ignore[call-arg]
    (Camel(myField=1, myChild=Camel(myField=2)), Camel),  # type: ignore[call-arg]
    (ByAliasOnly.model_validate({"No.": 1}), ByAliasOnly),
    (Computed(number=1), Computed),
    ([Computed(number=1)], list[Computed]),
    (Jsons(numbers="[1]", anything='{"a": 1}'), Jsons),  # type: ignore[arg-type]
    ([Jsons(numbers="[1]", anything="1")], list[Jsons]),  # type: ignore[arg-type]
    (Secrets(text="x", data=b"y", number=3), Secrets),  # type: ignore[arg-type]
    ([Secrets(text="x", data=b"y", number=3)], list[Secrets]),  # type: ignore[arg-type]
    (SecretStr("s"), SecretStr),
    (Sealed(user=User(name="a"), when=NOW, colors=[Color.RED]), Sealed),  # type: ignore[arg-type]
    (Strict(number=1, which=ID), Strict),
    (Strict(number=1, which=ID, node=Node(1, NOW), point=Point(1, Color.RED)), Strict),
    ([Strict(number=1, which=ID, movie={"title": "a", "color": Color.RED})], list[Strict]),
    (Numbers([1, 2]), Numbers),
    ([Numbers([1])], list[Numbers]),
    (Private(number=1), Private),
    (Open(number=1, data=b"x", when=NOW), Open),  # type: ignore[call-arg]
    (Owner(pet=Dog(tricks=["sit"]), others=[Cat(lives=1), Dog(tricks=[])]), Owner),
    (Cat(lives=1), Annotated[Union[Cat, Dog], Field(discriminator="kind")]),  # noqa: UP007
    ([Cat(lives=1), Dog(tricks=[])], list[Annotated[Cat | Dog, Field(discriminator="kind")]]),
    (Box[int](content=1), Box[int]),
    (Box[list[User]](content=[User(name="a")]), Box[list[User]]),
    (Labelled[UUID, Decimal](boxes={ID: Box(content=Decimal("1.0"))}), Labelled[UUID, Decimal]),
    (Tree(value=1, branches=[Tree(value=2)]), Tree),
    (OwnInit(1), OwnInit),
    (EnumValues(color=Color.RED), EnumValues),
    (FieldSerializer(when=NOW), FieldSerializer),
    (ModelSerializer(number=1), ModelSerializer),
    ([ModelSerializer(number=1)], list[ModelSerializer]),
    (Odd(encoded=b"YWI=", size=5), Odd),  # type: ignore[arg-type]
    (Deep(all={ID: {(1, "a"): [{Decimal("1.0")}]}}), Deep),
    (Order(size=1, when=NOW), Order),
    (OrderOf[Point](items=[Point(1, Color.RED)]), OrderOf[Point]),
    (Carrier(value=1), Carrier),
    ([Carrier(value=1)], list[Carrier]),
    (Path("/a/b"), Path),
    (PurePosixPath("a"), PurePosixPath),
    ([Path("/a")], list[Path]),
    (IPv4Address("1.2.3.4"), IPv4Address),
    (IPv6Address("::1"), IPv6Address),
    (IPv4Network("10.0.0.0/8"), IPv4Network),
    (re.compile("a+"), re.Pattern),
    (Fraction(1, 3), Fraction),
    (AnyUrl("http://example.org/x"), AnyUrl),
    (ByteSize(5), ByteSize),
    (collections.deque([1, 2]), collections.deque[int]),
    (collections.OrderedDict(a=1), collections.OrderedDict[str, int]),
    (collections.defaultdict(int, a=1), collections.defaultdict[str, int]),
    (collections.Counter("aab"), collections.Counter[str]),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(
    "value, kind", TYPED, ids=[f"{number} {type(value).__name__}" for number, (value, _) in enumerate(TYPED)]
)
def test_a_value_comes_back_as_what_it_was(value: Any, kind: Any) -> None:
    assert_same(value, through_the_broker(value, kind))


def test_not_a_number_comes_back_as_none() -> None:
    assert math.isnan(through_the_broker(math.nan, float))


def test_a_subclass_in_a_field_keeps_its_own_fields_where_the_model_says_so() -> None:
    holder = Holder(user=Admin(name="a", rights=["r"]))

    body: Any = codec.decode(body_of_value(holder), max_bytes=2**20)

    assert body == {"user": {"name": "a", "age": 3, "rights": ["r"]}}


def test_a_bytearray_arrives_as_the_bytes_that_it_held() -> None:
    assert through_the_broker(bytearray(b"ab"), bytes) == b"ab"


def test_a_field_that_its_model_excludes_is_not_sent() -> None:
    class Careful(BaseModel):
        name: str
        password: str = Field("", exclude=True)

    assert through_the_broker(Careful(name="a", password="sesame"), Careful).password == ""


@pytest.mark.parametrize(
    "value", [{Frozen(number=1)}, {Frozen(number=1): 1}, Box(content={Frozen(number=1): 1})], ids=str
)
def test_what_pydantic_does_not_serialise_is_an_error_of_its_own(value: Any) -> None:
    with pytest.raises(EncodeError, match="Cannot send"):
        body_of_value(value)


# --- strict models: what they send, and nothing else -------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"number": "1"},
        {"number": 1.0},
        {"number": True},
        {"which": str(ID)},
        {"ratio": "1.5"},
        {"pair": [1, "a"]},
        {"pair": (1, 2)},
        {"members": [1]},
        {"color": "blue"},
        {"address": "1.2.3"},
        {"address": 16909060},
        {"node": {"number": "1"}},
        {"user": {"name": "a", "age": "3"}},
    ],
    ids=str,
)
def test_a_strict_model_refuses_what_it_would_not_have_sent(change: dict[str, Any]) -> None:
    body: Any = codec.decode(body_of_value(Strict(number=1, which=ID)), max_bytes=2**20)

    with pytest.raises(ValidationError):
        instance_of(Strict, {**body, **change})


def test_a_validator_that_refuses_is_asked_once() -> None:
    asked = []

    class Refusing(BaseModel):
        number: int

        @model_validator(mode="after")
        def _refuse(self) -> Refusing:
            asked.append(self.number)
            raise ValueError("never")

    with pytest.raises(ValidationError):
        instance_of(Refusing, {"number": 3})

    assert asked == [3]


# --- any value of any type ----------------------------------------------------------------------------------------

# The microseconds of an offset are more than ISO 8601 has; the offsets of the world are whole minutes.
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
ZONES = st.none() | OFFSETS

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers()),
    (float, st.floats(allow_nan=False)),
    (bool, st.booleans()),
    (bytes, st.binary()),
    (datetime, st.datetimes(timezones=ZONES)),
    (date, st.dates()),
    (time, st.times(timezones=ZONES)),
    (timedelta, st.timedeltas()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),  # a field of a model takes no other
    (UUID, st.uuids()),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Word, st.sampled_from(Word)),
    (IPv4Address, st.ip_addresses(v=4)),
    (IPv6Address, st.ip_addresses(v=6)),
    (Path, st.text("ab/.ü", min_size=1).map(Path)),
    (Fraction, st.fractions()),
    (complex, st.complex_numbers(allow_nan=False)),
    (Point, st.builds(Point, st.integers(), st.sampled_from(Color))),
]

UNHASHABLE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    # Their instances may be hashable, but as keys and members of sets pydantic does not serialise them.
    (Frozen, st.builds(Frozen, number=st.integers(), data=st.binary())),
    (User, st.builds(User, name=st.text(), age=st.integers())),
]

Typed = tuple[Any, st.SearchStrategy[Any]]


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    few: dict[str, Any] = {"max_size": 3}
    hashable = st.sampled_from(LEAVES)
    return st.one_of(
        inner.map(lambda typed: (list[typed[0]], st.lists(typed[1], **few))),  # type: ignore[name-defined]
        inner.map(lambda typed: (tuple[typed[0], ...], st.lists(typed[1], **few).map(tuple))),  # type: ignore[name-defined]
        inner.map(lambda typed: (Optional[typed[0]], st.none() | typed[1])),  # noqa: UP045
        inner.map(lambda typed: (Box[typed[0]], st.builds(Box[typed[0]], content=typed[1]))),  # type: ignore[name-defined]
        hashable.map(lambda typed: (set[typed[0]], st.sets(typed[1], **few))),  # type: ignore[name-defined]
        hashable.map(lambda typed: (frozenset[typed[0]], st.frozensets(typed[1], **few))),  # type: ignore[name-defined]
        st.tuples(inner, inner).map(
            lambda pair: (tuple[pair[0][0], pair[1][0]], st.tuples(pair[0][1], pair[1][1]))  # type: ignore[name-defined]
        ),
        st.tuples(hashable, inner).map(
            lambda pair: (dict[pair[0][0], pair[1][0]], st.dictionaries(pair[0][1], pair[1][1], **few))  # type: ignore[name-defined]
        ),
    )


ANY_TYPE = st.recursive(st.sampled_from([*LEAVES, *UNHASHABLE]), containers, max_leaves=5)


@st.composite
def values(draw: st.DrawFn) -> tuple[Any, Any]:
    kind, strategy = draw(ANY_TYPE)
    return draw(strategy), kind


@settings(max_examples=300, deadline=None)
@given(values())
def test_any_value_of_any_type_comes_back_from_its_body(typed: tuple[Any, Any]) -> None:
    value, kind = typed

    assert_same(value, through_the_body(value, kind))


@settings(max_examples=80, deadline=None)
@given(values())
def test_any_value_of_any_type_comes_back_from_the_broker(typed: tuple[Any, Any]) -> None:
    value, kind = typed

    assert_same(value, through_the_broker(value, kind))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.decimals(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(PLAIN)
def test_a_value_of_no_particular_shape_comes_back_with_all_its_types(value: Any) -> None:
    assert_same(value, through_the_body({"it": value}, dict)["it"])


MODELS = st.one_of(
    st.builds(User, name=st.text(), age=st.integers()),
    st.builds(Owner, pet=st.builds(Cat, lives=st.integers()), others=st.lists(st.builds(Dog, tricks=st.lists(st.text())))),
    st.builds(Order, size=st.integers(), when=st.datetimes(timezones=ZONES)),
    st.builds(Strict, number=st.integers(), which=st.uuids(), ratio=st.floats(allow_nan=False), color=st.sampled_from(Color)),
    st.builds(lambda number, extra: Open(number=number, **extra), st.integers(), st.dictionaries(st.from_regex(r"\Ax[a-z]{3}\Z"), PLAIN)),
    st.recursive(st.builds(Tree, value=st.integers()), lambda inner: st.builds(Tree, value=st.integers(), branches=st.lists(inner, max_size=3)), max_leaves=8),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(MODELS)
def test_any_model_comes_back_from_its_body_and_in_a_list(model: BaseModel) -> None:
    assert_same(model, through_the_body(model, type(model)))
    assert_same([model], through_the_body([model], list[type(model)]))  # type: ignore[misc]
