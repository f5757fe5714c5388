"""Jobs that fail while their retry cannot be stored anywhere."""

import contextlib
import functools
import itertools
import secrets

import pytest
from dramatiq import Message
from psycopg import sql

from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, experiment
from workshed.console.rabbitmq.dead_letter_queue import requeue_messages
from workshed.transport.errors import BrokerError

LET_IN = "ALTER ROLE {role} PASSWORD {password} CONNECTION LIMIT -1"
SHUT_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {name}"
WAYS = {
    "its password was changed": ("ALTER ROLE {role} PASSWORD 'other'", LET_IN, "trying again in"),
    "it has too many connections": (
        "ALTER ROLE {role} CONNECTION LIMIT 0",
        LET_IN,
        "trying again in",
    ),
    "it may not write": (
        "REVOKE INSERT ON workshed.schedule FROM {owner}",
        "GRANT INSERT ON workshed.schedule TO {owner}",
        "cannot be stored",
    ),
}
"""What is done to the workers' role, what undoes it, and what they then log for a failed job."""


class Role:
    """The role of the workers, with the rights of the tables' owner."""

    def __init__(self, conn):
        self._conn = conn
        self._name, self._password = f"worker_{secrets.token_hex(6)}", secrets.token_hex(8)
        self.do("CREATE ROLE {role} LOGIN PASSWORD {password} IN ROLE {owner}")

    def do(self, statement):
        """Execute a statement about the role."""
        parts = {
            "role": sql.Identifier(self._name),
            "name": sql.Literal(self._name),
            "password": sql.Literal(self._password),
            "owner": sql.Identifier(self._conn.info.user),
        }
        self._conn.execute(sql.SQL(statement).format(**parts))

    def url(self):
        """Return the URL of the database with this role."""
        info = self._conn.info
        return f"postgresql://{self._name}:{self._password}@{info.host}:{info.port}/{info.dbname}"


@pytest.fixture
def role(connect):
    role = Role(connect(autocommit=True))
    yield role
    role.do(SHUT_OUT)
    role.do("DROP ROLE {role}")


@pytest.fixture
def start_one(ledger, start_worker, role):
    env = {"WORKSHED_DATABASE_URL": role.url()}
    return functools.partial(start_worker, "load", threads=4, env=env)


@pytest.fixture
def send_failing(ledger, broker):
    """`send_failing(100)`: send this many jobs that fail half of the time."""
    numbers = itertools.count()

    def send(count):
        for number in itertools.islice(numbers, count):
            message = Message("parts", "failing", (number,), {}, {})
            broker.enqueue(message)
            ledger.note(message)

    return send


@pytest.mark.timeout(1200)
@experiment(
    "retries-nowhere",
    number=4,
    fails_by="lost",
    fault="while jobs fail, PostgreSQL refuses first the workers' password, then their "
    "connections, then their writes to the schedule",
    load="1 000 jobs that fail half of the time",
    remedy=Remedy(
        "workshed/transport/consuming/execution.py",
        "            delivery.fail()\n"
        '            logger.exception("outcome of %s cannot be stored; it goes to the dead queue"',
        '            logger.exception("outcome of %s cannot be stored; it goes to the dead queue"',
    ),
)
def test_none_is_acked_without_its_successor(
    ledger, two_workers, role, send_failing, broker, judged, quiet, scale
):
    """Jobs whose outcome cannot be written wait in the dead queue; an operator puts them back."""
    said, back = {}, []

    def text():
        return "".join(worker.text() for worker in two_workers)

    for way, (begin, end, words) in WAYS.items():
        before = text().count(words)
        role.do(begin)
        role.do(SHUT_OUT)
        send_failing(scale(1_000) // len(WAYS))
        quiet(lambda: text().count(words) > before + 4, text, within_s=60)  # noqa: B023
        said[way] = text().count(words) - before
        role.do(end)

    is_empty = Emptied(ledger.left)

    def is_over():
        with contextlib.suppress(BrokerError):
            back.append(requeue_messages(broker.urls, "parts", 1_000, lambda: None))
        return is_empty() and ledger.has_all_effects()

    quiet(is_over, ledger.moved, within_s=240)
    result = ledger.result()
    result.notes = {**said, "put back": sum(back)}
    judged(result)
    assert all(said.values())
