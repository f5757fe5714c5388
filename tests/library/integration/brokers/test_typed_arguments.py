"""Arguments with types, with a worker: decoded at the start, dead at once if they do not fit."""

import asyncio
import dataclasses
import threading
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest
from dramatiq.middleware import Middleware
from psycopg.types.json import Jsonb

import workshed
from workshed import Batch, RetryOn, Unique, schedule
from workshed.jobs import context
from workshed.jobs.control import queues
from workshed.jobs.dead import dead_jobs
from workshed.transport.base import describe_actors
from workshed.transport.errors import ArgumentTypeError
from workshed.transport.messages.envelope import decode_message

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

KEY = UUID("0b5c3f7e-7e0b-4e9d-9d0a-0f4d4b1f6c11")


@dataclasses.dataclass
class Line:
    price: Decimal


@dataclasses.dataclass
class Order:
    key: UUID
    lines: list[Line]


ORDER = Order(KEY, [Line(Decimal("9.90"))])
FORM = {"key": str(KEY), "lines": [{"price": "9.90"}]}


@pytest.fixture
def typed(actor, broker):
    """Declare a typed actor for this test."""
    return lambda **options: workshed.actor(broker=broker, **options)


@pytest.fixture
def seen():
    return []


@pytest.fixture
def ship(typed, seen):
    """An actor that notes what it gets."""

    @typed(name="ship", unique=Unique("until_executed", key=["order"]))
    def ship(order: Order, on: date | None = None):
        seen.append((order, on))

    return ship


@pytest.fixture
def declared(broker, connect):
    """`declared()`: the rows of a worker that has just started."""
    conn = connect(autocommit=True)

    def declare():
        used = broker.declared_queues.values()
        queues.declare_queues(conn, {queue.name: queue.kind for queue in used})
        queues.declare_actors(conn, describe_actors(broker))

    return declare


@pytest.fixture
def send_by_sql(rows, declared):
    """`send_by_sql("ship", [FORM])`: the id of the job."""

    def send(actor, args=(), kwargs=None, options=None):
        declared()
        query = "SELECT workshed.send(%s, %s, %s, options => %s)"
        values = (Jsonb(list(args)), Jsonb(kwargs or {}), Jsonb(options or {}))
        return rows(query, actor, *values)[0][0]

    return send


@pytest.fixture
def rejected(send_by_sql):
    """`rejected("words", "ship", …)`: `workshed.send` refuses it with these words."""

    def reject(words, *args, **kwargs):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=words):
            send_by_sql(*args, **kwargs)

    return reject


def test_a_worker_gets_what_each_way_of_sending_was_given(
    ship, broker, seen, working, relaying, eventually, connect
):
    conn = connect()
    orders = [Order(UUID(int=number), []) for number in range(9)]

    ship.send(orders[0], on=date(2026, 6, 1))
    ship.send_with_options(args=(orders[1],))
    ship.set(tags=["a"]).send(orders[2])
    ship.set(conn=conn).send(orders[3])
    schedule.send(conn, ship.message(orders[4]))
    schedule.send_many(conn, [ship.message(orders[5])])
    batch = Batch()
    batch.open(conn)
    batch.add(conn, ship.message(orders[6]))
    batch.close(conn)
    conn.commit()
    broker.enqueue_many([ship.message(orders[7])])
    asyncio.run(broker.send_async(ship.message(orders[8])))

    with working("default"), relaying():
        eventually(lambda: len(seen) == len(orders))

    assert sorted(order.key for order, _ in seen) == [order.key for order in orders]
    assert {on for _, on in seen} == {date(2026, 6, 1), None}


def test_the_message_is_plain_json(ship, peek, seen):
    ship.send(ORDER, date(2026, 6, 1))

    [message] = peek("default")
    assert message.args == (FORM, "2026-06-01")
    assert "arguments_version" not in message.options


def test_a_unique_key_is_the_same_for_a_value_and_its_json_form(ship):
    first = ship.send(ORDER)

    assert ship.send(FORM).message_id == first.message_id


def test_a_retry_decodes_the_same_arguments_again(typed, seen, working, relaying, eventually):
    @typed(max_retries=1, min_backoff=timedelta(milliseconds=1), max_backoff=timedelta(seconds=1))
    def ship(order: Order):
        seen.append(order)
        order.lines.clear()  # changes nothing for the next attempt
        seen.append(order.lines.copy())
        if len(seen) < 4:
            raise ValueError

    ship.send(ORDER)
    with working("default"), relaying():
        eventually(lambda: len(seen) == 4)

    assert seen == [Order(KEY, []), [], Order(KEY, []), []]
    assert seen[0] is not seen[2]


