"""A button and its command do the same: to the database, in the audit, and in their words."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import typer

from tests.library.integration.console.conftest import (
    bury,
    dies,
    make_batch,
    run_program,
    store,
    workshed,
)
from tests.library.integration.desk.conftest import begin_session
from tests.library.integration.desk.test_periodic import note
from tests.library.integration.desk.test_queues import known, send
from tests.library.integration.desk.test_unique import lock
from tests.library.integration.desk.test_workers import beat
from workshed.console.cli import COMMANDS, app
from workshed.console.cli.terminal.audit import describe_user
from workshed.console.web.pages import list_actions
from workshed.console.web.view.cursor import encode_cursor
from workshed.jobs.control import audit
from workshed.jobs.control.batch_cancellations import cancel_waiting_jobs

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

__all__ = ["beat", "bury", "dies", "known", "lock", "make_batch", "note", "run_program", "send"]
__all__ += ["store", "workshed"]

BUTTON_USER = "olga"
ONLY_BUTTONS = {
    "/sessions/end": "concerns the browser of the user who clicks",
    "/sessions/end-others": "concerns the browser of the user who clicks",
}
ONLY_COMMANDS = {
    "adopt": "moves the jobs of another server until it is stopped",
    "broker drain": "moves all jobs of a server that is given up, for longer than a page may take",
    "dead requeue": "moves messages one by one, for longer than a page may take",
    "dev": "runs servers; --reset deletes them",
    "enqueue": "imports the actors, which the console does not",
    "erase": "needs the personal data, which an address or a log of a browser must not have",
    "scheduled rules delete": "the console has no page of rules, and makes none",
}
"""Commands that change something, and why the console has no button for them."""
READING = {
    "batches list", "batches show", "broker check", "broker definitions", "broker setup",
    "console", "console token", "console user", "dead list", "dead show", "doctor", "init", "job",
    "jobs", "limits list", "migrate", "periodic list", "queues list", "relay", "roles",
    "scheduled list", "scheduled rules list", "scheduled show", "unique list", "worker",
    "workers list",
}  # fmt: skip
"""Commands that read, run processes, or create what is missing: no operations of an operator."""


@dataclass
class Pair:
    """A command and a button for the same operation, and how to make a record for them."""

    command: str
    """Its words; NAME stands for the record."""
    path: str
    fields: dict[str, str]
    make: Callable[[Callable[[str], object], str], str | None]
    """Make an equal record for each name; returns another name that it has."""
    before: str | None = None
    """A command that comes first, so that there is something to do."""
    names: tuple[str, str] = ("first", "second")

    def __str__(self):
        return f"{self.command} {self.path}"


def make_batch_of(get, name):
    return get("make_batch")(f"{name}-1", f"{name}-2")


def make_dead_batch(get, name):
    batch = make_batch_of(get, name)
    get("dies")(f"{name}-1")
    return batch


def make_dead(get, name):
    get("bury")(name)


def make_waiting(get, name):
    get("store")(name)


def make_key(get, name):
    get("lock")(name)


def make_queue(get, name):
    get("known")


def make_ready(get, name):
    [message] = get("send")(name)
    return message.message_id


def make_worker(get, name):
    get("beat")(name, 101)


def make_periodic(get, name):
    get("note")(name)


def make_session(_, name):
    begin_session(name)


SURE = {"sure": "yes"}
NAME, OTHER = "NAME", "OTHER"
QUEUES = ("bulk", "low")
WORKER, KEY = {"id": "NAME:101"}, {"id": "KEY"}
PAIRS = [
    Pair("batches cancel OTHER --yes", "/batches/cancel", {"id": OTHER}, make_batch_of),
    Pair("batches retry OTHER --yes", "/batches/retry", {"id": OTHER}, make_dead_batch),
    Pair("console logout NAME", "/sessions/log-out", {"user": NAME}, make_session,
         names=("rita", "rita")),
    Pair("dead discard NAME --yes", "/dead/discard", {"one": NAME}, make_dead),
    Pair("dead discard --all --actor NAME --yes", "/dead/discard",
         {"every": "yes", "actor": NAME}, lambda get, name: get("bury")(name, actor=name)),
    Pair("dead retry NAME", "/dead/retry", {"one": NAME}, make_dead),
    Pair("dead retry NAME", "/job/retry", {"id": NAME}, make_dead),
    Pair("dead retry --all --actor NAME --since 1h --yes", "/dead/retry",
         {"every": "yes", "actor": NAME, "since": "1h"},
         lambda get, name: get("bury")(name, actor=name)),
    Pair("job NAME cancel --yes", "/job/cancel", {"id": NAME}, make_waiting),
    Pair("periodic pause NAME", "/periodic/pause", {"name": NAME}, make_periodic),
    Pair("periodic resume NAME", "/periodic/resume", {"name": NAME}, make_periodic,
         before="periodic pause NAME"),
    Pair("periodic run NAME", "/periodic/run", {"name": NAME}, make_periodic),
    Pair("queues pause NAME", "/queues/pause", {"name": NAME}, make_queue, names=QUEUES),
    Pair("queues purge NAME --yes", "/queues/purge", {"name": NAME}, make_ready, names=QUEUES),
    Pair("queues resume NAME", "/queues/resume", {"name": NAME}, make_queue,
         before="queues pause NAME", names=QUEUES),
    Pair("scheduled cancel NAME --yes", "/scheduled/cancel", {"id": NAME}, make_waiting),
    Pair("scheduled move NAME --at 2100-01-01T00:00Z", "/scheduled/move",
         {"id": NAME, "at": "2100-01-01T00:00"}, make_waiting),
    Pair("scheduled run NAME", "/job/run", {"id": NAME}, make_waiting),
    Pair("scheduled run NAME", "/scheduled/run", {"id": NAME}, make_waiting),
    Pair("unique release resize:NAME --yes", "/unique/release", KEY, make_key),
    Pair("workers quiet NAME:101", "/workers/quiet", WORKER, make_worker),
    Pair("workers resume NAME:101", "/workers/resume", WORKER, make_worker,
         before="workers quiet NAME:101"),
]  # fmt: skip
VOLATILE = [
    (re.escape(f"by {describe_user()}"), "by USER"),
    (f"by {BUTTON_USER} on the console", "by USER"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)?", "TIME"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID"),
    (r"\b\d{13}\b", "MILLISECONDS"),
]
UNLIKE = {"id", "proof", "token_hash", "xid"}
"""What differs between two equal records, besides their names: texts, and columns."""


def readable(column, value):
    """Return a value of a row as text, without what differs between two equal rows."""
    if column in UNLIKE:
        return "ANY"
    if column == "due_at":  # operations change it
        return round((datetime.fromisoformat(value) - datetime.now(UTC)) / timedelta(hours=1))
    is_bytes = isinstance(value, str) and value.startswith(r"\x")
    return bytes.fromhex(value[2:]).decode() if is_bytes else value


class Side:
    """One of two equal records, on which the command or the button is used."""

    def __init__(self, pair, name, get, conn):
        """Make the record."""
        self.name, self.conn = name, conn
        self.other = pair.make(get, name)
        self.key = encode_cursor(f"resize:{name}", name)

    def fill(self, text):
        """Put the names of this record into a text of a pair."""
        found = text.replace("OTHER", str(self.other)).replace("NAME", self.name)
        return self.key if found == "KEY" else found

    def plain(self, text):
        """Return a text without the names of this record, and what else differs between two."""
        for number, name in enumerate([self.other, self.name]):
            if name is not None:
                text = re.sub(rf"(?<!\w){re.escape(name)}(?![a-z])", f"<{number}>", text)
        for pattern, placeholder in VOLATILE:
            text = re.sub(pattern, placeholder, text)
        return text

    def rows(self):
        """Return the rows of this record in all tables but the audit."""
        tables = self.conn.execute("""
            SELECT relname FROM pg_class
             WHERE relnamespace = 'workshed'::regnamespace AND relkind IN ('r', 'p')
               AND NOT relispartition AND relname <> 'audit'
             ORDER BY relname
        """).fetchall()
        found = []
        for (table,) in tables:
            query = f"SELECT to_jsonb(t) FROM workshed.{table} AS t"  # noqa: S608 -- ours
            for (row,) in self.conn.execute(query):
                text = str({name: readable(name, value) for name, value in row.items()})
                if self.name in text or (self.other is not None and self.other in text):
                    found.append((table, self.plain(text)))
        return sorted(found)

    def entry(self):
        """Return the latest audit entry, without its user, and the user."""
        found = audit.list_entries(self.conn)[0]
        details = {name: self.plain(str(value)) for name, value in found.details.items()}
        parts = (found.action, details, found.count, self.plain(found.summary))
        return parts, found.performed_by


@pytest.fixture
def make_side(request, conn):
    """`make_side(pair, "first")`: make a record."""
    get = request.getfixturevalue
    return lambda pair, name: Side(pair, name, get, conn)


@pytest.fixture(autouse=True)
def _servers(broker):
    """The commands use the servers of the test."""


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_a_button_and_its_command_do_the_same(pair, make_side, workshed, operator, conn):
    by_command = make_side(pair, pair.names[0])
    if pair.before:
        workshed(*by_command.fill(pair.before).split())
    before = by_command.rows()
    done = workshed(*by_command.fill(pair.command).split())
    assert done.code == 0, done.err
    changed, entry = by_command.rows(), by_command.entry()
    lines = [by_command.plain(line).replace("  ", ": ") for line in done.lines]

    by_button = make_side(pair, pair.names[1])
    if pair.before:
        workshed(*by_button.fill(pair.before).split())
    assert by_button.rows() == before
    fields = {name: by_button.fill(value) for name, value in pair.fields.items()}
    said = by_button.plain(operator.submit(pair.path, fields | SURE))
    if pair.path == "/batches/cancel":  # the command does not wait for a relay
        cancel_waiting_jobs(conn, 100, by_button.other)

    assert changed != before
    assert by_button.rows() == changed
    assert by_button.entry()[0] == entry[0]
    assert (entry[1], by_button.entry()[1]) == (describe_user(), BUTTON_USER)
    assert said == entry[0][-1]
    assert [line for line in lines if line not in said] == []


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if "--yes" in pair.command], ids=str)
def test_a_button_and_its_command_ask_the_same(pair, make_side, workshed, operator, conn):
    by_command, by_button = (make_side(pair, name) for name in pair.names)

    asked = workshed(*by_command.fill(pair.command.removesuffix(" --yes")).split())
    fields = {name: by_button.fill(value) for name, value in pair.fields.items()}
    page = by_button.plain(html.unescape(operator.post(pair.path, fields).text))

    assert asked.code == 2
    *notes, question = by_command.plain(asked.err).splitlines()
    wanted = question.removeprefix("workshed: ").partition(": no terminal")[0]
    assert f'<button class="danger">{wanted}</button>' in page
    assert f"This would {wanted[0].lower()}{wanted[1:]}." in page
    assert all(note in page for note in notes)
    assert audit.list_entries(conn) == []


def test_each_operation_has_a_command_and_a_button_or_a_reason():
    """A new button or command needs its counterpart in `PAIRS`, or a reason to have none."""
    own = [action for action in list_actions() if action.required_schema == "workshed"]
    buttons = {action.path: action.name for action in own}
    commands = {
        name for name in list_commands(typer.main.get_command(app)) if name.split()[0] in COMMANDS
    }
    of_pairs = {command_of(pair, commands) for pair in PAIRS}

    assert {pair.path for pair in PAIRS} == buttons.keys() - ONLY_BUTTONS.keys()
    assert of_pairs == commands - ONLY_COMMANDS.keys() - READING
    assert ONLY_BUTTONS.keys() <= buttons.keys()
    assert ONLY_COMMANDS.keys() | READING <= commands
    assert {command.replace(" ", ".") for command in of_pairs} == {
        buttons[pair.path] for pair in PAIRS
    }


def command_of(pair, commands):
    """Return the command that a pair calls: `job cancel` for `job NAME cancel`."""
    words = [word for word in pair.command.split() if word.islower() and word[0] != "-"]
    found = [" ".join(words[:length]) for length in (2, 1)]
    return next(name for name in found if name in commands)


def list_commands(group, before=""):
    """Yield the names of all commands that can be called."""
    for name in group.list_commands(None):
        command, path = group.get_command(None, name), f"{before}{name}"
        if not hasattr(command, "list_commands"):
            yield path
            continue
        if command.invoke_without_command and command.params:
            yield path
        yield from list_commands(command, f"{path} ")
