"""Arguments with types in tests of an application: compared as the actor gets them, or as JSON."""

import dataclasses
from datetime import date
from unittest.mock import ANY
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

import workshed
from workshed import broker, db
from workshed.jobs.control import queues
from workshed.transport.base import describe_actors
from workshed.transport.errors import ArgumentTypeError

KEY = UUID("0b5c3f7e-7e0b-4e9d-9d0a-0f4d4b1f6c11")


@dataclasses.dataclass
class Order:
    key: UUID
    lines: list[int]


@pytest.fixture
def ship(actor):
    @workshed.actor(broker=broker, name="ship", queue="default")
    def ship(order: Order, on: date = date(2026, 1, 1)):
        return order, on

    return ship


def test_a_sent_job_is_asserted_by_its_values_or_by_their_json(jobs, ship):
    ship.send(Order(KEY, [1]), on=date(2026, 6, 1))

    jobs.assert_enqueued(ship, Order(KEY, [1]), date(2026, 6, 1))
    jobs.assert_enqueued(ship, {"key": str(KEY), "lines": [1]}, "2026-06-01")
    jobs.assert_enqueued(ship, ANY, on=date(2026, 6, 1))
    jobs.refute_enqueued(ship, Order(KEY, [2]), date(2026, 6, 1))
    with pytest.raises(AssertionError, match=r"but on is datetime.date\(2026, 6, 1\)"):
        jobs.assert_enqueued(ship, Order(KEY, [1]), on=date(2026, 6, 2))


def test_a_default_that_was_not_sent_is_the_actors_own(jobs, ship):
    ship.send(Order(KEY, [1]))

    jobs.assert_enqueued(ship, Order(KEY, [1]), date(2026, 1, 1))


def test_a_job_runs_with_what_a_worker_would_decode(jobs, ship):
    order = Order(KEY, [1])

    performed, on = jobs.perform(ship, order)

    assert (performed, on) == (order, date(2026, 1, 1))
    assert performed is not order


def test_a_job_that_sql_sent_wrongly_is_dead_and_names_the_field(jobs, ship):
    with db.transaction() as conn:
        queues.declare_actors(conn, describe_actors(broker))
        form = Jsonb([{"key": str(KEY), "lines": ["x"]}])
        conn.execute("SELECT workshed.send('ship', %s)", (form,))

    with pytest.raises(ArgumentTypeError, match=r"argument order.lines\[0\]: a string"):
        jobs.drain()

    assert len(jobs.dead) == 1
    assert "order.lines[0]" in jobs.dead[0].reason
