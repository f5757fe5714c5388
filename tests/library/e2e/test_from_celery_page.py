"""docs/from-celery.md: its application runs before and after, and each task left behind once."""

import json
import re
import sys

import pytest

from tests import pages

PAGE = "docs/from-celery.md"
TABLE = pages.block(PAGE, "table")
FILES = {
    **pages.files(PAGE, "before"),
    **pages.files(PAGE, "after"),
    **pages.files(PAGE, "move"),
}
WORKER = (
    *(sys.executable, "-m", "celery", "-A", "shop_tasks", "worker", "-P", "threads", "-c", "2"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO"),
)
LEAVE = """
from shop_tasks import app, charge, remind

charge.delay(1)
charge.delay(2)
remind.apply_async((3,), countdown=3 * 86_400)
remind.apply_async((4,), countdown=3 * 86_400)
"""
QUORUM = 'app.conf.update(task_default_queue_type="quorum", task_default_exchange_type="topic")\n'
LEAVE_MORE = "from shop_tasks import charge; [charge.delay(order_id) for order_id in (5, 6, 7)]"


@pytest.fixture
def celery(shop, vhost):
    """The application, with its tables and Celery's broker."""
    shop.env["CELERY_BROKER_URL"] = vhost
    shop.write(FILES)
    shop.execute(TABLE)
    return shop


def test_the_application_before_and_after(celery, start_worker, eventually):
    celery.place_before_and_after(WORKER, start_worker, eventually)

    celery.make_due()
    eventually(lambda: celery.rows("SELECT * FROM orders ORDER BY 1") == [(1, 1, 0), (2, 1, 1)])


def test_each_task_runs_once_although_the_move_is_killed(
    celery, vhost, rabbitmq, start_worker, eventually
):
    """Without the `IF` on the row of `moved_jobs`, the task in hand at the kill is stored twice."""
    celery.add_orders(7)
    celery.set_gateway_away(True)
    with celery.running(*WORKER) as log:
        celery.python("-c", LEAVE)
        held = re.compile(r"shop_tasks\.remind\[.+\] received|Retry in 600s")
        eventually(lambda: len(held.findall(log.read_text())) == 4)
    celery.set_gateway_away(False)
    celery.python("-c", LEAVE_MORE)
    eventually(lambda: rabbitmq.depth("celery") == 7)

    celery.python_killed_before(
        "pika.adapters.blocking_connection:BlockingChannel.basic_ack",
        *("move_jobs.py", vhost, "celery"),
    )
    eventually(lambda: rabbitmq.depth("celery") == 5)
    assert celery.rows("SELECT count(*) FROM moved_jobs") == [(3,)]
    assert celery.python("move_jobs.py", vhost, "celery") == "5 moved, 0 left\n"

    assert celery.rows("SELECT count(*) FROM workshed.schedule") == [(7,)]
    assert celery.count_due_later() == 4
    start_worker("shop_jobs", threads=2)
    celery.make_due()
    eventually(lambda: celery.count_served_once() == 7)
    assert celery.python("move_jobs.py", vhost, "celery") == "0 moved, 0 left\n"


def test_the_move_leaves_a_chain(celery, vhost, rabbitmq, eventually):
    chain = "from shop_tasks import charge, remind; (charge.si(1) | remind.si(1)).delay()"
    celery.python("-c", chain)
    eventually(lambda: rabbitmq.depth("celery") == 1)

    assert celery.python("move_jobs.py", vhost, "celery") == "0 moved, 1 left\n"

    eventually(lambda: rabbitmq.depth("celery") == 1)


def test_delayed_tasks_of_quorum_queues_are_found_when_due(celery, vhost, rabbitmq, eventually):
    (celery.folder / "shop_tasks.py").write_text(FILES["shop_tasks.py"] + QUORUM)
    with celery.running(*WORKER) as log:
        eventually(lambda: "ready." in log.read_text())
    send = "from shop_tasks import remind; remind.apply_async((1,), countdown=15)"
    celery.python("-c", send)
    assert celery.python("move_jobs.py", vhost, "celery") == "0 moved, 0 left\n"

    eventually(lambda: rabbitmq.depth("celery") == 1)

    assert celery.python("move_jobs.py", vhost, "celery") == "1 moved, 0 left\n"


def test_a_job_that_is_due_in_days_goes_back(celery, workshed, rabbitmq, start_worker, eventually):
    start_worker("shop_jobs", threads=2)
    celery.python("-c", "from shop_jobs import place_order; place_order()")
    eventually(lambda: celery.rows("SELECT * FROM orders") == [(1, 1, 0)])
    [job] = json.loads(workshed("scheduled", "--json"))
    assert job["actor"] == "remind"

    send = "from shop_tasks import remind; remind.apply_async({}, eta={!r})"
    celery.python("-c", send.format(job["body"]["args"], job["due_at"]))
    workshed("scheduled", "cancel", job["message_id"], "--yes")

    eventually(lambda: rabbitmq.depth("celery") == 1)
    assert json.loads(workshed("scheduled", "--json")) == []
    assert celery.python("move_jobs.py", celery.env["CELERY_BROKER_URL"], "celery") == (
        "1 moved, 0 left\n"
    )
    [moved] = json.loads(workshed("scheduled", "--json"))
    assert (moved["body"]["args"], moved["due_at"]) == (job["body"]["args"], job["due_at"])
