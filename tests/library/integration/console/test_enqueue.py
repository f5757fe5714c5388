"""`workshed enqueue`: send a job by its actor's name, from the words of a command line."""

import sys
import threading
from pathlib import Path

import pytest

from workshed.app import get_app
from workshed.console.operations.arguments import split_arguments
from workshed.jobs.control import audit, cancellations
from workshed.jobs.outbox import schedule

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture
def package(broker, tmp_path, monkeypatch):
    """The name of a module in the working directory that declares actors and a queue."""
    before = dict(broker.actors), dict(broker.queues), dict(broker.declared_queues)
    (tmp_path / "shop_jobs.py").write_text(
        "import dramatiq\n"
        "from workshed import Queue, broker\n"
        "from workshed import Unique\n"
        'broker.add_queue(Queue("invoices"))\n'
        "@dramatiq.actor(broker=broker, queue_name='invoices')\n"
        "def send_invoice(order_id, note='', *, copies=1): ...\n"
        "@dramatiq.actor(broker=broker, queue_name='invoices', unique=Unique('until_executed'))\n"
        "def close_order(order_id): ...\n"
        "@dramatiq.actor(broker=broker, queue_name='invoices')\n"
        "def label(code: str, copies: 'int | None' = None, *sizes: int,"
        " spots: list[float] = [], unknown: 'Stranger' = 0): ...\n"
        "@dramatiq.actor(broker=broker, queue_name='invoices')\n"
        "def stamp(code: str, copies: int | None = None, *, spots: list[float] = []): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "shop_jobs"
    sys.modules.pop("shop_jobs", None)
    for kept, now in zip(
        before, (broker.actors, broker.queues, broker.declared_queues), strict=True
    ):
        now.clear()
        now.update(kept)


@pytest.fixture
def enqueue(workshed, package):
    """`enqueue("send_invoice", "7")`: send with the actors of the module."""
    return lambda *words: workshed("enqueue", "--import", package, *words)


# What is sent


def test_it_prints_the_id_of_the_message_that_waits(enqueue, peek):
    done = enqueue("send_invoice", "7", "note=paid late", "copies=2")

    assert done.code == 0
    assert done.err == "send_invoice on invoices: on its way\n"
    [message] = peek("invoices")
    assert done.out == f"{message.message_id}\n"
    assert message.args == (7,)
    assert message.kwargs == {"note": "paid late", "copies": 2}


def test_json_output_has_the_queue_and_the_time(enqueue):
    done = enqueue("send_invoice", "7", "--json")

    assert done.json["queue"] == "invoices"
    assert done.json["due_at"] is None


def test_another_queue_and_priority(enqueue, peek):
    enqueue("send_invoice", "7", "--queue", "emails", "--priority", "4")

    [message] = peek("emails")
    assert message.queue_name == "emails"
    assert message.options["broker_priority"] == 4


@pytest.mark.fresh_vhost
@pytest.mark.parametrize(
    ("option", "value", "due"),
    [
        ("--in", "3d", "in 3d"),
        ("--delay", "3d", "in 3d"),
        ("--at", "2100-01-01T00:00+01:00", "in 26"),
        ("--at", "2020-01-01T00:00Z", "since"),
    ],
)
def test_a_delayed_job_is_a_row(enqueue, conn, rabbitmq, option, value, due):
    done = enqueue("send_invoice", "7", option, value, "--json")

    assert done.code == 0
    assert f"due {due}" in done.err
    [row] = schedule.list_scheduled(conn)
    assert (row.message_id, row.queue) == (done.json["message_id"], "invoices")
    assert row.due_at.isoformat() == done.json["due_at"] or value == "2100-01-01T00:00+01:00"
    assert rabbitmq.queues() == {}


def test_the_shipped_actors_are_imported_by_default(workshed, broker, peek):
    done = workshed("enqueue", "deliver_email", "7")

    assert done.code == 0
    assert [message.args for message in peek("emails")] == [(7,)]


@pytest.mark.parametrize(
    "words",
    [
        ("stamp", "a", "2", "spots=[1, 2.5]"),
        ("stamp", '"7"', "null"),
        ("label", '"7"', "2"),  # one of its annotations cannot be read
    ],
)
def test_arguments_that_fit_the_annotations_are_sent(enqueue, words):
    assert enqueue(*words).code == 0


# How words are parsed


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("7", 7),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('"7"', "7"),
        ('["a", 1]', ["a", 1]),
        ('{"a": 1}', {"a": 1}),
        ("Ada", "Ada"),
        ("007", "007"),
        ("NaN", "NaN"),
        ("", ""),
        ("https://example.org/?a=b", "https://example.org/?a=b"),
        ('"a=b"', "a=b"),
        ("99999999999999999999999", 99999999999999999999999),
    ],
)
def test_a_word_is_json_if_it_parses_and_otherwise_a_string(word, value):
    assert split_arguments([word]) == ((value,), {})


