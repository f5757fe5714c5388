"""Arguments with types: `send` writes them as plain JSON, and a worker reads them back."""

import dataclasses
import enum
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import dramatiq
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue, RootModel, SecretStr

import workshed
from workshed.middleware.options.keys import render_key
from workshed.settings import Settings
from workshed.transport.arguments.actor_arguments import build_arguments
from workshed.transport.arguments.shape import describe_arguments
from workshed.transport.build import build_broker
from workshed.transport.errors import (
    AmbiguousUnionError,
    ArgumentTypeError,
    InvalidArgumentError,
)

if TYPE_CHECKING:
    from fractions import Fraction

KEY = UUID("0b5c3f7e-7e0b-4e9d-9d0a-0f4d4b1f6c11")
NOON = datetime(2026, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))
UserId = NewType("UserId", int)
AccountKey = NewType("AccountKey", UUID)
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(frozen=True)
class Line:
    price: Decimal
    amount: int = 1


@dataclasses.dataclass
class Order:
    key: UUID
    lines: list[Line]
    placed_at: datetime | None = None
    colours: set[Colour] = dataclasses.field(default_factory=set)


@dataclasses.dataclass
class GiftOrder(Order):
    note: str = ""


class Address(TypedDict):
    since: date
    street: NotRequired[str]


class LaterAddress(Address, total=False):
    until: date


class Box(TypedDict):
    width: int


class Folder(TypedDict):
    folders: "list[Folder]"


class Span(NamedTuple):
    first: date
    days: int


class Customer(BaseModel):
    name: str = Field(alias="fullName")
    born: date
    orders: list[Order] = []


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Tags(BaseModel):
    words: frozenset[str] = Field(alias="ofOrder")


class Tagged(BaseModel):
    kind: Literal["tagged"] = "tagged"
    inner: Tags | None = None
    words: frozenset[str] = frozenset()


@dataclasses.dataclass
class Labels:
    words: frozenset[str]


class Visit(BaseModel):
    at: datetime
    _note: str = ""


@dataclasses.dataclass
class Silent:
    key: UUID
    cache: Any = sys


class Odd(BaseModel):
    @classmethod
    def __get_pydantic_json_schema__(cls, schema, handler):
        raise ZeroDivisionError


class Secret(BaseModel):
    password: SecretStr


class Opaque:
    """No library knows its fields."""


@dataclasses.dataclass
class Tree:
    key: UUID
    branches: "list[Tree]"


ORDER = Order(KEY, [Line(Decimal("9.90")), Line(Decimal(1), 3)], NOON, {Colour.RED, Colour.BLUE})
CUSTOMER = Customer(fullName="Ada", born=date(1815, 12, 10), orders=[ORDER])

EXAMPLES = [
    (UUID, KEY, str(KEY)),
    (AccountKey, KEY, str(KEY)),
    (datetime, NOON, "2026-06-01T12:00:00+02:00"),
    (datetime, NOON.replace(tzinfo=None), "2026-06-01T12:00:00"),
    (date, date(2026, 6, 1), "2026-06-01"),
    (time, time(9, 30), "09:30:00"),
    (timedelta, timedelta(days=1, seconds=1), "P1DT1S"),
    (Decimal, Decimal("1.10"), "1.10"),
    (Colour, Colour.RED, "red"),
    (Level, Level.LOW, 1),
    (Literal[Colour.RED], Colour.RED, "red"),
    (UUID | None, None, None),
    (UUID | int, KEY, str(KEY)),
    (UUID | int, 7, 7),
    (list[UUID], [KEY], [str(KEY)]),
    (Sequence[date], [date(2026, 6, 1)], ["2026-06-01"]),
    (Iterable[UUID], [KEY], [str(KEY)]),
    (LaterAddress, {"since": date(2026, 6, 1)}, {"since": "2026-06-01"}),
    (Mapping[str, UUID], {"a": KEY}, {"a": str(KEY)}),
    (dict[UUID, int], {KEY: 1}, {str(KEY): 1}),
    (tuple[int, ...], (1, 2), [1, 2]),
    (tuple[UUID, int], (KEY, 2), [str(KEY), 2]),
    (set[int], {3, 1, 2}, [1, 2, 3]),
    (frozenset[str], frozenset("cab"), ["a", "b", "c"]),
    (Annotated[UUID, "an order's"], KEY, str(KEY)),
    (Address, {"since": date(2026, 6, 1)}, {"since": "2026-06-01"}),
    (Span, Span(date(2026, 6, 1), 7), ["2026-06-01", 7]),
    (
        Order,
        ORDER,
        {
            "key": str(KEY),
            "lines": [{"price": "9.90", "amount": 1}, {"price": "1", "amount": 3}],
            "placed_at": "2026-06-01T12:00:00+02:00",
            "colours": ["blue", "red"],
        },
    ),
    (
        Tree,
        Tree(KEY, [Tree(KEY, [])]),
        {"key": str(KEY), "branches": [{"key": str(KEY), "branches": []}]},
    ),
    (list[Address | None], [{"since": date(2026, 6, 1)}, None], [{"since": "2026-06-01"}, None]),
    (
        Annotated[Cat | Dog, Field(discriminator="kind")],
        Dog(name="Rex"),
        {"kind": "dog", "name": "Rex"},
    ),
]