def test_hooks_get_the_message_as_it_travels_and_the_job_itself(typed, broker, working):
    noted, ended = [], threading.Event()

    class Notes(Middleware):
        def before_process_message(self, broker, message):
            noted.append(message.args)

        def after_process_message(self, broker, message, *, result=None, exception=None):
            noted.append(message.args)
            ended.set()

    @contextmanager
    def around(message):
        noted.append(message.message_id)
        yield

    @typed(around_perform=around)
    def ship(order: Order):
        noted.append(context.current_job().message_id)

    notes = Notes()
    broker.add_middleware(notes)
    try:
        sent = ship.send(ORDER)
        with working("default"):
            assert ended.wait(60)
    finally:
        broker.middleware.remove(notes)
        broker._hooks.clear()

    assert noted == [(FORM,), sent.message_id, sent.message_id, (FORM,)]


def test_a_pipeline_passes_a_result_as_json(typed, seen, working, relaying, eventually):
    @typed()
    def find(key: UUID):
        return {"key": str(key), "lines": []}

    @typed()
    def keep(order: Order, on: date):
        seen.append((order, on))

    with working("default"), relaying():
        (find.message(KEY) | keep.piped(date(2026, 6, 1))).run()
        eventually(lambda: seen)

    assert seen == [(Order(KEY, []), date(2026, 6, 1))]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"args": ({"key": str(KEY), "lines": [{"price": "9"}, {"price": "x"}]},)},
            "ship: argument order.lines[1].price: a string does not fit: Input should be a valid",
        ),
        ({"kwargs": {"on": 7}}, "ship: argument on: an integer does not fit"),
        ({"args": ()}, "missing a required argument: 'order'"),
        ({"kwargs": {"order": FORM}}, "multiple values for argument 'order'"),
    ],
)
def test_a_job_whose_arguments_do_not_fit_is_dead_at_once(
    typed, rows, working, relaying, eventually, given, reason
):
    """Without the check it would be retried for hours, with an error from inside of the actor."""

    @typed(retry_on=RetryOn(Exception, attempts=5))
    def ship(order: Order, on: date | None = None):
        pass

    sent = ship.message(ORDER)
    store_unchecked(rows, sent.copy(**given))
    with working("default"), relaying():
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    [(message_id, attempt, found)] = rows("SELECT message_id, attempt, reason FROM workshed.dead")
    assert (message_id, attempt) == (sent.message_id, 1)
    assert reason in found


def store_unchecked(rows, message):
    """Store a message as a program without these checks does."""
    query = """
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        VALUES (%s, 0, %s, %s, %s, 'transactional', workshed.now())
        RETURNING 1
    """
    rows(
        query,
        *(message.message_id, message.queue_name, message.actor_name, message.encode().decode()),
    )


def test_once_its_actor_fits_a_dead_job_can_be_retried(
    ship, rows, connect, seen, working, relaying, eventually
):
    sent = ship.message(ORDER)
    store_unchecked(rows, sent.copy(args=({"key": "x", "lines": []},)))
    with working("default"), relaying():
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        body = sent.copy(args=({"key": str(KEY), "lines": []},)).encode()
        rows("UPDATE workshed.dead SET body = %s RETURNING 1", body)
        with connect() as conn:
            assert dead_jobs.retry_job(conn, sent.message_id, decode_message)
        eventually(lambda: seen)

    assert seen == [(Order(KEY, []), None)]
    assert rows("SELECT count(*) FROM workshed.dead") == [(0,)]


def test_an_older_version_is_upgraded_and_a_newer_one_waits_for_a_newer_worker(
    typed, broker, rows, seen, working, relaying, eventually
):
    def upgrade(version, args, kwargs):
        seen.append((version, args, kwargs))
        return [], {"order": {"key": kwargs["key"], "lines": []}}

    @typed(version=2, upgrade=upgrade)
    def ship(*, order: Order):
        seen.append(order)

    sent = ship.message(order=ORDER)
    older = sent.copy(args=(7,), kwargs={"key": str(KEY)})
    del older.options["arguments_version"]
    newer = ship.message(order=ORDER)
    newer = newer.copy(kwargs={"what": 1}, options={"arguments_version": 3})
    store_unchecked(rows, older)
    store_unchecked(rows, newer)

    with working("default"), relaying():
        eventually(lambda: len(seen) == 2)
        waits = (
            "SELECT message_id, body::jsonb -> 'kwargs' FROM workshed.schedule "
            "WHERE reason = 'unknown_actor'"
        )
        eventually(lambda: rows(waits) == [(newer.message_id, {"what": 1})])

    assert seen == [(1, (7,), {"key": str(KEY)}), Order(KEY, [])]
    assert rows("SELECT count(*) FROM workshed.dead") == [(0,)]


