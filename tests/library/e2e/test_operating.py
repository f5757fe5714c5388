"""What operators do while real workers run: jobs are sent, found, requeued and run."""

import json
import os
import pty
import re
import subprocess
import sys
from datetime import timedelta

import dramatiq
import pika
import pytest

from tests import pages
from tests.processes import popen
from tests.transcripts import check, follow, shell, steps
from workshed import schedule
from workshed.console.rabbitmq.queue_depths import fetch_depths
from workshed.jobs.dead import dead_jobs as dead
from workshed.transport.amqp import topology

RUNS = re.compile(r"(?<=started    )on (\S+); running")
AWAITED = pages.block("docs/operating.md", "$ workshed enqueue total")
FOLLOWED = pages.block("docs/operating.md", "$ workshed job")
WORKER = {re.compile(r"(?<=attempt 1 on )\S+(?=,)"): "WORKER"}
PAGE_JOBS = """
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name="default", store_results=True)
def total(net):
    return net * 120 // 100

@dramatiq.actor(broker=broker, queue_name="default", max_retries=0)
def send_invoice(order_id):
    raise TimeoutError("the printer does not answer")
"""

JOBS = """
import dramatiq
from workshed import broker, db

@dramatiq.actor(broker=broker, queue_name="default", max_retries=0, time_limit=60_000)
def note(number):
    with db.transaction() as conn:
        if conn.execute("SELECT FROM mended").rowcount == 0:
            raise RuntimeError("not mended yet")
        conn.execute("INSERT INTO notes VALUES (%s)", (number,))
"""


@pytest.fixture
def broken(tmp_path, conn):
    """The module `note_jobs`, whose one actor fails until the table `mended` has a row."""
    conn.autocommit = True
    conn.execute("CREATE TABLE mended (at timestamptz); CREATE TABLE notes (number integer)")
    (tmp_path / "note_jobs.py").write_text(JOBS)


@pytest.fixture
def mended(broken, conn):
    """The same module, but its actor does not fail."""
    conn.execute("INSERT INTO mended VALUES (now())")


@pytest.fixture
def worker(broken, start_worker):
    """A worker on that module."""
    return start_worker("note_jobs")


@pytest.fixture
def dead_ids(workshed):
    """Ids of the dead, as the command lists them."""
    return lambda: [row["message_id"] for row in json.loads(workshed("dead", "--json"))]


@pytest.mark.one_worker
def test_a_job_that_is_sent_by_name_runs(mended, worker, workshed, count, eventually):
    workshed("enqueue", "note", "7", "--import", "note_jobs")

    eventually(lambda: count("notes WHERE number = 7") == 1)


@pytest.mark.one_worker
def test_a_dead_job_runs_after_its_cause_is_mended(
    worker, workshed, dead_ids, conn, count, eventually
):
    message_id = workshed("enqueue", "note", "7", "--import", "note_jobs").strip()
    eventually(lambda: count("workshed.dead"))
    assert dead_ids() == [message_id]
    assert "RuntimeError: not mended yet" in workshed("dead", "show", message_id)

    conn.execute("INSERT INTO mended VALUES (now())")
    workshed("dead", "retry", message_id)

    eventually(lambda: count("notes WHERE number = 7") == 1)
    assert dead_ids() == []


@pytest.mark.one_worker
def test_a_job_that_dies_again_is_dead_again_and_can_be_retried_again(
    worker, workshed, dead_ids, count, eventually
):
    message_id = workshed("enqueue", "note", "7", "--import", "note_jobs").strip()
    for times in (1, 2, 3):
        eventually(lambda times=times: count("workshed.attempts") == times)
        assert dead_ids() == [message_id]
        workshed("dead", "retry", message_id)

    eventually(lambda: count("workshed.dead WHERE generation = 3") == 1)


@pytest.mark.one_worker
def test_a_job_of_next_week_runs_now_or_never(mended, worker, workshed, count, eventually):
    words = ("--import", "note_jobs", "--delay", "7d")
    wanted = workshed("enqueue", "note", "1", *words).strip()
    unwanted = workshed("enqueue", "note", "2", *words).strip()

    workshed("scheduled", "cancel", unwanted, "--yes")
    workshed("scheduled", "run", wanted)

    eventually(lambda: count("notes WHERE number = 1") == 1)
    eventually(lambda: count("workshed.schedule") == 0)  # a relay deletes a row once it was sent
    assert workshed("scheduled", "--json") == "[]\n"
    assert count("notes") == 1