NESTED = []
"""Types that name themselves, which Python has from 3.12 on."""
if sys.version_info >= (3, 12):
    for leaf, form_of_leaf in (("str | int", 7), ("UUID", str(KEY))):
        names = {"UUID": UUID}
        exec(f"type Nested = dict[str, Nested] | list[Nested] | {leaf}", names)  # noqa: S102 -- older Pythons cannot read it
        NESTED.append((names["Nested"], form_of_leaf))

VALUES = {
    UUID: st.uuids(),
    datetime: st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    date: st.dates(),
    time: st.times(),
    timedelta: st.timedeltas(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    Colour: st.sampled_from(Colour),
    set[int]: st.sets(st.integers(-(2**63), 2**63 - 1)),
    tuple[date, ...]: st.lists(st.dates()).map(tuple),
    dict[str, UUID]: st.dictionaries(st.text(st.characters(codec="utf-8")), st.uuids()),
    Order: st.builds(
        Order,
        st.uuids(),
        st.lists(st.builds(Line, st.decimals(allow_nan=False, allow_infinity=False))),
        st.none() | st.datetimes(timezones=st.just(UTC)),
        st.sets(st.sampled_from(Colour)),
    ),
    Span: st.builds(Span, st.dates(), st.integers(0, 2**31)),
}


@pytest.fixture
def stub():
    return build_broker(Settings(broker_url="stub://"))


@pytest.fixture
def declare(stub):
    """`declare(function)`: make it an actor of `workshed.actor`."""
    return lambda function, **options: workshed.actor(broker=stub, **options)(function)


def taking(hint):
    def job(value: hint):
        pass

    return job


def as_sent(message):
    """Return a message as a worker receives it."""
    return message.copy(args=tuple(orjson.loads(orjson.dumps(message.args))))


@pytest.mark.parametrize(("hint", "value", "form"), EXAMPLES)
def test_a_value_travels_as_plain_json_and_arrives_as_it_was(stub, declare, hint, value, form):
    job = declare(taking(hint))

    message = job.send(value)

    assert message.args == (form,)
    [received], _ = job.arguments.decode(as_sent(message))
    assert received == value
    assert type(received) is type(value)
    assert message.options == {}


@pytest.mark.parametrize(("hint", "value", "form"), EXAMPLES)
def test_the_json_form_of_a_value_is_sent_as_it_is(declare, hint, value, form):
    job = declare(taking(hint))

    message = job.send(form)

    assert message.args == (form,)
    [received], _ = job.arguments.decode(as_sent(message))
    assert received == value


@given(st.data())
def test_any_value_of_a_type_arrives_as_it_was(data):
    hint = data.draw(st.sampled_from(list(VALUES)))
    value = data.draw(VALUES[hint])
    arguments = build_arguments("job", taking(hint))

    forms, _ = arguments.encode((value,), {})

    assert arguments.codecs["value"].decode(orjson.loads(orjson.dumps(forms[0]))) == value


@pytest.mark.parametrize(
    ("hint", "value", "field", "reason"),
    [
        (UUID, "x", "value", "a string does not fit: Input should be a valid UUID"),
        (UUID, 7, "value", "an integer does not fit"),
        (UUID, None, "value", "null does not fit"),
        (UUID, Opaque(), "value", "Opaque does not fit: it must be UUID"),
        (datetime, date(2026, 6, 1), "value", "date does not fit: "),
        (Decimal, Decimal("NaN"), "value", "does not fit: Input should be a finite number"),
        (Level, 2, "value", "an integer does not fit: Input should be 1"),
        (list[UUID], [KEY, "x"], "value[1]", "a string does not fit"),
        (UUID | int, 1.5, "value", "a number does not fit"),
        (Order, {"key": str(KEY), "lines": [{}]}, "value.lines[0].price", "nothing does not fit"),
        (
            Order,
            Order(KEY, [Line(Decimal(1)), Line("x")]),
            "value.lines[1].price",
            "a string does not fit: Input should be a valid decimal",
        ),
        (Order, Order(KEY, [Line(Decimal(1), "3")]), "value.lines[0].amount", "a string"),
        (Literal[Colour.RED], Colour.BLUE, "value", "Input should be 'red'"),
        (Address, {"since": "x"}, "value.since", "a string does not fit"),
        (LaterAddress, {"until": "2026-06-01"}, "value.since", "nothing does not fit"),
        (Iterable[UUID], [KEY, "x"], "value[1]", "a string does not fit"),
        (Order, GiftOrder(KEY, []), "value", "GiftOrder does not fit: it must be Order, and equal"),
        (dict[str, UUID], {"a b": "x"}, "value['a b']", "a string does not fit"),
        (Secret, Secret(password="s3cret"), "value", "Secret does not fit: it must be Secret, and"),
        (
            datetime,
            datetime(1900, 1, 1, tzinfo=timezone(timedelta(seconds=3601))),
            "value",
            "equal after it was written as JSON",
        ),
    ],
)
def test_send_refuses_a_value_that_does_not_fit(stub, declare, hint, value, field, reason):
    job = declare(taking(hint))

    with pytest.raises(ArgumentTypeError) as refused:
        job.send(value)

    assert str(refused.value).startswith(f"job: argument {field}: ")
    assert reason in str(refused.value)
    assert (refused.value.actor, refused.value.field) == ("job", field)
    assert "s3cret" not in str(refused.value)
    assert isinstance(refused.value, TypeError)
    assert stub.sent == []


@pytest.mark.parametrize(
    "hint",
    [
        int,
        str,
        float,
        bool,
        Any,
        object,
        list,
        dict,
        T,
        UserId,
        int | None,
        list[int],
        dict[str, Any],
        Sequence[int],
        Iterable[str],
        Literal["a", 1],
        Box,
        Folder,
        Annotated[int, Field(ge=0)],
        str | int | list[str],
        Opaque,
        list[Opaque],
        "Fraction",
        "no type at all",
    ],
)
def test_plain_json_needs_no_codec_and_stays_as_it_is(declare, hint):
    assert declare(taking(hint)).arguments is None


def test_a_name_only_for_type_checkers_leaves_the_other_arguments_typed(declare):
    def job(share: "Fraction", key: "UUID", *, when: "datetime | None" = None):
        pass

    actor = declare(job)

    assert actor.send("1/3", KEY, when=NOON).kwargs == {"when": "2026-06-01T12:00:00+02:00"}
    assert set(actor.arguments.codecs) == {"key", "when"}


def test_on_python_3_14_names_need_no_quotes(declare):
    """From 3.14 on, `inspect.signature` evaluates them, and raises `NameError`."""
    quote = "" if sys.version_info >= (3, 14) else "'"
    names = {"UUID": UUID}
    text = f"def job(share: {quote}Fraction{quote}, key: {quote}UUID{quote}): pass"
    exec(text, names)  # noqa: S102 -- the quotes depend on Python's version

    actor = declare(names["job"])

    assert actor.send("1/3", KEY).args == ("1/3", str(KEY))
    with pytest.raises(InvalidArgumentError, match="missing a required argument: 'key'"):
        actor.send_with_options(args=("1/3",))
    assert [one["name"] for one in describe_arguments(actor.fn, None)["parameters"]] == [
        "share",
        "key",
    ]


@pytest.mark.parametrize(("hint", "form"), [(JsonValue, 7), *NESTED])
def test_an_alias_may_name_itself(declare, hint, form):
    job = declare(taking(hint))

    message = job.send({"a": [{"b": form}]})

    assert message.args == ({"a": [{"b": form}]},)
    if form == str(KEY):
        assert job.send({"a": [{"b": KEY}]}).args == message.args
        assert job.arguments.decode(message)[0] == ({"a": [{"b": KEY}]},)


def test_an_alias_of_a_name_that_does_not_exist_is_plain_json(declare):
    class TypeAliasType:
        @property
        def __value__(self):
            raise NameError("Fraction")

    assert declare(taking(TypeAliasType())).arguments is None


def test_each_of_the_arguments_of_a_starred_parameter_is_typed(declare):
    def job(first: int, *keys: UUID, **dates: date):
        pass

    actor = declare(job)
    message = actor.send(1, KEY, KEY, opened=date(2026, 6, 1))

    assert message.args == (1, str(KEY), str(KEY))
    assert message.kwargs == {"opened": "2026-06-01"}
    received = ((1, KEY, KEY), {"opened": date(2026, 6, 1)})
    assert actor.arguments.decode(message) == received
    with pytest.raises(ArgumentTypeError, match=r"argument keys\[1\]: a string"):
        actor.send(1, KEY, "x")
    with pytest.raises(ArgumentTypeError, match="argument closed: a string"):
        actor.send(1, closed="x")


def test_a_default_of_none_is_accepted_and_other_defaults_stay(declare):
    def job(key: UUID = None, when: date = date(2026, 1, 1)):  # noqa: RUF013 -- as people write
        return key, when

    actor = declare(job)

    assert actor.arguments.decode(actor.send(None)) == ((None,), {})
    assert actor.perform_now() == (None, date(2026, 1, 1))


def test_a_model_of_pydantic_is_written_by_its_aliases(declare):
    job = declare(taking(Customer))
    message = job.send(CUSTOMER)

    assert message.args[0]["fullName"] == "Ada"
    assert job.arguments.decode(as_sent(message))[0] == (CUSTOMER,)


def test_perform_now_passes_what_a_worker_would_pass(declare):
    def job(order: Order):
        return order

    performed = declare(job).perform_now(ORDER)

    assert performed == ORDER
    assert performed is not ORDER


@pytest.mark.parametrize(
    "hint",
    [
        date | str,
        UUID | Colour,
        list[UUID] | tuple[int, ...],
        list[date | datetime],
        Cat | Dog,
        dict[str, Decimal | str],
        Level | int,
    ],
)
def test_a_union_that_json_cannot_tell_apart_is_refused_at_its_declaration(declare, hint):
    with pytest.raises(AmbiguousUnionError, match=r"argument value: JSON cannot tell .+ apart"):
        declare(taking(hint))


def test_also_in_a_field_of_a_dataclass(declare):
    @dataclasses.dataclass
    class Loose:
        when: date | str

    with pytest.raises(AmbiguousUnionError, match="date and str"):
        declare(taking(list[Loose]))


@pytest.mark.parametrize(
    ("version", "upgrade", "reason"),
    [
        (0, None, "version=0 is not a whole number from 1 on"),
        (True, None, "version=True is not a whole number"),
        (2, None, "version=2 needs upgrade="),
        (1, lambda version, args, kwargs: (args, kwargs), "upgrade= needs version=2"),
    ],
)
def test_a_version_needs_an_upgrade(declare, version, upgrade, reason):
    with pytest.raises(ValueError, match=reason):
        declare(taking(int), version=version, upgrade=upgrade)


def split_name(version, args, kwargs):
    """Version 1 was a full name."""
    first, _, last = args[0].partition(" ")
    return (), {"first": first, "last": last}


def test_older_arguments_are_upgraded_and_keep_their_message(declare):
    def greet(*, first: str, last: str):
        pass

    actor = declare(greet, version=2, upgrade=split_name)
    message = actor.send(first="Ada", last="Lovelace")
    old = message.copy(args=("Ada Lovelace",), kwargs={})
    del old.options["arguments_version"]
    actor.broker.check_message(old)  # as a retry does

    assert message.options == {"arguments_version": 2}
    assert actor.arguments.decode(message) == ((), {"first": "Ada", "last": "Lovelace"})
    assert actor.arguments.decode(old) == ((), {"first": "Ada", "last": "Lovelace"})
    assert old.args == ("Ada Lovelace",)


def test_an_upgrade_that_fails_is_named(declare):
    actor = declare(taking(int), version=2, upgrade=split_name)
    message = actor.message(7).copy(args=(7,))
    message.options["arguments_version"] = 1

    with pytest.raises(InvalidArgumentError, match="from version 1 to 2 raised AttributeError"):
        actor.arguments.decode(message)


@pytest.mark.parametrize("returned", [None, (None, {}), ([], 7), ((), {}, 1)])
def test_an_upgrade_that_returns_no_arguments_is_named(declare, returned):
    actor = declare(taking(int), version=2, upgrade=lambda version, args, kwargs: returned)
    message = actor.message(7)
    message.options["arguments_version"] = 1

    with pytest.raises(InvalidArgumentError, match=r"from version 1 to 2 raised (Type|Value)Error"):
        actor.arguments.decode(message)


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((), {}, "missing a required argument: 'value'"),
        ((KEY, 7), {}, "too many positional arguments"),
        ((KEY,), {"value": KEY}, "multiple values for argument 'value'"),
        ((), {"value": KEY, "other": 7}, "got an unexpected keyword argument 'other'"),
    ],
)
def test_a_worker_refuses_arguments_that_its_actor_does_not_take(declare, args, kwargs, reason):
    arguments = declare(taking(UUID)).arguments
    message = dramatiq.Message("default", "job", *arguments.encode(args, kwargs), options={})

    with pytest.raises(InvalidArgumentError, match=reason):
        arguments.decode(message)


