"""The `workshed` command, run in this process on the servers of the test."""

import functools
import json
import socket
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import dramatiq
import orjson
import pytest

from tests.variables import variable
from workshed.console.cli import app
from workshed.console.cli import run_command as run_line
from workshed.jobs.batches import batches
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import runs
from workshed.jobs.history.copy_format import encode_row
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import OutboxRow
from workshed.settings import settings

CLOSED_PORT = 9
"""A port on which nothing answers."""
SENT = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
"""The time at which the runs of the history were sent, unless a test gives another."""


@dataclass
class CommandResult:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Parse stdout, which must be JSON only."""
        return json.loads(self.out)

    @property
    def lines(self):
        return self.out.splitlines()


@pytest.fixture
def declared(broker):
    """The queues exist, as declared."""
    broker.ensure_queues(set(broker.declared_queues))
    return broker


@pytest.fixture
def run_program(monkeypatch, capsys):
    """`run_program(app, "workshed", "dead", "list")`: run it without a terminal."""
    monkeypatch.setattr(sys, "stdin", None)  # closed, as by `<&-`
    monkeypatch.setenv("COLUMNS", "80")

    def run(program, name, *words):
        monkeypatch.setattr(sys, "argv", ["workshed", *words])
        with pytest.raises(SystemExit) as end:
            run_line(program, name)
        out, err = capsys.readouterr()
        return CommandResult(end.value.code or 0, out, err)

    return run


@pytest.fixture
def workshed(run_program):
    """`workshed("dead", "list")`: run it without a terminal."""
    return functools.partial(run_program, app, "workshed")


@pytest.fixture
def conn(connect):
    """A connection in autocommit, which sees what a command writes."""
    return connect(autocommit=True)


@pytest.fixture
def env(monkeypatch):
    """`env(BROKER_URL="…")`: set our variables for this process and its children."""
    return functools.partial(set_variables, monkeypatch, variable)


def set_variables(monkeypatch, variable, **values):
    """Set variables by the names of their settings."""
    for name, value in values.items():
        monkeypatch.setenv(variable(name), value)
    settings.cache_clear()


@pytest.fixture
def management(servers, rabbitmq, env):
    """The management API of the test's RabbitMQ, named by the environment."""
    parts = urlsplit(servers.broker_url)
    usual = f"http://{parts.netloc.rpartition('@')[0]}@{parts.hostname}:15672"
    env(MANAGEMENT_URL=servers.management_url or usual)
    return rabbitmq


@pytest.fixture
def tarpit():
    """The address of a server that accepts every connection and never answers."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(64)
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def body(message_id, actor, args, queue, **options):
    fields = {
        "queue_name": queue,
        "actor_name": actor,
        "args": args,
        "kwargs": {},
        "options": options,
        "message_id": message_id,
        "message_timestamp": 1_700_000_000_000,
    }
    return orjson.dumps(fields)


@pytest.fixture
def store(conn):
    """`store("a", due="2 hours")`: store a waiting job."""

    def store(
        message_id, *, due="1 hour", queue="default", reason="delayed", generation=0, **options
    ):
        actor = options.pop("actor", "greet")
        text = body(message_id, actor, [7], queue, generation=generation, **options).decode()
        schedule.insert_row(
            conn, schedule.OutboxRow(message_id, generation, queue, actor, text, reason)
        )
        query = (
            "UPDATE workshed.schedule SET due_at = workshed.now() + %s::interval "
            "WHERE message_id = %s"
        )
        conn.execute(query, (due, message_id))
        return message_id

    return store


@pytest.fixture
def bury(conn):
    """`bury("a")`: store a dead job, by default with a `ValueError`."""

    def bury(message_id, *, actor="greet", queue="default", error=None, **changes):
        error = error or ValueError("no")
        fields = {
            "generation": 2,
            "attempt": 3,
            "body": body(message_id, actor, [7], queue, attempt=3, generation=2),
            "reason": f"failed 3 times: {type(error).__name__}: {error}",
            "error": error,
        }
        dead_jobs.add_dead_job(
            conn, message_id=message_id, actor=actor, queue=queue, **{**fields, **changes}
        )
        return message_id

    return bury


@pytest.fixture
def ran(conn):
    """`ran("a", outcome="dead")`: write a run into the history."""

    def write(message_id, **fields):
        usual = {
            "message_id": message_id,
            "generation": 0,
            "attempt": 1,
            "queue": "default",
            "actor": "greet",
            "outcome": "succeeded",
            "sent": SENT,
            "published": SENT,
            "started": SENT + timedelta(seconds=0.25),
            "ended": SENT + timedelta(seconds=2),
            "queue_wait_s": 0.25,
            "duration_s": 1.75,
            "worker": "web-1:77",
            "origin": "send",
            "release": "",
            "arguments": {"user_id": 7},
        }
        found = {**usual, **fields}
        for name in ("sent", "published", "started", "ended"):
            found[name] = found[name] and found[name].timestamp()
        found["arguments"] = orjson.dumps(found["arguments"])
        runs.write_runs(conn, [encode_row(**found)])

    return write


@pytest.fixture
def make_batch(conn, store):
    """`make_batch("a", "b")`: create a closed batch of waiting jobs; its id."""

    def make_batch(*message_ids, description="June's invoices"):
        batch = str(uuid4())
        message = dramatiq.Message("default", "report", (), {}, {}, f"callback of {batch}")
        callback = OutboxRow(
            message.message_id, 0, "default", "report", message.encode().decode(), "transactional"
        )
        with conn.transaction():
            conn.execute(*batches.open_statement(batch, description, {"success": callback}))
            conn.execute(*batches.join_statement(batch, message_ids))
            conn.execute(*batches.close_statement(batch))
        for message_id in message_ids:
            store(message_id, batch=batch)
        return batch

    return make_batch


@pytest.fixture
def dies(conn, bury):
    """`dies("a")`: let a job of a batch be dead."""

    def dies(message_id, **changes):
        conn.execute("DELETE FROM workshed.schedule WHERE message_id = %s", (message_id,))
        bury(message_id, **changes)
        batches.end_batch_job(conn, message_id, "dead")

    return dies
