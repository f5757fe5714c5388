"""Time limits that expire about when a job ends: they strike in its function, or not at all."""

from pathlib import Path

import pytest
from dramatiq import Message

from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, Result, experiment
from workshed import Queue

PROGRAM = (Path(__file__).parent / "timed.py").read_text()
ENDS_MS, AROUND_MS = 60, 50
TABLE = "CREATE TABLE public.outcomes (number integer, kind text, returned boolean)"
LEFT = """
    SELECT (SELECT count(*) FROM workshed.schedule) + (SELECT count(*)
                                                       FROM workshed.redelivered_starts)
"""


@pytest.fixture
def rows(connect):
    conn = connect(autocommit=True)
    conn.execute(TABLE)
    return lambda query: conn.execute(query).fetchall()


@pytest.mark.timeout(1800)
@experiment(
    "time-limits",
    number=8,
    fails_by="duplicated",
    needs_rabbitmq=False,
    fault=f"time limits that expire between {AROUND_MS} ms before and {AROUND_MS} ms after the "
    "end of a job, with middleware hooks of 20 ms",
    load="10 000 jobs",
    remedy=Remedy(
        "workshed/middleware/runtime/time_limit.py",
        "        with self.lock:\n            self.is_over = True",
        "        pass",
    ),
)
def test_a_limit_strikes_in_the_function_alone(
    broker, rows, rabbitmq, start_worker, tmp_path, quiet, judged, scale
):
    """In a hook, a limit would fail a job that is done, and end a thread."""
    broker.add_queue(Queue("parts"))
    (tmp_path / "timed.py").write_text(PROGRAM)
    wanted = scale(10_000, by=33)
    for _ in range(2):
        start_worker("timed", threads=8)

    first = ENDS_MS - AROUND_MS
    for number in range(wanted):
        limit = {"time_limit": first + 2 * AROUND_MS * number // wanted}
        broker.enqueue(Message("parts", "work", (number,), {}, limit))
    judged.all_sent()

    def count(of, condition):
        return rows(f"SELECT count({of}) FROM outcomes WHERE {condition}")[0][0]  # noqa: S608 -- ours

    def count_succeeded():
        return count("DISTINCT number", "kind = 'succeeded'")

    def left():
        return rows(LEFT)[0][0] + sum(q.get("messages", 0) for q in rabbitmq.queues().values())

    is_empty = Emptied(left)
    quiet(
        lambda: is_empty() and count_succeeded() == wanted,
        lambda: (count("*", "true"), left()),
        within_s=900,
    )

    struck = count("*", "kind = 'retry'")
    judged(
        Result(
            lost=wanted - count_succeeded(),
            # Jobs that returned but failed, and jobs that ran again.
            duplicated=count("*", "returned AND kind <> 'succeeded'")
            + count("*", "kind = 'succeeded'")
            - count_succeeded(),
            stuck=left(),
            notes={"jobs": wanted, "interrupted in the function": struck},
        )
    )
    assert struck > 0
    assert count("DISTINCT number", "kind = 'retry'") < wanted
    del broker.declared_queues["parts"]
