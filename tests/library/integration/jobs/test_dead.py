"""Dead jobs as rows: stored, searched, retried and discarded."""

import hashlib
import threading
import time
from datetime import timedelta

import orjson
import pytest
from psycopg.errors import UniqueViolation

from workshed.jobs.control import cancellations
from workshed.jobs.dead import dead_jobs, retry_preview
from workshed.jobs.dead.dead_jobs import DeadFilter, UnreadableJobError
from workshed.jobs.dead.retry_preview import RetryPreview
from workshed.jobs.history import attempts
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.locks import unique
from workshed.jobs.locks.unique import KeyClaim
from workshed.jobs.outbox import schedule
from workshed.settings import settings


def body(**options):
    message = {
        "queue_name": "default",
        "actor_name": "greet",
        "args": [2**63, 1.5],
        "kwargs": {"name": "Ada \N{SNOWMAN}"},
        "options": {"broker_priority": 3, **options},
        "message_id": "m",
        "message_timestamp": 1_700_000_000_000,
    }
    return orjson.dumps(message)


def bury(conn, message_id="m", *, generation=2, **changes):
    fields = {
        "attempt": 4,
        "queue": "default",
        "actor": "greet",
        "body": body(attempt=4, generation=generation),
        "reason": "failed 4 times: ValueError: no",
        "error": ValueError("no"),
    }
    dead_jobs.add_dead_job(
        conn, message_id=message_id, generation=generation, **{**fields, **changes}
    )


# Retry


def test_a_retry_is_due_now_with_all_its_attempts_as_a_generation_of_its_own(conn):
    bury(conn)
    completed_generations.complete_generation(conn, "m", 2)

    assert dead_jobs.retry_job(conn, "m")

    [row] = schedule.list_scheduled(conn)
    assert (row.message_id, row.generation, row.queue, row.actor) == ("m", 3, "default", "greet")
    assert row.reason == "redriven"
    assert conn.execute("SELECT due_at <= workshed.now() FROM workshed.schedule").fetchone() == (
        True,
    )
    redriven = orjson.loads(row.body)["options"]["redriven"]
    assert redriven == pytest.approx(time.time() * 1000, abs=60_000)
    assert orjson.loads(row.body) == orjson.loads(body(attempt=1, generation=3, redriven=redriven))
    assert not completed_generations.is_completed(
        conn, "m", row.generation
    )  # or it would be dropped as a duplicate
    assert dead_jobs.count_dead_jobs(conn) == 0


def test_a_job_that_is_not_dead_is_not_retried(conn):
    assert not dead_jobs.retry_job(conn, "m")

    assert schedule.list_scheduled(conn) == []


def test_a_retry_forgets_that_the_job_was_cancelled(conn):
    """With its tombstone left, the job would be skipped when it starts, although it was retried."""
    cancellations.cancel(conn, "m")
    bury(conn)

    dead_jobs.retry_job(conn, "m")

    assert not cancellations.is_cancelled(conn, "m")


def test_two_retries_of_one_job_at_once_move_it_once(connect, eventually):
    """Without the row's lock both store the next generation: one fails, or the job runs twice."""
    with connect() as first:
        bury(first)
    one, two = connect(), connect()
    moved = [dead_jobs.retry_job(one, "m")]
    thread = threading.Thread(target=lambda: moved.append(dead_jobs.retry_job(two, "m")))
    thread.start()
    waits = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    watch = connect(autocommit=True)
    eventually(lambda: watch.execute(waits, (two.info.backend_pid,)).rowcount)
    one.commit()
    thread.join()
    two.commit()

    assert moved == [True, False]
    assert len(schedule.list_scheduled(one)) == 1


def test_a_retry_in_autocommit_is_a_single_transaction(connect):
    """In two transactions a crash in between would lose the job."""
    conn = connect(autocommit=True)
    bury(conn)
    schedule.insert_row(conn, schedule.OutboxRow("m", 3, "default", "greet", "{}", "delayed"))

    with pytest.raises(UniqueViolation):
        dead_jobs.retry_job(conn, "m")

    assert dead_jobs.count_dead_jobs(conn) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": None, "body": b"nonsense"},
        {"body": b"nonsense"},
        {"body": b"[]"},
        {"body": b'{"options": null}'},
    ],
)
def test_an_unreadable_job_is_not_retried_and_stays(conn, changes):
    bury(conn, **changes)
    [row] = dead_jobs.list_dead_jobs(conn)

    with pytest.raises(UnreadableJobError, match=r"workshed enqueue.*discard"):
        dead_jobs.retry_job(conn, row.message_id)

    assert dead_jobs.count_dead_jobs(conn) == 1
    assert schedule.list_scheduled(conn) == []


# Store


def test_an_unreadable_message_takes_no_other_job_s_row(conn):
    """Stored under the id it claims, it would overwrite and lose the dead job that has this id."""
    bury(conn, "m")

    bury(conn, "m", actor=None, body=b"nonsense", reason="not JSON")
    bury(conn, "m", actor=None, body=b"nonsense", reason="not JSON")

    unreadable, job = dead_jobs.list_dead_jobs(conn)
    assert job.message_id == "m"
    assert job.actor == "greet"
    digest = hashlib.sha256(b"nonsense").hexdigest()
    assert unreadable.message_id == f"unreadable:{digest[:25]}"
    assert unreadable.reason == "not JSON (it came as 'm')"