def test_hooks_around_get_the_json_form_in_perform_now_too(declare):
    noted = []

    @contextmanager
    def around(message):
        noted.append((message.args, message.kwargs))
        yield

    def job(key: UUID, *, on: date | None = None):
        pass

    actor = declare(job, around_perform=around)
    actor.perform_now(KEY, on=date(2026, 6, 1))
    actor("no key")

    assert noted == [((str(KEY),), {"on": "2026-06-01"}), (("no key",), {})]


def test_an_error_quotes_no_part_of_a_value(declare):
    with pytest.raises(ArgumentTypeError) as refused:
        declare(taking(UUID)).send("zebra")

    assert str(refused.value).endswith("Input should be a valid UUID")


def test_a_key_of_arguments_is_the_same_with_a_default_given_or_not(declare):
    def job(number: int, at: datetime = NOON, price: Decimal = Decimal(1)):
        pass

    actor = declare(job)
    sent = [(7,), (7, NOON), (7, "2026-06-01T12:00:00+02:00", Decimal(1))]

    keys = {render_key("job", actor, actor.message(*args), None) for args in sent}

    assert keys == {'job:[7,"2026-06-01T12:00:00+02:00","1"]'}


def test_a_key_of_older_arguments_is_made_of_the_upgraded_ones(declare):
    def greet(*, first: str, last: str):
        pass

    actor = declare(greet, version=2, upgrade=split_name)
    old = actor.message(first="", last="").copy(args=("Ada Lovelace",), kwargs={})
    del old.options["arguments_version"]

    assert render_key("greet", actor, old, ["last"]) == 'greet:["Lovelace"]'


