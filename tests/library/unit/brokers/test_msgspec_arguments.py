"""Structs of msgspec as arguments, in a program that has imported msgspec."""

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec
import pytest

import workshed
from workshed.settings import Settings
from workshed.transport.arguments.shape import describe_arguments
from workshed.transport.build import build_broker
from workshed.transport.errors import ArgumentTypeError

KEY = UUID("0b5c3f7e-7e0b-4e9d-9d0a-0f4d4b1f6c11")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Line(msgspec.Struct):
    price: Decimal
    colour: Literal["red", "blue"] = "red"


class Order(msgspec.Struct):
    key: UUID
    lines: list[Line]
    words: set[str] = set()
    at: datetime | None = None


class GiftOrder(Order):
    note: str = ""


class Shelf(msgspec.Struct):
    place: tuple[int, int]
    names: dict[int, str] = {}


class Loose(msgspec.Struct, eq=False):
    key: UUID


ORDER = Order(KEY, [Line(Decimal("9.90"))], {"b", "a"}, NOON)
FORM = {
    "key": str(KEY),
    "lines": [{"price": "9.90", "colour": "red"}],
    "words": ["a", "b"],
    "at": "2026-06-01T12:00:00Z",
}


@pytest.fixture
def declare():
    """`declare(function)`: make it an actor of `workshed.actor`."""
    stub = build_broker(Settings(broker_url="stub://"))
    return workshed.actor(broker=stub)


def taking(hint):
    def job(value: hint):
        pass

    return job


@pytest.mark.parametrize(
    ("hint", "value", "form"),
    [
        (Order, ORDER, FORM),
        (Order | None, ORDER, FORM),
        (Order | None, None, None),
        (dict[str, Order], {"a": ORDER}, {"a": FORM}),
        (list[Order | UUID], [KEY, ORDER], [str(KEY), FORM]),
        (Shelf, Shelf((1, 2), {7: "a"}), {"place": [1, 2], "names": {"7": "a"}}),
        (tuple[Shelf, int], (Shelf((1, 2)), 7), [{"place": [1, 2], "names": {}}, 7]),
    ],
)
def test_a_struct_travels_as_plain_json_and_arrives_as_it_was(declare, hint, value, form):
    job = declare(taking(hint))

    message = job.send(value)

    assert message.args == (form,)
    assert job.arguments.decode(message)[0] == (value,)
    assert job.send(form).args == (form,)


def test_a_struct_without_equality_is_compared_by_its_fields(declare):
    assert declare(taking(Loose)).send(Loose(KEY)).args == ({"key": str(KEY)},)


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({"key": 7, "lines": []}, "value.key", "an integer does not fit: Expected `uuid`"),
        ({"key": str(KEY), "lines": [{}]}, "value.lines[0]", "missing required field `price`"),
        (Order(KEY, [Line(1), Line("x")]), "value.lines[1].price", "Invalid decimal string"),
        ({**FORM, "lines": [{"price": "1", "colour": "s3cret"}]}, "value.lines[0].colour", "Inv"),
        (GiftOrder(KEY, []), "value", "GiftOrder does not fit: it must be Order, and equal"),
    ],
)
def test_send_refuses_a_struct_that_does_not_fit(declare, value, field, reason):
    with pytest.raises(ArgumentTypeError) as refused:
        declare(taking(Order)).send(value)

    assert refused.value.field == field
    assert reason in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_its_shape_is_that_of_its_schema(declare):
    job = declare(taking(Order | None))

    [parameter] = describe_arguments(job.fn, job.arguments)["parameters"]

    assert parameter["types"] == ["null", "object"]


def test_where_msgspec_is_not_imported_a_struct_is_no_type_that_is_known(declare, monkeypatch):
    monkeypatch.delitem(sys.modules, "msgspec")

    assert declare(taking(Order)).arguments is None
