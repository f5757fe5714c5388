"""The rows of runs that a worker writes, as PostgreSQL reads them."""

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workshed.jobs.history import runs
from workshed.jobs.history.copy_format import encode_row, message_id_of

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
spans = st.floats(0, 1e9)
times = st.integers(0, 4_102_444_800_000_000).map(lambda us: us / 1e6)
RUNS = st.fixed_dictionaries(
    {
        "message_id": texts,
        "generation": st.integers(0, 2**31 - 1),
        "attempt": st.integers(0, 2**31 - 1),
        "queue": texts,
        "actor": texts,
        "outcome": st.sampled_from(["succeeded", "retry", "dead", "duplicate"]),
        "sent": times,
        "published": st.none() | times,
        "started": st.none() | times,
        "ended": times,
        "queue_wait_s": st.none() | spans,
        "duration_s": st.none() | spans,
        "worker": texts,
        "origin": texts,
        "release": texts,
        "reason": texts,
        "error_class": st.none() | texts,
        "error": st.none() | texts,
        "traceback": st.none() | texts,
        "retry_in_s": st.none() | spans,
        "parent": st.none() | texts,
        "trace": st.none() | texts,
        "tags": st.none() | st.lists(texts, max_size=4),
        "arguments": st.none() | st.dictionaries(texts, texts | st.integers(-99, 99)),
    }
)


@pytest.fixture
def conn(connect):
    found = connect()
    runs.add_partitions(found)
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(RUNS)
def test_a_run_is_read_as_it_was_written(conn, written):
    body = written["arguments"]
    made = encode_row(**{**written, "arguments": None if body is None else orjson.dumps(body)})
    conn.execute("DELETE FROM workshed.runs")

    runs.write_runs(conn, [made])
    [found] = runs.list_runs(conn)

    assert message_id_of(made) == written["message_id"]
    for name, value in written.items():
        if name in ("sent", "published", "started", "ended"):
            seen = getattr(found, f"{name}_at")
            near = None if value is None else datetime.fromtimestamp(value, UTC)
            assert (seen is None) == (near is None)
            assert seen is None or abs((seen - near).total_seconds()) < 2e-6
        else:
            assert getattr(found, name) == (value or [] if name == "tags" else value)


def test_many_runs_are_written_at_once(conn):
    usual = {
        "generation": 0,
        "attempt": 1,
        "queue": "default",
        "actor": "greet",
        "outcome": "succeeded",
    }
    when = {"sent": 1.0, "published": 1.0, "started": 1.0, "ended": 1.0}
    rest = {"queue_wait_s": 0.0, "duration_s": 0.0, "worker": "w", "origin": "send", "release": ""}

    runs.write_runs(
        conn, [encode_row(message_id=str(n), **usual, **when, **rest) for n in range(1_000)]
    )

    assert {run.message_id for run in runs.list_runs(conn, limit=2_000)} == set(
        map(str, range(1_000))
    )
