"""`SELECT workshed.send(…)`: refuses what Python would refuse, and stores the same message."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import psycopg
import pytest
from psycopg.types.json import Jsonb

from workshed import schedule
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor
from workshed.jobs.locks import unique
from workshed.strict_json import INTEGERS
from workshed.transport.messages.envelope import FIELDS, OPTIONS, decode_message

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

# Options that a sender may give; the others are set by Workshed during the life of a job.
RANGES = {
    "arguments_version": (1, 2**31 - 1),
    "broker_priority": (0, 255),
    "expires": (1, 253_402_300_799_999),
    "max_backoff": (0, 2**31 - 1),
    "max_retries": (0, 2**31 - 1),
    "min_backoff": (0, 2**31 - 1),
    "time_limit": (1, 2**31 - 1),
    "unique_for": (1, 2**31 - 1),
}
WORDS = {
    "unique_key": (["k", "é" * 500], ["", "é" * 501, 7, None, ["k"]]),
    "on_conflict": (["log", "raise", "replace", "reschedule"], ["drop", "", 7, None]),
}


@pytest.fixture(autouse=True)
def _declared(conn):
    """A worker of another program has `greet`, on its own queue."""
    queues.declare_queues(conn, {"default": "quorum", "low": "quorum"})
    queues.declare_actors(conn, [KnownActor("greet", "default"), KnownActor("lost", "gone")])
    conn.commit()


@pytest.fixture
def send(conn):
    """`send("greet", args=[7])`: its id. `args`, `kwargs` and `options` are sent as JSON."""

    def send(actor="greet", **given):
        values = {
            name: Jsonb(value) if name in ("args", "kwargs", "options") else value
            for name, value in given.items()
        }
        named = ", ".join(f"{name} => %({name})s" for name in values)
        query = f"SELECT workshed.send(%(actor)s{', ' if named else ''}{named})"
        return conn.execute(query, {"actor": actor, **values}).fetchone()[0]

    return send


@pytest.fixture
def stored(conn):
    """`stored()`: the only row of the schedule, and its message as a relay and a worker read it."""

    def stored():
        columns = "message_id, generation, queue, actor, reason, body, due_at, created_at"
        (row,) = conn.execute(f"SELECT {columns} FROM workshed.schedule").fetchall()  # noqa: S608
        found = dict(zip(columns.split(", "), row, strict=True))
        return found, decode_message(found["body"].encode(), found["queue"])

    return stored


@pytest.fixture
def refused(conn, send):
    """`refused("words of the message", …)`: this send is refused, and nothing is stored."""

    def refused(match, error=psycopg.errors.InvalidParameterValue, **given):
        with pytest.raises(error, match=match), conn.transaction():
            send(**given)
        assert conn.execute("SELECT count(*) FROM workshed.schedule").fetchone() == (0,)

    return refused


def test_a_row_is_what_python_would_have_stored(send, stored, conn, actor):
    greet = actor(queue_name="default", actor_name="greet")(lambda *args, **named: None)
    arguments = ["Ada", 7, -1.5, 0.1, True, None, {"ünï\n": [1, [2]]}]

    before = datetime.now(UTC)
    message_id = send(args=arguments, kwargs={"by": "name"}, options={"max_retries": 5})
    row, message = stored()
    conn.rollback()
    schedule.send(
        conn,
        greet.message_with_options(args=arguments, kwargs={"by": "name"}, max_retries=5),
    )
    theirs, their_message = stored()

    assert list(orjson.loads(row["body"])) == list(orjson.loads(theirs["body"]))
    assert set(orjson.loads(row["body"])) == set(FIELDS)
    assert message.asdict() | {"message_id": 0, "message_timestamp": 0} == (
        their_message.asdict() | {"message_id": 0, "message_timestamp": 0}
    )
    assert row["message_id"] == message.message_id == message_id
    assert UUID(message_id).version == 4
    for name in ("generation", "queue", "actor", "reason"):
        assert row[name] == theirs[name]
    assert row["due_at"] == row["created_at"]
    sent = datetime.fromtimestamp(message.message_timestamp / 1000, UTC)
    assert abs(sent - before) < timedelta(seconds=30)


def test_only_the_actor_is_required(send, stored):
    send()
    row, message = stored()

    assert (message.args, message.kwargs, message.options) == ((), {}, {"origin": "transaction"})
    assert row["queue"] == "default"


def test_a_queue_may_be_named(send, stored):
    send(queue="low")

    assert stored()[0]["queue"] == "low"


def test_a_job_is_due_after_its_delay(send, stored):
    send(delay=timedelta(days=3))
    row, message = stored()

    assert row["due_at"] - row["created_at"] == timedelta(days=3)
    assert row["reason"] == "delayed"
    assert message.options["due"] == int(row["due_at"].timestamp() * 1000)


def test_a_job_is_due_at_its_time(send, stored):
    at = datetime(2040, 1, 1, 9, tzinfo=UTC)

    send(at=at)
    row, _ = stored()

    assert row["due_at"] == at
    assert row["reason"] == "delayed"


def test_both_delay_and_time_are_refused(refused):
    refused("delay or at, not both", delay=timedelta(1), at=datetime.now(UTC))


@pytest.mark.parametrize("at", ["infinity", "-infinity", "20000-01-01Z", "0044-03-15Z BC"])
def test_a_time_python_cannot_read_is_refused(refused, at):
    """A single such row would make `schedule.list_scheduled` raise for every caller."""
    refused("is no date that can be reached", psycopg.errors.DatetimeFieldOverflow, at=at)


def test_an_undeclared_actor_is_refused(refused):
    refused('an actor "greed"', psycopg.errors.UndefinedObject, actor="greed")
    refused('an actor "greed"', psycopg.errors.UndefinedObject, actor="greed", queue="default")


@pytest.mark.parametrize("given", [{"queue": "defualt"}, {"actor": "lost"}])
def test_an_undeclared_queue_is_refused(refused, given):
    refused('queue "(defualt|gone)" is not declared', psycopg.errors.UndefinedObject, **given)


@pytest.mark.parametrize("args", [7, "7", {"id": 7}, None])
def test_args_that_are_not_an_array_are_refused(refused, args):
    refused("greet: args must be a JSON array, not (number|string|object|null)", args=args)


@pytest.mark.parametrize("kwargs", [7, [7], None])
def test_kwargs_that_are_not_an_object_are_refused(refused, kwargs):
    refused("greet: kwargs must be a JSON object, not (number|array|null)", kwargs=kwargs)


@pytest.mark.parametrize("name", ["args", "kwargs", "options"])
def test_null_is_not_the_default(conn, name):
    """`to_jsonb(id)` of a missing row is NULL; with the default, it would be another job."""
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"{name} must be .* not NULL"):
        conn.execute(f"SELECT workshed.send('greet', {name} => NULL)")


@pytest.mark.parametrize("number", [INTEGERS[0], INTEGERS[-1], 0, -1])
def test_integers_of_64_bits_are_sent(send, stored, number):
    send(args=[number])

    assert stored()[1].args == (number,)


@pytest.mark.parametrize("number", [0.1, -0.1, 1.5e-300, 5e-324, 2.2250738585072014e-308, 0.0])
def test_doubles_are_sent(send, stored, number):
    send(args=[number])

    assert stored()[1].args == (number,)


def test_a_double_is_sent_with_its_shortest_digits_whatever_the_session_shows(send, stored, conn):
    conn.execute("SET extra_float_digits = -3")

    send(args=[0.30000000000000004])

    assert stored()[1].args == (0.30000000000000004,)


@pytest.mark.parametrize(
    "number",
    [
        "9223372036854775808000",
        "-9223372036854775809",
        "18446744073709551616",
        "12345678901234567890.0",
        "0.12345678901234567890",
        "1e-400",
        "1e400",
        "9" * 400 + ".5",
    ],
)
@pytest.mark.parametrize("place", ["args => '[%s]'", 'kwargs => \'{"a": [{"b": %s}]}\''])
def test_numbers_that_json_would_change_are_refused(conn, number, place):
    with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="does not survive JSON"):
        conn.execute(f"SELECT workshed.send('greet', {place % number})")


def test_arguments_of_more_than_64_kib_are_refused(send, refused, conn):
    most = "x" * (65_536 - len('[""]') - len("{}"))

    with conn.transaction(force_rollback=True):
        send(args=[most])

    refused("65537 bytes of arguments", psycopg.errors.ProgramLimitExceeded, args=[most + "x"])
    refused("send its id", psycopg.errors.ProgramLimitExceeded, kwargs={"a": "ü" * 33_000})


def test_arguments_nested_deeper_than_python_encodes_are_refused(conn, send, stored):
    """A worker could read them, but not store their retry: the job would go to the dead queue."""
    nested = "[" * 200 + "]" * 200
    conn.execute(f"SELECT workshed.send('greet', args => '{nested}')")
    assert stored()[1].encode()

    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="nested in more than 200"):
        conn.execute(f"SELECT workshed.send('greet', args => '[{nested}]')")


@pytest.mark.parametrize("name", ["max_retires", *sorted(set(OPTIONS) - {*RANGES, *WORDS, "tags"})])
def test_an_unknown_option_is_refused(refused, name):
    refused(f"greet: {name} is not an option to send with; these are", options={name: 1})


@pytest.mark.parametrize("name", RANGES)
def test_an_option_has_the_same_range_as_in_python(send, refused, conn, name):
    low, high = RANGES[name]
    check = OPTIONS[name]

    for value in (low, high):
        assert check(value) is None
        with conn.transaction(force_rollback=True):
            send(options={name: value})
    for value in (low - 1, high + 1, "5", 5.0, True, None, [5]):
        assert check(value)
        refused(f"greet: option {name} must be a whole number", options={name: value})


@pytest.mark.parametrize("name", WORDS)
def test_a_string_option_accepts_the_same_values_as_in_python(send, refused, conn, name):
    good, bad = WORDS[name]
    check = OPTIONS[name]

    for value in good:
        assert check(value) is None
        with conn.transaction(force_rollback=True):
            send(options={name: value})
    for value in bad:
        assert check(value)
        refused(f"greet: option {name} must be", options={name: value})


def test_of_two_jobs_with_one_key_one_is_stored(send, conn):
    first, second = (send(options={"unique_key": "k"}) for _ in range(2))

    assert first == second
    assert conn.execute("SELECT message_id FROM workshed.schedule").fetchall() == [(first,)]
    assert unique.get_unique_lock(conn, "k").message_id == first


def test_a_duplicate_may_be_refused_wait_or_replace_the_first(send, conn):
    first = send(options={"unique_key": "k"})

    taken = pytest.raises(psycopg.errors.UniqueViolation, match=f"job {first} has the key")
    with taken, conn.transaction():
        send(options={"unique_key": "k", "on_conflict": "raise"})
    waits = send(options={"unique_key": "k", "on_conflict": "reschedule"})
    last = send(options={"unique_key": "k", "on_conflict": "replace"})

    assert len({first, waits, last}) == 3
    rows = conn.execute(
        "SELECT message_id, body::json -> 'options' ->> 'awaiting_unique_key' "
        "FROM workshed.schedule"
    )
    assert dict(rows.fetchall()) == {waits: "true", last: None}
    assert unique.get_unique_lock(conn, "k").message_id == last


def test_an_actor_whose_key_is_computed_in_python_needs_it(send, refused, conn):
    queues.declare_actors(conn, [KnownActor("greet", "default", has_key=True)])

    refused("greet: its jobs are unique, and their key is computed in Python; give it")
    send(options={"unique_key": "k"})


@pytest.mark.parametrize(
    "tags", [[], ["x" * 101], ["ü" * 51], [""], [7], [None], "a", {"a": 1}, ["a"] * 11, None]
)
def test_tags_that_python_would_refuse_are_refused(refused, tags):
    assert OPTIONS["tags"](tags)
    refused("greet: option tags must be a list", options={"tags": tags})


def test_tags_travel(send, stored):
    tags = ["user-7", "ü" * 50]
    assert OPTIONS["tags"](tags) is None

    send(options={"tags": tags})

    assert stored()[1].options["tags"] == tags


def test_options_that_are_not_an_object_are_refused(refused):
    refused("greet: options must be a JSON object, not array", options=[])


@pytest.fixture
def stranger(conn, database_url):
    """A connection of a role that may use the schema and has only the rights given in the test."""
    role = f"stranger_{UUID(int=time.time_ns()).hex}"
    conn.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    conn.execute(f"GRANT USAGE ON SCHEMA workshed TO {role}")
    conn.commit()
    with psycopg.connect(database_url, user=role, password="x", autocommit=True) as theirs:
        yield theirs
    conn.rollback()
    conn.execute(f"DROP OWNED BY {role}")
    conn.execute(f"DROP ROLE {role}")
    conn.commit()


@pytest.mark.fresh_database
def test_a_role_needs_nothing_but_the_function(stranger, conn, stored):
    conn.execute(f"GRANT EXECUTE ON FUNCTION workshed.send TO {stranger.info.user}")
    conn.commit()

    stranger.execute("SELECT workshed.send('greet', '[7]')")

    assert stored()[1].args == (7,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute("SELECT * FROM workshed.schedule")


@pytest.mark.fresh_database
def test_a_role_without_the_grant_cannot_send(stranger):
    """By default PostgreSQL lets every role execute every function."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="function send"):
        stranger.execute("SELECT workshed.send('greet')")