@pytest.mark.parametrize(
    ("word", "kwargs"),
    [("a=1", {"a": 1}), ("a=", {"a": ""}), ("a=b=c", {"a": "b=c"}), ("a=x\ny", {"a": "x\ny"})],
)
def test_key_and_value_are_a_keyword_argument(word, kwargs):
    assert split_arguments([word]) == ((), kwargs)


def test_without_import_the_actors_of_the_app_are_used(package, workshed, monkeypatch):
    (Path.cwd() / "its_app.py").write_text(
        "from workshed import App, Queue\n"
        "app = App(queues=(Queue('invoices'),), actors=('shop_jobs',))\n"
    )
    monkeypatch.setenv("WORKSHED_APP", "its_app:app")
    get_app.cache_clear()
    try:
        done = workshed("enqueue", "send_invoice", "7")
        (Path.cwd() / "its_app.py").write_text("from workshed import App\napp = App()\n")
        sys.modules.pop("its_app")
        get_app.cache_clear()
        refused = workshed("enqueue", "stranger")
    finally:
        get_app.cache_clear()
        sys.modules.pop("its_app", None)

    assert done.code == 0, done.err
    assert refused.code == 5
    assert "no actor 'stranger' here: no module was imported" in refused.err


# Refused commands


@pytest.mark.fresh_vhost
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("send_invoce", "7"), 5, "no actor 'send_invoce' in shop_jobs (did you mean 'send_inv"),
        (("send_invoice",), 2, "missing a required argument: 'order_id'"),
        (("send_invoice", "7", "cpies=2"), 2, "got an unexpected keyword argument 'cpies'"),
        (("send_invoice", "99999999999999999999999"), 2, "argument order_id: 9999"),
        (("send_invoice", "7", "--queue", "emial"), 2, "(did you mean 'emails'?)"),
        (("send_invoice", "7", "copies=1", "copies=2"), 2, "copies is given twice"),
        (("send_invoice", "7", "--delay", "1h", "--at", "2100-01-01T00:00Z"), 2, "not both"),
        (("send_invoice", "7", "--in", "1 hour"), 2, "is not a duration such as 90d"),
        (("send_invoice", "7", "--timeout", "1s"), 2, "--timeout needs --wait"),
        (("send_invoice", "7", "--at", "2100-01-01T00:00"), 2, "needs a time zone"),
        (
            ("send_invoice", "7", "--priority", "256"),
            2,
            "Input should be less than or equal to 255",
        ),
        (("send_invoice", "-5"), 2, "No such option: -5"),
        (("stamp", "7"), 2, "stamp: argument code: 7 does not fit: Input should be a valid string"),
        (("stamp", "7"), 2, "for a string, write '\"7\"'"),
        (
            ("stamp", "a", "two"),
            2,
            'argument copies: "two" does not fit: Input should be a valid int',
        ),
        (("stamp", "a", "true"), 2, "argument copies: true does not fit"),
        (("stamp", "a", 'spots=["x"]'), 2, 'argument spots: ["x"] does not fit'),
    ],
)
def test_an_invalid_command_is_refused_and_nothing_is_sent(
    enqueue, has_sent, conn, words, code, said
):
    done = enqueue(*words)

    assert (done.code, done.out) == (code, "")
    assert said in " ".join(done.err.replace("│", " ").split())
    assert not has_sent()
    assert schedule.list_scheduled(conn) == []


def test_a_missing_package_is_reported(workshed, broker):
    done = workshed("enqueue", "--import", "shop_jbos", "send_invoice", "7")

    assert done.code == 5
    assert "there is no module 'shop_jbos' to import actors from" in done.err


def test_an_error_in_a_package_is_shown_unchanged(package, workshed, tmp_path):
    """Reported as a missing package, it would mislead people."""
    (tmp_path / "shop_jobs.py").write_text("import nowhere_to_be_found\n")

    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        workshed("enqueue", "--import", package, "send_invoice", "7")


# With --wait; the part with real workers is in `tests/library/e2e/test_operating.py`