def test_equal_sets_are_equal_json():
    arguments = build_arguments("job", taking(set[str]))
    words = [f"word {number}" for number in range(50)]

    [one], _ = arguments.encode((set(words),), {})
    [other], _ = arguments.encode(({*words[::-1]},), {})

    assert one == other == sorted(words)


@pytest.mark.parametrize(
    ("hint", "hold"),
    [
        (Tags, lambda words: Tags(ofOrder=words)),
        (list[Tags | None], lambda words: [None, Tags(ofOrder=words)]),
        (Tagged, lambda words: Tagged(inner=Tags(ofOrder=words))),
        (RootModel[Tags], lambda words: RootModel[Tags](Tags(ofOrder=words))),
        (dict[UUID, Labels], lambda words: {KEY: Labels(words)}),
        (Annotated[Tagged | Cat, Field(discriminator="kind")], lambda words: Tagged(words=words)),
        (frozenset[frozenset[str]], lambda words: frozenset({words})),
    ],
)
def test_also_inside_of_models(hint, hold):
    """Otherwise two processes would write two unique keys, because each has a hash of its own."""
    arguments = build_arguments("job", taking(hint))
    words = [f"word {number}" for number in range(50)]

    [form], _ = arguments.encode((hold(frozenset(words)),), {})

    assert orjson.dumps(sorted(words)) in orjson.dumps(form)


