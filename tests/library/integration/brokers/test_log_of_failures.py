"""A worker logs each run in one line, at a level that matches what happens next."""

import logging
import re
import time
import traceback
from datetime import timedelta

import dramatiq
import pytest
from dramatiq.errors import RateLimitExceeded

from workshed import db
from workshed.errors import PermanentError
from workshed.jobs import Discard, RetryAfter, Snooze
from workshed.jobs.context import current_job
from workshed.jobs.idempotency import completed_generations
from workshed.middleware import RetryOn
from workshed.settings import settings

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

HOUR = timedelta(hours=1)
NO_RETRY = {"max_retries": 0}
NOW = {"retry_on": RetryOn(OSError, wait=timedelta(seconds=5))}


def fail(error, cause=None):
    raise error from cause


@pytest.fixture
def lines(actor, working, count_jobs, eventually, caplog):
    """`lines(job, **options)`: the log records of one run of an actor, from start to ack."""
    caplog.set_level(logging.INFO)

    def run(work, **options):
        @actor(queue_name="default", **options)
        def job():
            work()

        with working("default", threads=1):
            job.send()
            eventually(
                lambda: any(
                    r.name == "workshed.transport.consuming.execution" for r in caplog.records
                )
            )
            eventually(lambda: count_jobs("default") == (0, 0))
        of_workers = ("workshed.transport.consuming.execution", "dramatiq.worker.WorkerThread")
        return [r for r in caplog.records if r.name in of_workers or r.exc_info]

    return run


def test_a_success_is_one_line_with_its_times(lines):
    [line] = lines(lambda: time.sleep(0.05))

    assert (line.levelname, line.outcome) == ("INFO", "succeeded")
    assert line.ran_s >= 0.05
    assert line.waited_s >= 0
    assert re.fullmatch(
        r"succeeded in \d+(ms|\.\d+s), after a wait of [\d.]+m?s", line.getMessage()
    )


def test_lines_of_successes_can_be_switched_off(actor, working, eventually, caplog, monkeypatch):
    monkeypatch.setenv("WORKSHED_LOG_JOBS", "false")
    settings.cache_clear()
    caplog.set_level(logging.INFO)
    runs = []

    @actor(queue_name="default")
    def job(number):
        runs.append(number)
        if number == 2:
            raise Discard("the last one")

    with working("default", threads=1):
        for number in (1, 2):
            job.send(number)
        eventually(lambda: "the last one" in caplog.text)

    assert runs == [1, 2]
    ours = [r for r in caplog.records if r.name == "workshed.transport.consuming.execution"]
    assert [record.outcome for record in ours] == ["discarded"]


@pytest.mark.parametrize(
    ("level", "begins", "options", "error"),
    [
        ("WARNING", "failed; next attempt in 5s: OSError: away", NOW, OSError("away")),
        ("ERROR", "dead: failed once: OSError: away", NO_RETRY, OSError("away")),
        ("ERROR", "dead: PermanentError: no", {}, PermanentError("no")),
        ("ERROR", "dead: KeyError: 7", {"throws": KeyError}, KeyError(7)),
        ("WARNING", "discarded: KeyError: 7", {"discard_on": LookupError}, KeyError(7)),
    ],
)
def test_a_failure_is_one_line_with_its_traceback(level, begins, options, error, lines):
    """dramatiq logs each as an unhandled error, before it is known what happens next."""
    [line] = lines(lambda: fail(error), **options)

    assert (line.levelname, line.getMessage()) == (level, begins)
    assert "in fail" in "".join(traceback.format_exception(*line.exc_info))


@pytest.mark.parametrize(
    ("level", "begins", "decision"),
    [
        ("INFO", "again in 1h: later", Snooze(HOUR, "later")),
        ("WARNING", "discarded: paid already", Discard("paid already")),
        ("WARNING", "failed; next attempt in 1h: ", RetryAfter(HOUR, "later")),
        ("WARNING", "failed; next attempt in ", RateLimitExceeded("too many")),
        ("WARNING", "failed; next attempt in 5s: ", dramatiq.Retry("again", delay=5_000)),
    ],
)
def test_a_decision_of_a_job_is_one_line_without_a_traceback(level, begins, decision, lines):
    [line] = lines(lambda: fail(decision))

    assert line.levelname == level
    assert line.getMessage().startswith(begins)
    assert not line.exc_info


def test_the_line_has_the_error_that_caused_the_decision(lines):
    """For example, a job that waits for a mail server: the operator must see why."""
    [line] = lines(lambda: fail(Snooze(HOUR, "later"), OSError("away")))

    assert (line.levelname, line.getMessage()) == ("WARNING", "again in 1h: later")
    assert "OSError: away" in "".join(traceback.format_exception(*line.exc_info))


def test_the_line_has_the_error_of_a_copy_whose_outcome_does_not_count(lines):
    """Another delivery has done the job: no row stores why this one failed."""

    def work():
        with db.transaction() as conn:
            completed_generations.complete_generation(conn, current_job().message_id, 0)
        raise OSError("away")

    [line] = lines(work)

    assert (line.levelname, line.getMessage()[:11]) == ("WARNING", "duplicate: ")
    assert "OSError: away" in "".join(traceback.format_exception(*line.exc_info))


def test_the_line_has_the_error_of_a_run_whose_outcome_cannot_be_stored(
    actor, working, failing, eventually, caplog
):
    @actor(queue_name="default")
    def job():
        raise OSError("away")

    with failing("workshed.attempts"), working("default", threads=1):
        job.send()
        eventually(lambda: "fails on purpose" in caplog.text)

    [line] = [r for r in caplog.records if "is delivered again" in r.getMessage()]
    assert line.levelname == "WARNING"
    assert "OSError: away" in "".join(traceback.format_exception(*line.exc_info))


def test_an_error_that_a_job_raises_after_its_end_is_logged(
    actor, working, eventually, caplog, monkeypatch
):
    """The job is done, so the error changes nothing, and would otherwise be lost."""

    @actor(queue_name="default", once=True)
    def job():
        pass

    once = job.fn

    def late():
        once()
        raise OSError("away")

    monkeypatch.setattr(job, "fn", late)
    with working("default", threads=1):
        job.send()
        eventually(lambda: "raised after that is ignored" in caplog.text)

    [line] = [r for r in caplog.records if r.exc_info]
    assert line.levelname == "WARNING"
    assert "OSError: away" in "".join(traceback.format_exception(*line.exc_info))
