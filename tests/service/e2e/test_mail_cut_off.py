"""A worker is shut down while a mail server keeps it waiting beyond its grace period."""

import pytest
from dramatiq import Message
from psycopg.rows import namedtuple_row

from tests.service.integration.mail.strict import Slow, Thorough
from workshed import db
from workshed.contrib import mail

LEAVES_SOON = {"WORKSHED_SHUTDOWN_GRACE": "0.5"}


@pytest.fixture
def email_id(database):
    with db.transaction() as conn:
        return mail.store(conn, mail.Draft("test", "ada@example.org", "Ada", "Hello", "Hello."))


@pytest.fixture
def serve(tmp_path):
    """`serve(Slow)`: a mail server that answers when the test allows it."""
    servers = []

    def start(kind):
        server = kind(tmp_path / "slow")
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.answers.set()
        server.stop()


@pytest.fixture
def row(connect):
    """`row()`: the email's row; `row.run_out()` ends its claim, if any."""
    conn = connect(autocommit=True)

    def read():
        with conn.cursor(row_factory=namedtuple_row) as cur:
            return cur.execute("SELECT * FROM workshed_mail.emails").fetchone()

    def run_out():
        conn.execute(
            "UPDATE workshed_mail.emails SET claimed_until = workshed.now() WHERE claim IS NOT NULL"
        )

    read.run_out = run_out
    return read


@pytest.fixture
def send(broker, email_id):
    """`send()`: send the job that delivers the email."""
    return lambda: broker.enqueue(Message("emails", "deliver_email", (email_id,), {}, {}))


@pytest.mark.parametrize(
    ("kind", "is_in_doubt"),
    [
        (Slow, False),  # not sent: the server waits for the text
        (Thorough, True),  # the server has the whole email and has not answered yet
    ],
)
def test_it_is_in_doubt_only_where_its_end_was_sent(
    kind, is_in_doubt, start_worker, serve, send, row, eventually
):
    """The thread is in a call that cannot be interrupted, so it ends with the process."""
    server = serve(kind)
    env = {"WORKSHED_SMTP_URL": server.url}
    first = start_worker("actors", threads=1, env=env | LEAVES_SOON)
    send()
    eventually(server.looks.is_set)

    assert first.stop() == 0

    assert (row().state, row().attempts) == (("sending", 1) if is_in_doubt else ("pending", 0))
    row.run_out()
    server.answers.set()
    start_worker("actors", threads=1, env=env)
    eventually(lambda: row().state == "sent")
    assert row().possible_duplicates == is_in_doubt
    assert len(server.received) == 1 + is_in_doubt