@pytest.mark.one_worker
def test_enqueue_with_wait_reports_how_a_job_has_ended(worker, workshed, conn, count):
    words = ("enqueue", "note", "7", "--import", "note_jobs", "--wait", "--json")

    dead = json.loads(workshed(*words, code=1))

    assert dead["outcome"] == "dead"
    assert dead["reason"] == "failed once: RuntimeError: not mended yet"
    conn.execute("INSERT INTO mended VALUES (now())")

    done = json.loads(workshed(*words))

    assert (done["outcome"], done["reason"], done["result"]) == ("succeeded", "", None)
    assert count("notes") == 1


def test_enqueue_with_wait_prints_what_the_page_shows(broker, environment, start_worker, tmp_path):
    (tmp_path / "note_jobs.py").write_text(PAGE_JOBS)
    start_worker("note_jobs")

    follow(AWAITED, shell(tmp_path, **environment))


@pytest.mark.one_worker
def test_a_job_is_followed_to_its_end(
    mended, worker, workshed, environment, broker, conn, tmp_path
):
    [(command, shown)] = steps(FOLLOWED)
    message = dramatiq.Message("default", "note", (7,), {}, {})
    schedule.send(conn, message, delay=timedelta(hours=1))
    words = re.sub("[0-9a-f-]{36}", message.message_id, command).split()[1:]
    with popen(
        [sys.executable, "-m", "workshed", *words],
        env={**os.environ, **environment},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        said = [following.stdout.readline(), following.stdout.readline()]
        workshed("scheduled", "run", message.message_id)
        said += following.stdout

    # A look before the relay's shows that the job was put forward, which the page does not show.
    said = [line for line in said if not line.endswith("due        waits until then (delayed)\n")]
    # While the job runs, the line for its start differs from the one afterwards.
    said = [RUNS.sub(r"attempt 1 on \1, after 5ms in default", line) for line in said]
    check(shown, "".join(said), WORKER)
    assert following.returncode == 0


def test_a_job_that_was_requeued_twice_runs_once(
    environment, workshed, broker, start_worker, mended, rabbitmq, count, eventually
):
    """If `requeue` is killed between confirm and ack, it leaves a message in both queues."""
    broker.ensure_queues({"default"})
    message = dramatiq.Message("default", "note", (7,), {}, {})
    properties = pika.BasicProperties(message_id=message.message_id, delivery_mode=2)
    with topology.open_connection(broker.urls) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(2):
            channel.basic_publish("", "default.dead", message.encode(), properties)

    assert workshed("dead", "requeue", "default", "--yes") == "2\n"

    start_worker("note_jobs", threads=1)
    eventually(lambda: rabbitmq.acked("default") == 2)
    assert count("notes") == 1


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 1), ("y", 0, 0)])
def test_at_a_terminal_it_asks(environment, tmp_path, conn, count, answer, code, left):
    conn.autocommit = True
    dead.add_dead_job(
        conn,
        message_id="a",
        generation=0,
        attempt=1,
        queue="default",
        actor="note",
        body=b"{}",
        reason="failed once",
    )
    terminal, its_side = pty.openpty()
    os.write(terminal, f"{answer}\n".encode())

    done = subprocess.run(
        [sys.executable, "-m", "workshed", "dead", "discard", "a"],
        env={**os.environ, **environment},
        stdin=its_side,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    for side in (terminal, its_side):
        os.close(side)

    assert done.returncode == code, done.stderr
    assert "Discard 1 job? [y/N]" in done.stderr
    assert count("workshed.dead") == left


def test_with_a_running_worker_the_doctor_finds_no_problem(
    worker, workshed, broker, count, rabbitmq, eventually
):
    eventually(lambda: count("workshed.relays") == 1)
    eventually(lambda: rabbitmq.queues().keys() == {"default", "default.dead"})
    eventually(lambda: fetch_depths(broker.urls, ["default"], 60)["default"].consumers)

    words = ("--processes", "1", "--import", "note_jobs")
    found = json.loads(workshed("doctor", "--json", *words))

    assert found["ok"] is True
    assert [one["check"] for one in found["checks"] if one["level"] == "warning"] == []
