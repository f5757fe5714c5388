"""The writes of a job that runs once happen once, however often it is delivered or retried."""

import psycopg
import pytest

from workshed import db
from workshed.errors import WorkshedError
from workshed.jobs import once
from workshed.jobs.idempotency import completed_generations
from workshed.middleware import RetryOn

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture
def effects(connect):
    """`effects()`: the number of rows in a table that the job writes to."""
    conn = connect(autocommit=True)
    conn.execute("CREATE TABLE public.effects (number integer)")
    return lambda: [n for (n,) in conn.execute("SELECT number FROM effects ORDER BY 1")]


def write(number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s)", (number,))


@pytest.fixture
def charge(actor):
    """An actor that writes once, and then calls `charge.then`."""

    @actor(queue_name="default", once=True, retry_on=RetryOn(OSError, attempts=3), min_backoff=1)
    def charge(number):
        runs.append(number)
        write(number)
        charge.then()

    runs = charge.runs = []
    charge.then = lambda: None
    return charge


@pytest.fixture
def idle(count_jobs, eventually):
    """Wait until a queue is empty and everything is acked."""
    return lambda name="default": eventually(lambda: count_jobs(name) == (0, 0))


@pytest.mark.rabbitmq("a row cannot be stored twice")
def test_copies_change_nothing(charge, working, publish, effects, idle, rows, eventually, counted):
    """Without the key, each copy would charge."""
    message = charge.message(1)
    labels = {"actor": "charge", "queue": "default", "outcome": "duplicate"}
    absorbed = counted("jobs_total", **labels)

    with working("default", threads=1):
        publish(message)
        eventually(effects)
        for headers in ({}, {"possible_duplicate": True}, {"outbox": True}):
            publish(message, **headers)
        eventually(lambda: counted("jobs_total", **labels) == absorbed + 3)
        idle()

    assert effects() == charge.runs == [1]
    assert rows("SELECT scope, key FROM workshed.once_keys") == [("charge", message.message_id)]


def test_a_run_that_fails_leaves_nothing(charge, working, effects, rows, eventually):
    """If the actor used a transaction of its own, its writes before the failure would stay."""

    def fail():
        raise OSError("no")

    charge.then = fail

    with working("default"):
        charge.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule WHERE generation > 0"))

    assert effects() == rows("SELECT 1 FROM workshed.once_keys") == []
    assert rows("SELECT outcome FROM workshed.attempts")[0] == ("retry",)


@pytest.mark.rabbitmq("the commit deletes the row, so no retry follows")
def test_a_retry_after_an_unconfirmed_commit_changes_nothing(
    charge, working, publish, effects, rows, eventually
):
    """A connection may be lost after COMMIT arrived: the run fails, but its effect stays."""
    first = charge.message(1)
    retry = first.copy(options={"generation": 1, "attempt": 2})

    with working("default", threads=1):
        publish(first)
        eventually(effects)
        publish(retry, outbox=True)
        eventually(lambda: rows("SELECT generation FROM workshed.completed_generations") == [(1,)])

    assert effects() == charge.runs == [1]


def test_of_two_processes_that_run_a_job_at_once_one_writes(
    charge, working, connect, publish, effects, idle, eventually
):
    """If the outcome were not in the transaction, the second to end would write again."""
    message = charge.message(1)

    def another_process_ends_first():
        with connect() as conn:
            completed_generations.complete_generation(conn, message.message_id, 0)

    charge.then = another_process_ends_first

    with working("default"):
        publish(message, outbox=True)
        eventually(lambda: charge.runs == [1])
        idle()

    assert effects() == []


def test_messages_of_a_job_commit_with_its_writes(actor, working, effects, rows, eventually):
    """Sent at once, the job would run for an effect that was rolled back."""

    @actor(queue_name="low")
    def follow_up(number):
        """Never runs, because no worker consumes that queue here."""

    @actor(queue_name="default", once=True, max_retries=0)
    def order(number):
        write(number)
        follow_up.send(number)
        follow_up.send_with_options(args=(number,), delay=60_000)
        if number == 2:
            raise OSError("no")

    with working("default"):
        order.send(2)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        order.send(1)
        eventually(effects)

    assert effects() == [1]
    assert rows("SELECT reason FROM workshed.schedule ORDER BY 1") == [
        ("delayed",),
        ("transactional",),
    ]


