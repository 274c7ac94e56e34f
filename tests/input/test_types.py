# ruff: noqa: UP006, UP007, UP045, PYI061, FBT003 - types in every spelling that users have
"""A receiver of a type listens where the senders of its values send: one case for each kind of type."""

from __future__ import annotations

import abc
import collections
import collections.abc
import dataclasses
import enum
import numbers
import os
import re
import subprocess
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path, PurePath, PurePosixPath
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NoReturn,
    Optional,
    Protocol,
    SupportsInt,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pydantic
import pytest
import typing_extensions
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter

from flowchan.input.types import Body, body_of, channel_of, channels_of, class_name, members, unwraps

T = TypeVar("T")
Bounded = TypeVar("Bounded", bound=int)
Constrained = TypeVar("Constrained", int, str)


class Marked(BaseModel):
    """Bears the mark by which RunInput classes are known to the module under test."""

    model_config = ConfigDict(extra="forbid")
    __flowchan_input__: ClassVar[bool] = True


class Greeting(Marked):
    text: str


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str]


class Box(BaseModel, Generic[T]):
    content: T


class MarkedBox(Marked, Generic[T]):
    content: T


class IntBox(Box[int]):
    pass


class Ints(RootModel[list[int]]):
    pass


class Shape(BaseModel, abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


class Point(NamedTuple):
    x: int
    y: int


class GenericPoint(NamedTuple, Generic[T]):
    x: T


class Movie(typing_extensions.TypedDict):
    title: str


class Show(TypedDict):
    title: str


class Page(typing_extensions.TypedDict, Generic[T]):
    items: list[T]


@dataclasses.dataclass
class Order:
    size: int


@dataclasses.dataclass
class Pair(Generic[T]):
    left: T


@pydantic.dataclasses.dataclass
class Checked:
    size: int


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Walks(Protocol):
    def walk(self) -> None: ...


class WalksToo(typing_extensions.Protocol):
    def walk(self) -> None: ...


class Walker(Walks):
    def walk(self) -> None: ...


class Tracked(dict[str, int]):
    pass


UserId = NewType("UserId", int)
Boss = NewType("Boss", UserId)
OldMaybe = Optional[T]
Text = typing_extensions.TypeAliasType("Text", str | bytes)
Maybe = typing_extensions.TypeAliasType("Maybe", T | None, type_params=(T,))
Itself = typing_extensions.TypeAliasType("Itself", T, type_params=(T,))
K = TypeVar("K")
V = TypeVar("V")
Either = typing_extensions.TypeAliasType("Either", V | list[K], type_params=(K, V))
MaybeBoth = typing_extensions.TypeAliasType("MaybeBoth", Maybe[T] | bytes, type_params=(T,))
Yes = typing_extensions.TypeAliasType("Yes", Literal["yes"])
Tree = typing_extensions.TypeAliasType("Tree", "int | list[Tree]")
Pet = Annotated[Cat | Dog, Field(discriminator="kind")]

NONE = "nonetypeautomaticruninput-auto"


def auto(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}automaticruninput-auto" for name in names)


def case(annotation: Any, channels: tuple[str, ...], *sent: Any) -> Any:
    return pytest.param(annotation, channels, sent, id=repr(annotation))


CASES = [
    # builtins
    case(str, auto("str"), "x"),
    case(int, auto("int"), 1),
    case(bool, auto("bool"), True),
    case(float, auto("float"), 1.5),
    case(complex, auto("complex"), 1j),
    case(bytes, auto("bytes"), b"x", bytearray(b"x")),
    # None
    case(None, (NONE,), None),
    case(type(None), (NONE,), None),
    # collections: what is in them makes no channel
    case(list, auto("list"), [1]),
    case(list[int], auto("list"), [1]),
    case(typing.List[int], auto("list"), [1]),
    case(typing.List, auto("list"), [1]),
    case(list["Unknown"], auto("list")),  # noqa: F821
    case(list[Any], auto("list"), [1]),
    case(tuple, auto("tuple"), (1,)),
    case(tuple[int, ...], auto("tuple"), (1, 2)),
    case(tuple[str, float], auto("tuple"), ("a", 0.5)),
    case(typing.Tuple[int], auto("tuple"), (1,)),
    case(dict, auto("dict"), {"a": 1}),
    case(dict[str, int], auto("dict"), {"a": 1}),
    case(typing.Dict[str, int], auto("dict"), {"a": 1}),
    case(set[int], auto("set"), {1}),
    case(frozenset[int], auto("frozenset"), frozenset({1})),
    case(collections.deque[int], auto("deque"), collections.deque([1])),
    case(typing.Deque[int], auto("deque"), collections.deque([1])),
    case(collections.OrderedDict[str, int], auto("ordereddict"), collections.OrderedDict(a=1)),
    case(collections.Counter[str], auto("counter"), collections.Counter("aab")),
    case(collections.defaultdict[str, int], auto("defaultdict"), collections.defaultdict(int, a=1)),
    # Optional, Union and |
    case(Optional[str], (*auto("str"), NONE), "x", None),
    case(str | None, (*auto("str"), NONE), "x", None),
    case(None | str, (NONE, *auto("str")), "x", None),
    case(Union[int, str], auto("int", "str"), 1, "x"),
    case(Union[int, Optional[Union[str, bytes]]], (*auto("int", "str", "bytes"), NONE), 1, "x", b"x", None),
    case(Union[list[int], list[str], set[int]], auto("list", "set"), [1], ["x"], {1}),
    case(OldMaybe[int], (*auto("int"), NONE), 1, None),
    # Literal
    case(Literal["a", "b"], auto("str"), "a"),
    case(Literal["a", 1, True, b"x", None], (*auto("str", "int", "bool", "bytes"), NONE), "a", 1, True, b"x", None),
    case(Literal[True], auto("bool"), True),
    case(Literal[1], auto("int"), 1),
    case(Literal[Color.RED, "red"], auto("color", "str"), Color.RED, "red"),
    case(Literal["a", 1], auto("str", "int"), "a", 1),
    case(Literal["no", Yes], auto("str"), "no", "yes"),
    case(typing_extensions.Literal["a"], auto("str"), "a"),
    # Annotated
    case(Annotated[int, Field(gt=0)], auto("int"), 1),
    case(Annotated[Annotated[str, "inner"], "outer"], auto("str"), "x"),
    case(Annotated[int | None, {"not": "hashable"}], (*auto("int"), NONE), 1, None),
    case(Optional[Annotated[int, Field(gt=0)]], (*auto("int"), NONE), 1, None),
    # NewType
    case(UserId, auto("int"), UserId(7)),
    case(Boss, auto("int"), Boss(UserId(7))),
    case(NewType("Pets", Cat), ("catruninput-auto",), Cat(lives=9)),
    # TypeAliasType
    case(Text, auto("str", "bytes"), "x", b"x"),
    case(Maybe[int], (*auto("int"), NONE), 1, None),
    case(Maybe[list[int]], (*auto("list"), NONE), [1], None),
    case(Itself[int], auto("int"), 1),
    case(Itself[Maybe[str | bytes]], (*auto("str", "bytes"), NONE), "x", b"x", None),
    case(Maybe[Maybe[int]], (*auto("int"), NONE), 1, None),
    case(Either[int, str], auto("str", "list"), "x", [1]),
    case(MaybeBoth[int], (*auto("int"), NONE, *auto("bytes")), 1, None, b"x"),
    case(Yes, auto("str"), "yes"),
    case(
        pydantic.JsonValue,
        (*auto("list", "dict", "str", "bool", "int", "float"), NONE),
        *([1], {"a": 1}, "x", True, 1, 1.5, None),
    ),
    # classes whose instances are of another class
    case(Movie, auto("dict"), {"title": "x"}),
    case(Show, auto("dict")),
    case(Page[int], auto("dict"), {"items": [1]}),
    case(Path, auto("path"), Path("a")),
    case(type(Path()), auto("path"), Path("a")),
    case(PurePath, auto("purepath"), PurePath("a")),
    case(PurePosixPath, auto("purepath"), PurePosixPath("a")),
    # NamedTuple, dataclass, enum
    case(Point, auto("point"), Point(1, 2)),
    case(GenericPoint[int], auto("genericpoint"), GenericPoint(1)),
    case(Order, auto("order"), Order(1)),
    case(Pair[int], auto("pair"), Pair(1)),
    case(Checked, auto("checked"), Checked(1)),
    case(Color, auto("color"), Color.RED),
    case(Level, auto("level"), Level.LOW),
    case(Word, auto("word"), Word.YES),
    # the standard library's
    case(datetime, auto("datetime"), datetime(2026, 1, 2, tzinfo=UTC)),
    case(date, auto("date"), date(2026, 1, 2)),
    case(time, auto("time"), time(1, 2)),
    case(timedelta, auto("timedelta"), timedelta(seconds=1)),
    case(Decimal, auto("decimal"), Decimal("1.5")),
    case(Fraction, auto("fraction"), Fraction(1, 3)),
    case(UUID, auto("uuid"), uuid4()),
    case(ZoneInfo, auto("zoneinfo"), ZoneInfo("UTC")),
    case(re.Pattern[str], auto("pattern"), re.compile("x")),
    case(typing.Pattern[str], auto("pattern"), re.compile("x")),
    case(IPv4Address, auto("ipv4address"), IPv4Address("127.0.0.1")),
    # pydantic's
    case(pydantic.PositiveInt, auto("int"), 1),
    case(pydantic.StrictStr, auto("str"), "x"),
    case(pydantic.conint(gt=0), auto("int"), 1),
    case(pydantic.FilePath, auto("path"), Path(__file__)),
    case(pydantic.UUID4, auto("uuid"), uuid4()),
    case(pydantic.EmailStr, auto("str")),
    case(pydantic.AwareDatetime, auto("datetime"), datetime(2026, 1, 2, tzinfo=UTC)),
    case(pydantic.NaiveDatetime, auto("datetime"), datetime(2026, 1, 2)),  # noqa: DTZ001 - what the type is for
    case(pydantic.PastDatetime, auto("datetime"), datetime(2020, 1, 2, tzinfo=UTC)),
    case(pydantic.FutureDatetime, auto("datetime"), datetime(9020, 1, 2, tzinfo=UTC)),
    case(pydantic.PastDate, auto("date"), date(2020, 1, 2)),
    case(pydantic.FutureDate, auto("date"), date(9020, 1, 2)),
    case(pydantic.IPvAnyAddress, auto("ipv4address", "ipv6address"), IPv4Address("127.0.0.1"), IPv6Address("::1")),
    case(pydantic.IPvAnyInterface, auto("ipv4interface", "ipv6interface")),
    case(pydantic.IPvAnyNetwork, auto("ipv4network", "ipv6network")),
    case(pydantic.AnyUrl, auto("anyurl"), pydantic.AnyUrl("https://example.org/")),
    case(pydantic.HttpUrl, auto("httpurl"), pydantic.HttpUrl("https://example.org/")),
    case(pydantic.SecretStr, auto("secretstr"), pydantic.SecretStr("x")),
    case(pydantic.Secret[int], auto("secret"), pydantic.Secret(1)),
    case(pydantic.ByteSize, auto("bytesize"), pydantic.ByteSize(1)),
    # models
    case(Greeting, ("greeting-auto",), Greeting(text="x")),
    case(Cat, ("catruninput-auto",), Cat(lives=9)),
    case(Box[int], ("boxruninput-auto",), Box[int](content=1), Box(content=1)),
    case(Box, ("boxruninput-auto",), Box[int](content=1), Box(content=1)),
    case(IntBox, ("intboxruninput-auto",), IntBox(content=1)),
    case(MarkedBox[int], ("markedbox-auto",), MarkedBox[int](content=1)),
    case(Ints, auto("ints"), Ints([1])),
    case(RootModel[int], auto("rootmodel"), RootModel[int](1)),
    case(Optional[Cat], ("catruninput-auto", NONE), Cat(lives=9), None),
    case(Cat | Dog, ("catruninput-auto", "dogruninput-auto"), Cat(lives=9), Dog(tricks=["sit"])),
    case(Pet, ("catruninput-auto", "dogruninput-auto"), Cat(lives=9), Dog(tricks=["sit"])),
    case(Greeting | str, ("greeting-auto", *auto("str")), Greeting(text="x"), "x"),
    # a class that fulfils a protocol, and one that subclasses a builtin, are classes like any other
    case(Walker, auto("walker")),
    case(Tracked, auto("tracked")),
]


@pytest.mark.parametrize("annotation, channels, sent", CASES)
def test_a_type_has_these_channels(annotation: Any, channels: tuple[str, ...], sent: tuple[Any, ...]) -> None:
    assert channels_of(annotation) == channels
    assert {channel_of(type(value)) for value in sent} <= set(channels)


@pytest.mark.parametrize("annotation, channels, sent", [c for c in CASES if c.values[2]])
def test_what_is_sent_on_a_channel_of_a_type_validates_as_that_type(
    annotation: Any, channels: tuple[str, ...], sent: tuple[Any, ...]
) -> None:
    """The receiver's half of :func:`members`, spelt out: wrap fields that go through AutomaticRunInput."""
    del channels
    automatic = pydantic.create_model("Automatic", value=(annotation, ...))
    for value in sent:
        # Given a body as the sender makes it
        form = members(annotation)[channel_of(type(value))]
        body = dict(value) if form is Body.FIELDS else {"value": value}
        # When the receiver validates it by the form that its channel tells
        if unwraps(annotation):
            received = automatic.model_validate({"value": body} if form is Body.FIELDS else body).value
        else:
            received = TypeAdapter(annotation).validate_python(body)
        # Then it is what was sent (a bare generic model comes back as the one that was asked for)
        assert received == value or dict(received) == dict(value)


@pytest.mark.parametrize(
    "annotation, value",
    [
        (float, 1),
        (int, True),
        (int, Level.LOW),
        (str, Word.YES),
        (datetime, date(2026, 1, 2)),
        (date, datetime(2026, 1, 2, tzinfo=UTC)),
        (dict[str, int], collections.Counter("a")),
        (dict[str, int], collections.OrderedDict(a=1)),
        (Path, "a"),
        (Path, PurePath("a")),
        (tuple[int, int], Point(1, 2)),
        (tuple[int, ...], [1]),
        (Literal[1], True),
        (pydantic.SecretStr, "x"),
        (Box[int], IntBox(content=1)),
        (Cat, Dog(tricks=[])),
        (pydantic.AnyUrl, pydantic.HttpUrl("https://example.org/")),
    ],
    ids=repr,
)
def test_types_must_match_and_a_similar_class_is_another_channel(annotation: Any, value: object) -> None:
    assert channel_of(type(value)) not in channels_of(annotation)


@pytest.mark.parametrize(
    "annotation", [pydantic.Json, pydantic.Json[int], pydantic.Json[Any], Optional[pydantic.Json]], ids=repr
)
def test_json_is_sent_as_text_or_bytes_whatever_it_holds(annotation: Any) -> None:
    assert channels_of(annotation)[:2] == auto("str", "bytes")
    for text in ("1", b"1"):
        assert TypeAdapter(annotation).validate_python(text) == 1


def test_an_import_string_is_sent_as_text() -> None:
    assert channels_of(pydantic.ImportString) == auto("str")
    assert channels_of(pydantic.ImportString[Callable[..., Any]]) == auto("str")


@pytest.mark.parametrize(
    "annotation, shown",
    [
        (Any, "typing.Any"),
        (object, "<class 'object'>"),
        (T, "~T"),
        (Bounded, "~Bounded"),
        (Constrained, "~Constrained"),
        (Optional[T], "~T"),
        (Optional[Any], "typing.Any"),
        (Annotated[Any, Field()], "typing.Any"),
        (Maybe, "~T"),
        (Maybe[Any], "typing.Any"),
        (Maybe[T], "~T"),
        (NewType("Anything", object), "<class 'object'>"),
        (Union, "typing.Union"),
        (Optional, "typing.Optional"),
        (Literal, "typing.Literal"),
        (NoReturn, "typing.NoReturn"),
        (typing.LiteralString, "typing.LiteralString"),
        (ClassVar[int], "typing.ClassVar[int]"),
        (Callable, "collections.abc.Callable"),
        (typing.Callable[..., int], "typing.Callable[..., int]"),
        (Callable[[int], int], "collections.abc.Callable[[int], int]"),
        (Sequence, "collections.abc.Sequence"),
        (Sequence[int], "collections.abc.Sequence[int]"),
        (typing.Sequence[int], "typing.Sequence[int]"),
        (Mapping[str, int], "collections.abc.Mapping[str, int]"),
        (MutableMapping, "collections.abc.MutableMapping"),
        (Iterable[int], "collections.abc.Iterable[int]"),
        (collections.abc.Set, "collections.abc.Set"),
        (collections.abc.Hashable, "collections.abc.Hashable"),
        (numbers.Number, "numbers.Number"),
        (os.PathLike, "os.PathLike"),
        (os.PathLike[str], "os.PathLike[str]"),
        (typing.IO, "typing.IO"),
        (Protocol, "typing.Protocol"),
        (SupportsInt, "typing.SupportsInt"),
        (Generic, "typing.Generic"),
        (Walks, f"{__name__}.Walks"),
        (WalksToo, f"{__name__}.WalksToo"),
        (Shape, f"{__name__}.Shape"),
        (enum.Enum, "enum.Enum"),
        (enum.StrEnum, "enum.StrEnum"),
        ("User", "'User'"),
        (Optional["User"], "ForwardRef('User')"),  # noqa: F821
        (Tree, "'int | list[Tree]'"),
        (5, "5"),
        pytest.param(typing.NamedTuple, "<function NamedTuple", id="NamedTuple"),
    ],
    ids=repr,
)
def test_a_type_whose_values_have_no_known_class_asks_for_a_key_prefix(annotation: Any, shown: str) -> None:
    with pytest.raises(TypeError) as error:
        channels_of(annotation)

    message = str(error.value)
    assert message.startswith(f"Cannot derive a channel from {shown}"), message
    assert message.endswith("give key_prefix."), message


def test_a_name_in_quotes_is_told_from_a_type() -> None:
    with pytest.raises(TypeError, match=r"'User': it is a type's name and not the type; pass the type, or"):
        channels_of("User")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a syntax of Python 3.12; TypeAliasType is tested on all")
@pytest.mark.parametrize(
    "statement, annotation, channels",
    [
        ("type Text = str | bytes", "Text", auto("str", "bytes")),
        ("type Maybe[T] = T | None", "Maybe[int]", (*auto("int"), NONE)),
        ("type Same[T] = T", "Same[Same[int]]", auto("int")),
        ("type Either[K, V] = V | list[K]", "Either[int, str]", auto("str", "list")),
        ("type Nested = int | list[Nested]", "Nested", auto("int", "list")),
        ("class Crate[T](BaseModel): content: T", "Crate[int]", ("crateruninput-auto",)),
    ],
)
def test_the_type_statement_is_followed(statement: str, annotation: str, channels: tuple[str, ...]) -> None:
    names: dict[str, Any] = {"BaseModel": BaseModel, "__name__": __name__}
    exec(statement, names)
    assert channels_of(eval(annotation, names)) == channels


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a syntax of Python 3.12")
def test_parameters_that_cannot_be_told_apart_are_not_guessed() -> None:
    names: dict[str, Any] = {}
    exec("type Last[*Ts, T] = T | None", names)
    with pytest.raises(TypeError, match="give key_prefix"):
        channels_of(names["Last"][int, str, bool])


@pytest.mark.parametrize(
    "cls, name",
    [
        (str, "strAutomaticRunInput"),
        (memoryview, "bytesAutomaticRunInput"),
        (type(None), "nonetypeAutomaticRunInput"),
        (Color, "colorAutomaticRunInput"),
        (type(Path()), "pathAutomaticRunInput"),
        (Cat, "CatRunInput"),
        (Box[int], "BoxRunInput"),
        (Box, "BoxRunInput"),
        (Greeting, "Greeting"),
        (MarkedBox[int], "MarkedBox"),
        (Ints, "intsAutomaticRunInput"),
    ],
    ids=repr,
)
def test_a_class_is_carried_by_a_run_input_of_this_name(cls: type, name: str) -> None:
    assert class_name(cls) == name
    assert channel_of(cls) == name.lower() + "-auto"


@pytest.mark.parametrize("cls", [Greeting, Cat, Box, Box[int], IntBox], ids=repr)
def test_a_model_travels_as_its_fields_and_is_delivered_as_itself(cls: type) -> None:
    assert body_of(cls) is Body.FIELDS
    assert not unwraps(cls)


@pytest.mark.parametrize("cls", [str, list, Color, Order, Point, Movie, type(None), Ints, RootModel[int]], ids=repr)
def test_anything_else_travels_as_a_value_and_is_delivered_bare(cls: type) -> None:
    assert body_of(cls) is Body.VALUE
    assert unwraps(cls)


@pytest.mark.parametrize(
    "annotation",
    [None, Any, list[int], Optional[Cat], Cat | Dog, Pet, Annotated[Cat, "x"], T, "Cat", Literal[1]],
    ids=repr,
)
def test_what_is_no_class_is_delivered_bare(annotation: Any) -> None:
    assert unwraps(annotation)


def test_each_channel_of_a_union_tells_the_form_of_its_bodies() -> None:
    assert dict(members(Cat | Greeting | int | None)) == {
        "catruninput-auto": Body.FIELDS,
        "greeting-auto": Body.FIELDS,
        "intautomaticruninput-auto": Body.VALUE,
        NONE: Body.VALUE,
    }


def test_a_root_model_cannot_be_upgraded_and_so_travels_as_a_value() -> None:
    # Were this to pass one day, body_of could treat it like every other model.
    with pytest.raises(pydantic.PydanticUserError, match="extra"):
        type("IntsRunInput", (Marked, Ints), {})


def test_deriving_a_channel_does_not_import_pydantics_networks() -> None:
    program = """
        import sys
        from flowchan.input.types import channels_of
        channels_of(int | None)
        print(sorted({"pydantic.networks"} & set(sys.modules)))
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