@pytest.mark.parametrize("month", [3, 10])
@pytest.mark.parametrize(
    ("hint", "hold"),
    [
        (datetime, lambda at: at),
        (list[datetime], lambda at: [at]),
        (dict[str, datetime], lambda at: {"at": at}),
        (Order, lambda at: Order(KEY, [], at)),
        (Visit, lambda at: Visit(at=at)),
    ],
)
def test_a_time_at_which_clocks_are_set_is_sent(hint, hold, month):
    """Python says that such a time equals none of another zone, such as that of its offset."""
    arguments = build_arguments("job", taking(hint))
    sunday = {3: 29, 10: 25}[month]
    times = [
        datetime(2026, month, sunday, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
        for fold in (0, 1)
    ]

    sent = [arguments.encode((hold(at),), {})[0] for at in times]

    assert "+01:00" in str(sent)
    assert "+02:00" in str(sent)


def test_a_dataclass_without_equality_is_compared_by_its_fields(declare):
    @dataclasses.dataclass(eq=False)
    class Parcel:
        key: UUID

    @dataclasses.dataclass(eq=False)
    class Letter(Parcel):
        stamp: str

    job = declare(taking(Parcel))

    assert job.send(Parcel(KEY)).args == ({"key": str(KEY)},)
    with pytest.raises(ArgumentTypeError, match="Letter does not fit"):
        job.send(Letter(KEY, "red"))


def test_a_value_of_a_model_that_is_not_written_is_refused(declare):
    visit = Visit(at=NOON)
    visit._note = "lost"

    with pytest.raises(ArgumentTypeError, match="Visit does not fit"):
        declare(taking(Visit)).send(visit)


def test_the_shape_names_what_json_needs():
    def job(
        order: Order,
        total: Decimal,
        amount: int,
        /,
        note: str | None = None,
        *,
        level: Level,
        other,
    ):
        pass

    assert describe_arguments(job, build_arguments("job", job)) == {
        "parameters": [
            {"name": "order", "by": "place", "required": True, "types": ["object"]},
            {"name": "total", "by": "place", "required": True, "types": ["number", "string"]},
            {"name": "amount", "by": "place", "required": True, "types": ["integer"]},
            {"name": "note", "by": "either", "required": False, "types": ["null", "string"]},
            {"name": "level", "by": "name", "required": True, "types": ["integer"]},
            {"name": "other", "by": "name", "required": True},
        ],
        "more_places": False,
        "more_names": False,
    }


@pytest.mark.parametrize("hint", [Silent, Odd])
def test_the_shape_of_a_type_that_json_schema_cannot_describe_is_no_error(hint):
    """A worker describes its actors when it starts, and warnings may be errors there."""
    described = describe_arguments(taking(hint), build_arguments("job", taking(hint)))

    assert described["parameters"][0]["name"] == "value"