def test_a_nested_transaction_that_fails_undoes_only_itself(actor, working, effects, eventually):
    @actor(queue_name="default", once=True)
    def order():
        write(1)
        try:
            with db.transaction() as conn:
                conn.execute("INSERT INTO effects VALUES (2)")
                conn.execute("SELECT 1/0")
        except psycopg.errors.DivisionByZero:
            write(3)

    with working("default"):
        order.send()
        eventually(effects)

    assert effects() == [1, 3]


def test_an_explicit_key_is_claimed_once_per_actor(actor, working, effects, idle, eventually):
    answers = []

    def declare(name):
        @actor(queue_name="default", actor_name=name)
        def ask(number):
            with db.transaction() as conn:
                if once(conn, f"order {number}"):
                    conn.execute("INSERT INTO effects VALUES (%s)", (number,))
            answers.append(number)

        return ask

    charge, refund = declare("charge_it"), declare("refund_it")
    with working("default"):
        for send in (charge.send, charge.send, refund.send):
            send(7)
        eventually(lambda: len(answers) == 3)

    assert effects() == [7, 7]


def test_a_key_is_rolled_back_with_its_transaction(actor, working, effects, rows, eventually):
    @actor(queue_name="default", retry_on=RetryOn(OSError), min_backoff=1)
    def ask():
        with db.transaction() as conn:
            assert once(conn, "k")
            conn.execute("INSERT INTO effects VALUES (1)")
            raise OSError("no")

    with working("default"):
        ask.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule"))

    assert effects() == rows("SELECT 1 FROM workshed.once_keys") == []


def test_called_directly_it_is_a_plain_function(charge, database, effects):
    charge.fn(5)

    assert effects() == [5]
    with db.transaction() as conn, pytest.raises(WorkshedError, match="inside a job"):
        once(conn, "k")


def test_a_string_instead_of_true_is_refused(actor):
    with pytest.raises(ValueError, match="once='yes'"):
        actor(queue_name="default", once="yes")(lambda: None)


@pytest.fixture
def unused(caplog, rows, counted):
    """`unused("report")`: how many jobs of an actor were counted, logged, and noted."""

    def find(name):
        logged = [one for one in caplog.messages if one.startswith(f"{name} has once=True, but")]
        noted = (
            "SELECT count(*) FROM workshed.actors WHERE name = %s AND once_unused_at IS NOT NULL"
        )
        return counted("once_unused_total", actor=name), len(logged), rows(noted, name)[0][0]

    return find


def test_a_job_that_does_not_use_its_transaction_is_reported(
    actor, transport, working, database, effects, eventually, unused
):
    """What it writes on a connection of its own may happen twice."""
    name = f"report_{transport}"  # a process reports an actor once an hour

    @actor(queue_name="default", actor_name=name, once=True)
    def report(number):
        with psycopg.connect(database) as conn:
            conn.execute("INSERT INTO effects VALUES (%s)", (number,))

    counted, _, _ = unused(name)
    with working("default"):
        for number in (1, 2, 3):
            report.send(number)
        eventually(lambda: unused(name)[0] == counted + 3)

    assert effects() == [1, 2, 3]
    assert unused(name)[1:] == (1, 1)


def test_a_job_that_writes_or_sends_in_its_transaction_is_not_reported(
    charge, actor, working, effects, rows, eventually, unused
):
    @actor(queue_name="default", once=True)
    def pass_on(number):
        charge.send(number)

    before = unused("charge")[0], unused("pass_on")[0]
    with working("default"):
        pass_on.send(1)
        is_sent = "SELECT 1 FROM workshed.schedule WHERE actor = 'charge'"
        eventually(lambda: rows(is_sent) or effects() == [1])
        charge.send(2)
        eventually(lambda: 2 in effects())

    assert unused("charge") == (before[0], 0, 0)
    assert unused("pass_on") == (before[1], 0, 0)
