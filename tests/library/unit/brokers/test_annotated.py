"""Arguments are checked against the annotations of the actor."""

import typing
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

import dramatiq
import pytest
from pydantic import Field

from workshed.queues import Queue
from workshed.settings import Settings
from workshed.transport.build import build_broker
from workshed.transport.errors import InvalidArgumentError, InvalidOptionError

if TYPE_CHECKING:
    from decimal import Decimal


BARE_LIST, BARE_DICT = (getattr(typing, name) for name in ("List", "Dict"))
"""Without parameters, as older code has them."""


class Colour(StrEnum):
    RED = "red"


class Box(TypedDict):
    width: int


class Opaque:
    """JSON has no form for it."""


@pytest.fixture
def stub():
    return build_broker(Settings(broker_url="stub://"))


@pytest.fixture
def declare(stub):
    """`declare(function)`: make it an actor."""
    return lambda function, **options: dramatiq.actor(function, broker=stub, **options)


def taking(hint):
    def job(value: hint):
        pass

    return job


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, 7),
        (float, 7),
        (float, 0.5),
        (str, "7"),
        (bool, True),
        (int | None, None),
        (list[int], [1, 2]),
        (tuple[int, str], [1, "a"]),
        (dict[str, Any], {"a": [None]}),
        (dict[str, list[int | None]], {"a": [1, None]}),
        (dict[str, int], {}),
        (list, [1, "a"]),
        (dict, {"a": 1}),
        (BARE_LIST, [1, "a"]),
        (BARE_DICT, {"a": 1}),
        (Box, {"width": 200}),
        (Literal["jpeg", "webp"], "webp"),
        (Colour, "red"),
        (date, "2026-01-31"),
        (Annotated[int, Field(ge=0)], 0),
        (Annotated[int, []], 7),
        (Any, {"a": 1}),
        (object, 1),
        (Opaque, 1),
        ("Nowhere", 1),
        ("no type at all", 1),
    ],
)
def test_arguments_that_fit_are_sent(stub, declare, hint, value):
    declare(taking(hint)).send(value)

    assert [message.args for message in stub.sent] == [(value,)]


@pytest.mark.parametrize(
    ("hint", "value", "reason"),
    [
        (int, {"width": 200}, "an object does not fit: Input should be a valid integer"),
        (int, "7", "a string does not fit: Input should be a valid integer"),
        (int, 7.0, "a number does not fit: Input should be a valid integer"),
        (int, True, "a boolean does not fit: Input should be a valid integer"),
        (int, None, "null does not fit: Input should be a valid integer"),
        (str, 7, "an integer does not fit: Input should be a valid string"),
        (bool, 1, "an integer does not fit: Input should be a valid boolean"),
        (float, "0.5", "a string does not fit: Input should be a valid number"),
        (list[int], ["a"], "value[0]: a string does not fit: Input should be a valid integer"),
        (dict[str, int], {"a": "b"}, "value.a: a string does not fit: Input should be a valid int"),
        (Literal["jpeg"], "gif", "a string does not fit: Input should be 'jpeg'"),
        (Annotated[int, Field(ge=0)], -1, "an integer does not fit: Input should be greater"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_send(stub, declare, hint, value, reason):
    with pytest.raises(InvalidArgumentError, match=r"^job: argument value") as refused:
        declare(taking(hint)).send(value)

    assert reason in str(refused.value)
    assert stub.sent == []


def test_errors_quote_nothing_of_a_value(declare):
    with pytest.raises(InvalidArgumentError) as refused:
        declare(taking(int), redact=["value"]).send("secret")

    assert "secret" not in str(refused.value)


def test_arguments_by_name_are_checked_too(declare):
    def job(number: int, *, size: int = 800, label: str = None) -> None:  # noqa: RUF013 -- as people write
        pass

    actor = declare(job)

    actor.send(7, size=200, label=None)
    actor.send(number=7)
    with pytest.raises(InvalidArgumentError, match="argument size: a string does not fit"):
        actor.send(7, size="200")


def test_an_actor_without_annotations_takes_anything_that_json_has(stub, declare):
    declare(lambda value: None, actor_name="plain").send({"width": 200})

    assert len(stub.sent) == 1


def test_a_hint_that_only_type_checkers_import_accepts_everything(stub, declare):
    def job(price: "Decimal") -> None:
        pass

    declare(job).send(7)

    assert len(stub.sent) == 1


def test_each_of_many_is_checked_before_any_is_sent(stub, declare):
    actor = declare(taking(int))

    with pytest.raises(InvalidArgumentError):
        stub.enqueue_many([actor.message(1), actor.message("2")])

    assert stub.sent == []


@pytest.mark.parametrize(
    ("queue", "priority", "said"),
    [
        ("emails", 5, "the queue 'emails' has 0 to 4, and 4 runs first"),
        ("emails", 10, "the queue 'emails' has 0 to 4, and 4 runs first"),
        ("default", 1, "the queue 'default' has no priorities"),
    ],
)
def test_a_priority_above_the_levels_of_its_queue_is_refused(stub, declare, queue, priority, said):
    actor = declare(lambda: None, actor_name="job", queue_name=queue)

    with pytest.raises(InvalidOptionError, match=said):
        actor.send_with_options(broker_priority=priority)

    assert stub.sent == []


def test_a_priority_of_the_queue_is_sent(stub, declare):
    stub.add_queue(Queue("orders", kind="quorum", levels=31))
    actor = declare(lambda: None, actor_name="job", queue_name="orders")

    actor.send_with_options(broker_priority=31)
    declare(lambda: None, actor_name="other").send_with_options(broker_priority=0)

    assert len(stub.sent) == 2
