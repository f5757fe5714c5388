"""A success that is encoded sooner has the same row as any other run."""

import dramatiq
import pytest
import time_machine
from dramatiq.brokers.stub import StubBroker
from hypothesis import given
from hypothesis import strategies as st

from workshed.jobs.history.copy_format import SuccessEncoder, encode_row
from workshed.middleware import SUCCEEDED, Job, Outcome, Redaction
from workshed.middleware.observability import history_writer
from workshed.middleware.observability.history import History

NOW = 1_700_000_000.5
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
times = st.integers(0, 4_102_444_800_000_000).map(lambda us: us / 1e6)
spans = st.floats(0, 1e9)
SHARED = st.fixed_dictionaries({"queue": texts, "actor": texts, "worker": texts, "release": texts})
OWN = st.fixed_dictionaries(
    {
        "sent": times,
        "published": times,
        "started": times,
        "ended": times,
        "queue_wait_s": spans,
        "duration_s": spans,
        "arguments": st.none() | st.binary(max_size=30),
    }
)


class Writer:
    """Keeps the rows that would be written."""

    worker = "web-1:77"

    def __init__(self, release):
        self.rows = []

    def start(self):
        pass

    def add(self, row):
        self.rows.append(row)


@pytest.fixture
def record(monkeypatch):
    """`record(job, outcome)`: the row that a worker writes about it."""
    monkeypatch.setattr(history_writer, "HistoryWriter", Writer)
    broker = StubBroker(middleware=[Redaction()])

    @dramatiq.actor(broker=broker, actor_name="greet", redact=["word"])
    def greet(person, word):
        pass

    history = History("all", "r1")
    history.after_worker_boot(broker, None)

    def add(job, outcome):
        with time_machine.travel(NOW, tick=False):
            history.on_outcome_stored(job, outcome)
        return history.writer.rows.pop()

    return add


def ran(queue="default", actor="greet", redelivered=False, published_s=NOW - 2, **options):
    message = dramatiq.Message(queue, actor, (7, "hunter2"), {}, options)
    job = Job(message, may_be_duplicate=redelivered, published_s=published_s)
    job.started_at, job.duration_s = NOW - 1, 0.25
    return job


@given(texts, SHARED, OWN)
def test_a_success_is_encoded_like_any_run(message_id, shared, own):
    found = SuccessEncoder(**shared).encode(message_id, **own)

    assert found == encode_row(
        message_id=message_id,
        generation=0,
        attempt=1,
        outcome="succeeded",
        origin="send",
        **shared,
        **own,
    )


def not_started():
    job = ran()
    job.started_at = job.duration_s = None
    return job


def traced():
    job = ran()
    job.trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    return job


JOBS = {
    "plain": ran,
    "in another queue": lambda: ran(queue="other"),
    "of an unknown actor": lambda: ran(actor="gone"),
    "redelivered": lambda: ran(redelivered=True),
    "published by another program": lambda: ran(published_s=None),
    "published in the future": lambda: ran(published_s=NOW + 60),
    "not started": not_started,
    "traced": traced,
    "tagged": lambda: ran(tags=["a"]),
    "second attempt": lambda: ran(attempt=2, generation=1),
    "with a parent": lambda: ran(parent="p", origin="batch"),
}


@pytest.mark.parametrize("build", JOBS.values(), ids=JOBS)
def test_the_row_of_a_success_is_that_of_any_outcome(build, record):
    job = build()
    any_outcome = Outcome("succeeded")  # only `SUCCEEDED` itself is encoded sooner

    record(build(), SUCCEEDED)  # what is kept of one job is not shown for the next
    assert record(job, SUCCEEDED) == record(job, any_outcome)


def test_a_success_hides_secret_arguments(record):
    row = record(ran(), SUCCEEDED)

    assert b"hunter2" not in row
    assert row.endswith(b'{"person":7,"word":"[redacted]"}')


@pytest.mark.parametrize(("waiting", "written"), [(5, [3, 3]), (2, [2]), (3, [3])])
def test_rows_that_arrive_during_a_write_wait_for_the_next_round(monkeypatch, waiting, written):
    """Otherwise a busy worker would write a few rows at a time, one transaction after the other."""
    monkeypatch.setattr(history_writer, "WINDOW", 3)
    writer = history_writer.HistoryWriter()
    batches = []

    def write(_, rows):
        batches.append(len(rows))
        if sum(batches) < 100:
            writer.add(b"another")

    monkeypatch.setattr(writer, "_write", write)
    for _ in range(waiting):
        writer.add(b"row")

    writer._write_queued(None)

    assert batches == written


def test_all_of_them_are_written_once_it_stops(monkeypatch):
    writer = history_writer.HistoryWriter()
    rows = []

    def write(_, window):
        rows.extend(window)
        if len(rows) < 4:
            writer.add(b"another")

    monkeypatch.setattr(writer, "_write", write)
    writer.add(b"row")
    writer._thread.stop()

    writer._write_queued(None)

    assert rows == [b"row"] + [b"another"] * 3