@pytest.mark.fresh_database
def test_what_a_role_brings_along_is_not_run_with_the_owner_s_rights(stranger, conn, stored):
    """Without the fixed search path its own function would run as the owner of the schema."""
    conn.execute(f"GRANT EXECUTE ON FUNCTION workshed.send TO {stranger.info.user}")
    conn.execute(f"CREATE SCHEMA theirs AUTHORIZATION {stranger.info.user}")
    conn.commit()
    for name in ("gen_random_uuid()", "jsonb_typeof(jsonb)"):
        stranger.execute(
            f"CREATE FUNCTION theirs.{name} RETURNS uuid LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'run as %', current_user; END $$"
        )
    stranger.execute("SET search_path = theirs, pg_catalog")

    stranger.execute("SELECT workshed.send('greet', '[7]')")

    assert stored()[1].args == (7,)


def test_a_job_sent_by_sql_runs(send, conn, actor, working, relaying, eventually):
    done = []
    actor(queue_name="default", actor_name="greet")(
        lambda name, *, times: done.append((name, times))
    )
    with working("default"), relaying():
        send(args=["rolled back"], kwargs={"times": 1})
        conn.rollback()
        send(args=["committed"], kwargs={"times": 2})
        conn.commit()
        eventually(lambda: done == [("committed", 2)])
