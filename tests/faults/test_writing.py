"""Jobs with `once=True` that write by an ORM, while connections are cut and workers are killed."""

import shutil
from pathlib import Path

import pytest

from tests.faults.conftest import WRITERS
from tests.faults.every import Every
from tests.faults.experiment import Remedy, experiment

PROGRAMS = [Path(__file__).parent / name for name in ("writing.py", "writing_settings.py")]
ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "writing_settings"}
KILLS = 20
BACKLOG = 80


@pytest.fixture
def long_jobs(monkeypatch):
    """Let jobs work on for so long that at any moment most have written and have not ended."""
    monkeypatch.setenv("FAULTS_TAKES_S", "0.2")


@pytest.fixture
def ledger(ledger, connect, tmp_path):
    """The load of jobs with `once=True`, of which each has its way of writing."""
    query = "ALTER TABLE effects ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    connect(autocommit=True).execute(query)
    for program in PROGRAMS:
        shutil.copy(program, tmp_path)
    ledger.kinds = WRITERS
    return ledger


@pytest.fixture
def start_one(ledger, start_worker):
    def start_one(*, env=None, ready=True):
        return start_worker("writing", threads=4, env={**ENVIRONMENT, **(env or {})}, ready=ready)

    return start_one


@pytest.fixture
def send(ledger):
    """`send(number)`: every ninth job in a transaction, the others directly.

    There are four kinds, so every tenth would be of two of them.
    """
    return lambda number: (ledger.commit if number % 9 == 8 else ledger.send)(number)


@experiment(
    "sqlalchemy-cut",
    number=11,
    fails_by="duplicated",
    needs_rabbitmq=False,
    fault="all connections of workers and relays to PostgreSQL are cut every 0.5 s while jobs run",
    load="5 000 jobs with `once=True` that write with a SQLAlchemy session, sent directly and in "
    "transactions",
    remedy=Remedy(
        "workshed/contrib/sqlalchemy/sessions.py",
        "    with db.transaction() as conn, session_on(conn, make) as session:",
        "    with db.separate_transaction() as conn, session_on(conn, make) as session:",
    ),
)
def test_a_session_writes_once_while_its_connections_are_cut(
    ledger, send, start_one, proxy, database_url, harmless, quiet, scale
):
    """A reset in the middle of a commit leaves it in doubt; the next attempt finds the key."""
    ledger.kinds = ("write_by_session",)
    between = proxy(database_url)
    for _ in range(2):
        start_one(env={"WORKSHED_DATABASE_URL": between.url(database_url)})
    with Every(0.5, between.cut) as cuts:
        for number in range(scale(5_000)):
            send(number)
        quiet(ledger.has_all_effects, ledger.moved, within_s=600)
    failed = ledger.failed_attempts()
    harmless(**{"cuts": cuts.times, "attempts that failed": failed})
    assert cuts.times > 0
    assert failed > cuts.times  # a cut strikes several jobs


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("long_jobs")
@experiment(
    "once-killed",
    number=12,
    fails_by="duplicated",
    needs_rabbitmq=False,
    fault="`kill -9` of one of two worker masters every 3 s, once the other is up",
    load="4 000 jobs or more with `once=True` that write with psycopg, with a SQLAlchemy "
    "session, with an async one, or with Django's ORM, sent directly and in transactions",
    remedy=Remedy(
        "workshed/middleware/delivery/once.py",
        "                with (\n"
        "                    db.transaction_begun_by(key.begin) as conn,\n"
        "                    db.join_transaction(conn) as joined,\n"
        "                ):\n"
        "                    if key.claim(conn):\n"
        "                        with db.lend_transaction(joined):\n"
        "                            result = function(*args, **kwargs)\n",
        "                result = function(*args, **kwargs)\n"
        "                with (\n"
        "                    db.transaction_begun_by(key.begin) as conn,\n"
        "                    db.join_transaction(conn) as joined,\n"
        "                ):\n"
        "                    if key.claim(conn):\n",
    ),
)
def test_each_way_of_writing_writes_once_although_workers_are_killed(
    ledger, send, kill_a_worker, harmless, quiet, scale
):
    """Without the transaction of the job, what it has written stays, and is written again."""
    least, kills = scale(4_000), scale(KILLS, by=5)
    with Every(3, kill_a_worker) as every:
        while len(ledger.sent) < least or kill_a_worker.times < kills:
            assert every.error is None
            if len(ledger.sent) - len(ledger.effects()) < BACKLOG:
                for number in range(len(ledger.sent), len(ledger.sent) + BACKLOG):
                    send(number)
        quiet(ledger.has_all_effects, ledger.moved, within_s=240)
    harmless()