def test_an_id_that_postgresql_cannot_hold_is_kept_readable(conn):
    bury(conn, "a\0b", actor=None, body=b"nonsense", reason="not JSON")

    assert dead_jobs.list_dead_jobs(conn)[0].reason == r"not JSON (it came as 'a\x00b')"


# Discard


def test_a_discard_is_recorded_with_its_reason(conn):
    bury(conn)

    assert dead_jobs.discard_job(conn, "m", "sent by mistake")
    assert not dead_jobs.discard_job(conn, "m", "sent by mistake")

    [attempt] = attempts.list_job_attempts(conn, "m")
    assert (attempt.outcome, attempt.reason) == ("discarded", "sent by mistake")
    assert (attempt.actor, attempt.attempt, attempt.generation) == ("greet", 4, 2)
    assert dead_jobs.count_dead_jobs(conn) == 0


def test_an_unreadable_message_can_be_discarded(conn):
    bury(conn, actor=None, body=b"nonsense")
    [row] = dead_jobs.list_dead_jobs(conn)

    assert dead_jobs.discard_job(conn, row.message_id, "whatever it was")

    assert [a.actor for a in attempts.list_job_attempts(conn, row.message_id)] == ["(unreadable)"]


# Find


@pytest.fixture
def three(conn):
    """Three dead jobs: the first died yesterday, the last one has no error."""
    bury(conn, "old")
    conn.execute("UPDATE workshed.dead SET died_at = died_at - interval '1 day'")
    bury(conn, "mail", queue="emails", actor="deliver_email", error=TimeoutError())
    bury(conn, "killer", error=None)
    conn.commit()


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (DeadFilter(), ["old", "mail", "killer"]),
        (DeadFilter(queue="emails"), ["mail"]),
        (DeadFilter(actor="greet"), ["old", "killer"]),
        (DeadFilter(error="ValueError"), ["old"]),
        (DeadFilter(error="-"), ["killer"]),
        (DeadFilter(since=timedelta(hours=1)), ["mail", "killer"]),
        (DeadFilter(since=timedelta(hours=1), actor="greet"), ["killer"]),
        (DeadFilter(queue="bulk"), []),
        (DeadFilter(error_location="-"), ["old", "mail", "killer"]),
        (DeadFilter(error_location="shop.py:2 in pay"), []),
    ],
)
def test_dead_jobs_are_found_by_their_attributes(conn, three, filters, ids):
    found = {row.message_id for row in dead_jobs.list_dead_jobs(conn, filters)}

    assert found == set(ids)
    assert set(dead_jobs.list_ids(conn, filters)) == set(ids)
    assert dead_jobs.count_dead_jobs(conn, filters) == len(ids)


def test_the_latest_job_is_shown_first_and_the_oldest_is_retried_first(conn, three):
    assert dead_jobs.list_dead_jobs(conn, limit=3)[-1].message_id == "old"
    assert len(dead_jobs.list_dead_jobs(conn, limit=2)) == 2
    assert dead_jobs.list_ids(conn, DeadFilter())[0] == "old"


def test_dead_jobs_are_grouped_by_class_of_error(conn, three):
    bury(conn, "again", actor="wave")

    groups = dead_jobs.group_by_error(conn)

    assert [(g.error_class, g.count) for g in groups] == [
        ("ValueError", 2),
        ("TimeoutError", 1),
        (None, 1),
    ]
    assert groups[0].actors == ["greet", "wave"]
    assert groups[0].last_at - groups[0].first_at > timedelta(hours=23)


def test_a_dead_job_is_found_by_the_place_of_its_error(conn, monkeypatch):
    monkeypatch.setenv("WORKSHED_RELEASE", "r7")
    settings.cache_clear()
    with pytest.raises(ZeroDivisionError) as failed:
        _ = 1 / 0
    bury(conn, error=failed.value)
    bury(conn, "elsewhere")

    [row] = dead_jobs.list_dead_jobs(conn, DeadFilter(error="ZeroDivisionError"))

    assert row.error_location.startswith("jobs/test_dead.py:")
    assert row.release == "r7"
    assert dead_jobs.list_ids(conn, DeadFilter(error_location=row.error_location)) == ["m"]


def test_an_error_with_a_very_long_name_can_be_stored(conn):
    """The name is in an index, whose rows hold at most 2704 bytes."""
    # A name that compresses well would fit.
    name = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(100))
    bury(conn, error=type(name, (Exception,), {})())

    [row] = dead_jobs.list_dead_jobs(conn)

    assert name.startswith(row.error_class)


# Retry preview


def test_a_preview_counts_the_jobs_that_would_wait_and_changes_nothing(conn):
    """Of two with one key the second waits; a job that still holds its own key does not wait."""
    unique.acquire_key(conn, KeyClaim("held", "alive", 0, "greet", "default"))
    unique.acquire_key(conn, KeyClaim("mine", "keeps", 2, "greet", "default"))
    for name, key in {"a": "held", "b": "free", "c": "free", "keeps": "mine", "d": "mine"}.items():
        bury(conn, name, body=body(unique_key=key))
    bury(conn, "without")
    bury(conn, "unreadable", body=b"nonsense")

    found = retry_preview.preview_retry(conn, [*dead_jobs.list_ids(conn, DeadFilter()), "not dead"])

    assert found == RetryPreview(jobs=6, waiting=3, unreadable=1)
    assert dead_jobs.count_dead_jobs(conn) == 7