def test_a_wait_that_takes_too_long_is_reported(enqueue, peek):
    """The exit code is that of `timeout`; a late job has not failed."""
    done = enqueue("send_invoice", "7", "--wait", "--timeout", "0.1s")

    [message] = peek("invoices")
    assert (done.code, done.out) == (124, f"{message.message_id}\n")
    assert "No worker consumes invoices now" in done.err
    assert f"follow it with `workshed job {message.message_id} --follow`" in done.err


def test_json_output_after_a_timeout_has_no_outcome(enqueue):
    done = enqueue("send_invoice", "7", "--wait", "--timeout", "0s", "--json")

    assert done.code == 124
    assert (done.json["queue"], done.json["outcome"]) == ("invoices", None)


def test_a_job_that_is_cancelled_while_it_waits_has_ended(enqueue, connect, eventually):
    """No worker meets it, so none would report its end."""
    other = connect(autocommit=True)

    def cancel():
        [row] = eventually(lambda: schedule.list_scheduled(other))
        with other.transaction():
            cancellations.cancel(other, row.message_id)

    cancelling = threading.Thread(target=cancel)
    cancelling.start()
    done = enqueue("send_invoice", "7", "--in", "1h", "--wait", "--timeout", "60s")
    cancelling.join()

    assert done.code == 1
    assert "send_invoice has ended: cancelled: before it ran" in done.err


def test_a_duplicate_does_not_wait_for_the_job_that_has_the_key(enqueue):
    first = enqueue("close_order", "7").out.strip()

    done = enqueue("close_order", "7", "--wait")

    assert (done.code, done.out) == (1, f"{first}\n")
    assert f"not sent: job {first} holds its unique key" in done.err


def test_the_audit_has_no_arguments(enqueue, conn):
    first = enqueue("close_order", "order of Ada").out.strip()

    enqueue("close_order", "order of Ada")  # a duplicate, so nothing is sent

    [entry] = audit.list_entries(conn)
    assert entry.details == {"id": first, "actor": "close_order", "queue": "invoices"}
    assert "Ada" not in entry.summary


# Servers away


@pytest.fixture
def rabbitmq_away(broker, monkeypatch):
    for part in (broker, broker._publisher, broker._declarer):
        name = "urls" if part is broker else "_urls"
        monkeypatch.setattr(part, name, ["amqp://ada:secret@127.0.0.1:9/"])


@pytest.mark.rabbitmq("RabbitMQ is away")
@pytest.mark.usefixtures("rabbitmq_away")
def test_without_the_fallback_rabbitmq_away_is_an_error(enqueue, broker, monkeypatch):
    monkeypatch.setattr(broker._sender, "has_fallback", False)

    done = enqueue("send_invoice", "7")

    assert (done.code, done.out) == (3, "")
    assert "RabbitMQ does not answer at 127.0.0.1:9" in done.err
    assert "secret" not in done.err


@pytest.mark.rabbitmq("RabbitMQ is away")
@pytest.mark.usefixtures("rabbitmq_away")
def test_a_job_that_rabbitmq_cannot_take_is_stored(enqueue, conn):
    done = enqueue("send_invoice", "7")

    assert done.code == 0
    assert [row.message_id for row in schedule.list_scheduled(conn)] == [done.out.strip()]


def test_a_missing_table_is_reported_as_a_missing_migration(
    workshed, broker, env, empty_database_url
):
    """A mail is stored before it is sent; psycopg's own message names an unknown table."""
    env(DATABASE_URL=empty_database_url)

    done = workshed("enqueue", "deliver_email", "7")

    assert (done.code, done.out) == (2, "")
    assert "run `workshed migrate`" in done.err


def test_postgresql_away(enqueue, env):
    env(DATABASE_URL="postgresql://ada:secret@127.0.0.1:9/shop")

    done = enqueue("send_invoice", "7", "--delay", "1h")

    assert (done.code, done.out) == (4, "")
    assert "PostgreSQL does not answer at 127.0.0.1:9/shop" in done.err
    assert "secret" not in done.err


@pytest.mark.rabbitmq("sends without PostgreSQL")
def test_a_plain_job_is_sent_without_postgresql_too(enqueue, peek, env):
    """It is missing from the audit then; an error would make a script send it again."""
    env(DATABASE_URL="postgresql://ada:secret@127.0.0.1:9/shop")

    done = enqueue("send_invoice", "7")

    assert done.code == 0
    assert (
        "The job is sent, but the audit entry could not be written: PostgreSQL does not answer"
        in done.err
    )
    assert [one.message_id for one in peek("invoices")] == done.lines
