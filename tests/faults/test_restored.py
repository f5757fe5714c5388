"""One store is restored without the other: jobs with a row run again, others are counted."""

import contextlib
import functools
import json
import shutil
import subprocess
from datetime import timedelta

import pytest

from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, experiment
from workshed import db, schedule
from workshed.devserver.account import server_account

LATER = {1, 3}
"""Of every five jobs, these are sent in a transaction; the others are sent directly."""
SOON = timedelta(seconds=3)
RESEND = {"WORKSHED_CLASSIC_QUEUE_RESEND_AFTER": "2"}
ROWS = "SELECT body FROM workshed.schedule"


@pytest.fixture
def send(ledger):
    """`send(numbers)`: send jobs directly, in a transaction, and in a transaction with a delay."""

    def send(numbers):
        for number in numbers:
            if number % 5 in LATER:
                message = ledger.message(number)
                with db.transaction() as conn:
                    schedule.send(conn, message, delay=SOON if number % 5 == 3 else None)
                ledger.note(message)
            else:
                ledger.send(number)

    return send


@pytest.fixture
def rows():
    """`rows()`: the jobs that have a row in PostgreSQL."""

    def rows():
        with db.connect() as conn:
            messages = [json.loads(body) for (body,) in conn.execute(ROWS)]
        return {(message["actor_name"], message["args"][0]) for message in messages}

    return rows


@pytest.fixture
def found(ledger, judged, eventually):
    """`found(wanted)`: wait for the effects of these jobs; count missing ones, and report."""

    def found(expected, **notes):
        is_empty = Emptied(ledger.left)

        def is_over():
            return is_empty() and ledger.effects().keys() >= expected

        with contextlib.suppress(AssertionError):  # what is missing is counted
            eventually(is_over, within_s=120)
        result = ledger.result()
        result.lost = len(expected - ledger.effects().keys())
        result.notes = notes
        return judged(result)

    return found


@pytest.fixture
def start_two(start_one):
    return lambda: [start_one(env=RESEND) for _ in range(2)]


@pytest.fixture
def rabbitmq_loses_all(servers, rabbitmq):
    """`with rabbitmq_loses_all():` RabbitMQ is down; after the block it runs again, empty."""

    @contextlib.contextmanager
    def loses_all():
        servers.rabbitmq.kill()
        shutil.rmtree(servers.rabbitmq.folder / "data")
        yield
        servers.rabbitmq.start()
        rabbitmq.ask("PUT", f"vhosts/{rabbitmq.vhost}", {})

    return loses_all


@pytest.mark.timeout(900)
@experiment(
    "restored-rabbitmq",
    number=21,
    fails_by="lost",
    fault="workers and RabbitMQ get `kill -9`, and RabbitMQ starts with an empty disk",
    load="5 000 jobs, sent directly, in transactions and with a delay: half of them have run, "
    "and a quarter were sent after the workers were gone",
    remedy=Remedy(
        "workshed/transport/publishing/outgoing.py",
        'return self.queue.kind == "classic" or self.unique_key is not None',
        "return self.unique_key is not None",
    ),
)
def test_rabbitmq_has_lost_all(
    ledger, send, rows, start_two, rabbitmq_loses_all, found, scale, eventually
):
    """Jobs that were only in a quorum queue are gone; those with a row, and emails, are not."""
    count = scale(5_000)
    workers = start_two()
    send(range(count * 3 // 4))
    eventually(lambda: len(ledger.effects()) >= count // 2, within_s=120)
    for worker in workers:
        worker.kill()
    send(range(count * 3 // 4, count))

    with rabbitmq_loses_all():
        mails = {job for job in ledger.sent if job[0] == "mailed"}
        wanted = ledger.effects().keys() | rows() | mails
    start_two()

    found(wanted, gone=len(ledger.sent - wanted))


@pytest.fixture
def base_copy(servers, open_folder, count, eventually):
    """`base_copy()`: back up like an operator, under load; return a function that restores it.

    The copy contains rows of emails that are under way.
    """
    postgres = servers.postgres

    def restore(copy):
        postgres.stop()
        shutil.rmtree(postgres.data)
        shutil.copytree(copy, postgres.data)
        for path in (postgres.data, *postgres.data.rglob("*")):
            server_account().make_owner(path)
        postgres.start()

    def base_copy():
        eventually(lambda: count("workshed.schedule WHERE sent_at IS NOT NULL"))
        copy = open_folder / "copy"
        words = [postgres.binaries / "pg_basebackup", "--dbname", postgres.url, "--pgdata", copy]
        subprocess.run([*words, "--checkpoint", "fast"], env=postgres.environment(), check=True)
        return functools.partial(restore, copy)

    return base_copy


@pytest.mark.timeout(900)
@experiment(
    "restored-postgresql",
    number=21,
    fails_by="lost",
    fault="PostgreSQL is restored from a copy; RabbitMQ and the workers had continued after the "
    "copy was taken",
    load="6 000 jobs, sent directly, in transactions and with a delay: a third before the copy, "
    "a third after it, and a third still in the queues",
    remedy=Remedy(
        "workshed/transport/relay/relay.py",
        "[redelivery, *list_duties(), QueueAgeEstimator(publisher)]",
        "[*list_duties(), QueueAgeEstimator(publisher)]",
    ),
)
def test_postgresql_has_lost_everything_after_a_copy(
    ledger, send, rows, start_two, base_copy, found, scale, eventually
):
    """Jobs that ran since the copy and have a row in it run again, because their effect is gone."""
    third = scale(6_000) // 3
    send(range(third))
    restore = base_copy()
    workers = start_two()
    send(range(third, 2 * third))
    eventually(ledger.has_all_effects, within_s=120)
    for worker in workers:
        worker.stop()
    send(range(2 * third, 3 * third))
    before = ledger.effects().keys()
    in_transactions = rows() - {job for job in ledger.sent if job[1] % 5 not in LATER}
    waiting = ledger.sent - before - in_transactions

    restore()
    wanted = ledger.effects().keys() | rows() | waiting
    start_two()

    found(wanted, undone=len(before - wanted), never_sent=len(ledger.sent - before - wanted))
