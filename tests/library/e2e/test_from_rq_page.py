"""docs/from-rq.md: its application runs before and after, and each job left behind once."""

import sys

import pytest

from tests import pages

PAGE = "docs/from-rq.md"
TABLE = pages.block(PAGE, "table")
FILES = {
    **pages.files(PAGE, "before"),
    **pages.files(PAGE, "after"),
    **pages.files(PAGE, "move"),
}
WORKER = (sys.executable, "-m", "rq.cli", "worker", "--with-scheduler", "default")
LEAVE = """
from datetime import timedelta
from rq import Retry
from shop_tasks import charge, queue, remind

queue.enqueue(charge, 1, retry=Retry(max=5, interval=600))
queue.enqueue(charge, 2)
queue.enqueue(charge, 3)
queue.enqueue_in(timedelta(days=3), remind, 4)
"""
LEAVE_MORE = """
from shop_tasks import charge, queue

for order_id in (5, 6, 7):
    queue.enqueue(charge, order_id)
"""
COUNTS = """
from shop_tasks import queue

print(queue.count, queue.scheduled_job_registry.count, queue.failed_job_registry.count)
"""
CHAIN = """
from shop_tasks import charge, queue, remind

first = queue.enqueue(charge, 1)
queue.enqueue(remind, 1, depends_on=first)
"""


@pytest.fixture
def rq(redis_shop):
    """The application, with its tables and RQ."""
    redis_shop.env["RQ_REDIS_URL"] = redis_shop.env["REDIS_URL"]
    redis_shop.write(FILES)
    redis_shop.execute(TABLE)
    return redis_shop


def test_the_application_before_and_after(rq, start_worker, eventually):
    rq.place_before_and_after(WORKER, start_worker, eventually)

    rq.make_due()
    eventually(lambda: rq.rows("SELECT * FROM orders ORDER BY 1") == [(1, 1, 0), (2, 1, 1)])


def test_each_job_runs_once_although_the_move_is_killed(rq, redis_url, start_worker, eventually):
    """Without the `if` on the row of `moved_jobs`, the job in hand at the kill is stored twice."""
    rq.add_orders(7)
    rq.set_gateway_away(True)
    with rq.running(*WORKER):
        rq.python("-c", LEAVE)
        eventually(lambda: rq.python("-c", COUNTS) == "0 2 2\n")
    rq.set_gateway_away(False)
    rq.python("-c", LEAVE_MORE)
    assert rq.python("-c", COUNTS) == "3 2 2\n"

    rq.python_killed_before("rq.job:Job.delete", "move_jobs.py", redis_url, "default")
    assert rq.python("-c", COUNTS) == "1 2 2\n"
    assert rq.rows("SELECT count(*) FROM moved_jobs") == [(3,)]
    assert rq.python("move_jobs.py", redis_url, "default") == "5 moved, 0 left\n"
    assert rq.python("-c", COUNTS) == "0 0 0\n"

    assert rq.rows("SELECT count(*) FROM workshed.schedule") == [(7,)]
    assert rq.count_due_later() == 2
    start_worker("shop_jobs", threads=2)
    rq.make_due()
    eventually(lambda: rq.count_served_once() == 7)
    assert rq.python("move_jobs.py", redis_url, "default") == "0 moved, 0 left\n"


def test_the_move_leaves_a_job_that_another_depends_on(rq, redis_url):
    rq.python("-c", CHAIN)

    assert rq.python("move_jobs.py", redis_url, "default") == "0 moved, 1 left\n"

    assert rq.python("-c", COUNTS) == "1 0 0\n"