@pytest.mark.parametrize("given", [{"kwargs": {"at": "2026"}}, {"args": (FORM, None, 7)}])
def test_a_job_with_an_argument_of_a_newer_release_waits_for_a_newer_worker(
    ship, rows, working, relaying, eventually, given
):
    """Otherwise a worker of the old release makes it dead during a rolling deployment."""
    sent = ship.message(ORDER)
    store_unchecked(rows, sent.copy(**given))
    query = "SELECT message_id FROM workshed.schedule WHERE reason = 'unknown_actor'"
    with working("default"), relaying():
        eventually(lambda: rows(query) == [(sent.message_id,)])

    assert rows("SELECT count(*) FROM workshed.dead") == [(0,)]


def test_sql_sends_what_a_worker_decodes(typed, seen, send_by_sql, working, relaying, eventually):
    @typed()
    def ship(order: Order, on: datetime | None = None):
        seen.append((order, on))

    send_by_sql("ship", [FORM], {"on": "2026-06-01T12:00:00Z"})
    with working("default"), relaying():
        eventually(lambda: seen)

    assert seen == [(ORDER, datetime(2026, 6, 1, 12, tzinfo=UTC))]


def test_sql_checks_names_presence_and_json_types(typed, rejected, send_by_sql):
    @typed()
    def ship(order: Order, /, total: Decimal, *, count: int = 1, note: str | None = None):
        pass

    takes = (
        r"it takes order \(object, by position\), total \(number or string\), "
        r"count \(integer, by name, optional\), note \(null or string, by name, optional\)"
    )
    rejected(f"ship: argument order is missing; {takes}", "ship")
    rejected("argument order is of type string", "ship", ["7", 1])
    rejected("argument total is missing", "ship", [{}])
    rejected("argument total is of type boolean", "ship", [{}, True])
    rejected("argument total is given twice", "ship", [{}, 1], {"total": 1})
    rejected("argument count is of type number", "ship", [{}, 1], {"count": 1.5})
    rejected("argument count is of type null", "ship", [{}, 1], {"count": None})
    rejected("3 arguments are given by position, at most 2 fit", "ship", [{}, 1, 2])
    rejected("there is no argument order", "ship", [{}, 1], {"order": {}})
    rejected("there is no argument other", "ship", [{}, 1], {"other": 1})
    assert send_by_sql("ship", [{}, "1.10"], {"count": 2, "note": None})


def test_sql_lets_more_arguments_pass_where_the_actor_takes_them(typed, send_by_sql):
    @typed()
    def ship(first: int, *more: int, **named: int):
        pass

    assert send_by_sql("ship", [1, 2, 3], {"other": 4})


def test_a_row_without_a_shape_is_not_checked(typed, rows, send_by_sql, declared):
    @typed()
    def ship(order: Order):
        pass

    declared()
    rows("UPDATE workshed.actors SET arguments = NULL RETURNING 1")

    assert rows("SELECT workshed.send('ship', '[1, 2]')")


def test_after_a_rollback_to_a_release_without_shapes_sql_checks_none(
    typed, rows, rejected, declared
):
    @typed()
    def ship(order: Order):
        pass

    rejected("argument order is missing", "ship")
    rows("UPDATE workshed.actors SET seen_at = workshed.now() RETURNING 1")  # as that one starts
    assert rows("SELECT workshed.send('ship', '[1, 2]')")

    rejected("argument order is missing", "ship")


def test_sql_does_not_check_the_arguments_of_another_version(typed, rejected, send_by_sql):
    """A caller of the release before keeps its calls: a worker upgrades their arguments."""

    @typed(version=2, upgrade=lambda version, args, kwargs: ([], {}))
    def ship(*, order: Order):
        pass

    assert send_by_sql("ship", [7])
    assert send_by_sql("ship", [], {"what": 1}, {"arguments_version": 3})
    rejected("argument order is missing", "ship", options={"arguments_version": 2})
    assert send_by_sql("ship", [], {"order": {}}, {"arguments_version": 2})


def test_a_wrong_value_is_refused_before_anything_is_stored(ship, rows, connect):
    with pytest.raises(ArgumentTypeError, match=r"argument order\.key: a string"):
        ship.set(conn=connect()).send(Order("x", []))

    assert rows("SELECT count(*) FROM workshed.schedule") == [(0,)]
