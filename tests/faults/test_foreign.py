"""An application's middleware around every job: its hooks fail, or skip the job."""

import contextlib
from pathlib import Path

import pytest
from dramatiq import Message, group

from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, Result, experiment
from tests.faults.unreliable import Unreliable, is_skipped
from workshed import Batch, Queue, db

FOLDER = Path(__file__).parent
RAISED = (ConnectionError, RuntimeError, KeyError)
KINDS = ("keyed", "limited", "mailed")
TABLE = "CREATE TABLE public.effects (kind text, number integer)"
HELD = """
    SELECT (SELECT count(*) FROM workshed.schedule) + (SELECT count(*)
                                                       FROM workshed.redelivered_starts)
         + (SELECT count(*) FROM workshed.unique_locks) + (SELECT count(*)
                                                           FROM workshed.limit_slots)
         + (SELECT count(*) FROM workshed.batches WHERE completed_at IS NULL)
"""
PARTS = 6
"""Jobs in each batch and each group."""


@pytest.fixture
def adding(broker):
    """Add middleware in the test's process, which sends the jobs."""
    chain = list(broker.middleware)
    yield broker.add_middleware
    broker.middleware[:] = chain
    broker.added_options = set()
    broker._hooks.clear()


@pytest.fixture
def gated(broker, connect, start_worker, tmp_path):
    """`gated(query)`: query the database, with workers under a middleware that skips jobs."""
    conn = connect(autocommit=True)
    conn.execute(TABLE)
    broker.add_queue(Queue("parts"))
    broker.add_queue(Queue("letters", kind="classic", levels=4))
    for name in ("unreliable", "gated"):
        (tmp_path / f"{name}.py").write_text((FOLDER / f"{name}.py").read_text())
    for _ in range(2):
        start_worker("gated", threads=4)
    yield lambda query: conn.execute(query).fetchall()
    for name in ("parts", "letters"):
        del broker.declared_queues[name]


@pytest.mark.timeout(900)
@experiment(
    "foreign-hooks",
    number=26,
    fails_by="lost",
    needs_rabbitmq=False,
    fault="three in ten calls of an application's hooks around each send, job and ack raise, in "
    "senders and in workers; the hooks write an option of their own into each message",
    load="5 000 jobs, sent directly and in transactions",
    remedy=Remedy(
        "workshed/transport/hooks.py",
        "hooks.append(hook if ours else TolerantHook(middleware, hook))",
        "hooks.append(hook)",
    ),
)
def test_hooks_that_fail_cost_no_job(
    ledger, adding, start_worker, in_threads, tmp_path, harmless, scale
):
    """Without the remedy, a job is in the dead queue without running if a hook raised before."""
    adding(Unreliable())
    for name in ("unreliable", "hooked"):
        (tmp_path / f"{name}.py").write_text((FOLDER / f"{name}.py").read_text())
    for _ in range(2):
        start_worker("hooked", threads=4)

    def send(number):
        with contextlib.suppress(*RAISED):  # raised without the remedy; such jobs are not promised
            (ledger.send if number % 2 else ledger.commit)(number)

    in_threads(send, range(scale(5_000)))

    harmless()


@pytest.mark.timeout(900)
@experiment(
    "foreign-skip",
    number=26,
    fails_by="stuck",
    needs_rabbitmq=False,
    fault="an application's middleware skips one job in three",
    load="3 000 jobs with unique keys, slots of a limit, or a row of a classic queue; 500 batches "
    "and 500 groups of six jobs each",
    remedy=Remedy(
        "workshed/transport/hooks.py",
        "raise OutcomeKnown(skipped_outcome(self._middleware_name, err)) from err",
        "raise",
    ),
)
def test_a_job_that_is_skipped_holds_nothing(
    broker, gated, rabbitmq, in_threads, quiet, judged, scale
):
    """Without the remedy it keeps its key, slot and row, and its batch and group never end."""
    jobs, several = scale(3_000), scale(500)

    in_threads(lambda number: broker.enqueue(message(number)), range(jobs))
    in_threads(lambda number: begin_batch(2 * number), range(several), threads=4)
    in_threads(lambda number: begin_group(broker, 2 * number + 1), range(several), threads=4)
    judged.all_sent()

    wanted = {(KINDS[n % 3], n // 3) for n in range(jobs) if not is_skipped(n // 3)}
    wanted |= {("part", n) for n in range(2 * several * PARTS) if not is_skipped(n)}
    wanted |= {("follow", n) for n in range(2 * several)}

    def effects():
        query = "SELECT kind, number, count(*) FROM effects GROUP BY 1, 2"
        return {(kind, number): times for kind, number, times in gated(query)}

    def left():
        return gated(HELD)[0][0] + sum(
            queue.get("messages", 0) for queue in rabbitmq.queues().values()
        )

    is_empty = Emptied(left)
    quiet(
        lambda: is_empty() and effects().keys() >= wanted,
        lambda: (sum(effects().values()), left()),
        within_s=600,
    )

    had = effects()
    judged(
        Result(
            lost=len(wanted - had.keys()),
            ghost=len(had.keys() - wanted),
            duplicated=sum(had.values()) - len(had),
            stuck=left(),
        )
    )


def message(number):
    """Return a job of each kind in turn; one job in three is skipped."""
    kind = KINDS[number % 3]
    options = {"unique_key": f"keyed {number}"} if kind == "keyed" else {}
    queue = "letters" if kind == "mailed" else "parts"
    return Message(queue, kind, (number // 3,), {}, options)


def parts(number):
    """Return the jobs of a batch or group."""
    first = number * PARTS
    return [Message("parts", "part", (first + at,), {}, {}) for at in range(PARTS)]


def following(number):
    return Message("parts", "follow", (number,), {}, {})


def begin_batch(number):
    batch = Batch(on_complete=following(number))
    with db.transaction() as conn, batch.adding(conn):
        batch.add(conn, *parts(number))


def begin_group(broker, number):
    several = group(parts(number), broker=broker)
    several.add_completion_callback(following(number))
    several.run()
