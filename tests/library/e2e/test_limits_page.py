"""The examples of docs/limits-and-cancel.md, run as printed."""

import pytest
from dramatiq import Message

from tests import pages
from workshed import db
from workshed.jobs.control import cancellations

pytestmark = pytest.mark.one_worker

FILES = pages.files("docs/limits-and-cancel.md")
SCRIPTS = {"send_late.py", "cancel_one.py", "cancel_many.py"}


@pytest.fixture(autouse=True)
def _project(tmp_path, conn):
    """A folder with the files of the page, and the tables their actors work on."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    conn.autocommit = True
    conn.execute("CREATE SCHEMA store; CREATE TABLE store.reports (id integer)")
    conn.execute("CREATE TABLE store.pages (id integer, page integer, PRIMARY KEY (id, page))")


@pytest.fixture
def send(broker):
    """Send by name, as a program without the actors would."""
    return lambda actor, *args: broker.enqueue(Message("low", actor, args, {}, {}))


def test_every_example_is_run_here():
    assert FILES.keys() == {"report_actors.py", *SCRIPTS}


@pytest.mark.parametrize("name", ["cancel_one.py", "cancel_many.py"])
def test_a_script_that_cancels_runs(name, broker, run, environment, count):
    broker.ensure_queues({"low"})

    code, said = run(name, **environment)

    assert code == 0, said
    assert count("workshed.schedule") == 0
    assert count("workshed.cancellations") == 1


def test_a_report_that_takes_too_long_ends(start_worker, send, conn, eventually):
    start_worker("report_actors")
    send("build_report", 1, 0.1)
    send("build_report", 2, 60.0)

    [(error,)] = eventually(
        lambda: conn.execute("SELECT error_class FROM workshed.dead").fetchall()
    )

    assert error == "TimeLimitExceeded"
    eventually(lambda: conn.execute("SELECT id FROM store.reports").fetchall() == [(1,)])


def test_a_digest_that_comes_too_late_is_dead(start_worker, run, environment, conn, eventually):
    start_worker("report_actors")

    code, said = run("send_late.py", **environment)

    assert code == 0, said
    [(reason,)] = eventually(lambda: conn.execute("SELECT reason FROM workshed.dead").fetchall())
    assert reason.startswith("it had to start within 0:00:01 of ")


def test_a_digest_stops_at_its_next_page(start_worker, send, conn, count, eventually):
    start_worker("report_actors")
    sent = send("send_digest", 7, 100_000)
    eventually(lambda: count("store.pages"))

    with db.transaction() as tx:
        cancellations.cancel(tx, sent.message_id)

    query = "SELECT outcome, reason FROM workshed.attempts"
    found = eventually(lambda: conn.execute(query).fetchall())
    assert found == [("cancelled", "cancelled")]
    assert count("store.pages") > 0
