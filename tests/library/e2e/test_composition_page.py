"""docs/composition.md: its example, with real workers."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from dramatiq import Message

from tests import pages

PAGE = pages.text("docs/composition.md")
[(NAME, TEXT)] = pages.files("docs/composition.md").items()
SLOW = """
import asyncio
import dramatiq
from workshed import broker, db
from workshed.duration import ms

@dramatiq.actor(broker=broker, queue_name="default", time_limit=ms(seconds=0.3), max_retries=0)
async def slow():
    await asyncio.sleep(600)

@dramatiq.actor(broker=broker, queue_name="default", max_retries=0)
async def waits():
    with db.transaction() as conn:
        conn.execute("INSERT INTO begun VALUES (1)")
    await asyncio.sleep(600)
"""

CUT_OFF_SOON = {"WORKSHED_SHUTDOWN_GRACE": "0.5", "WORKSHED_RELAY_FORK": "false"}
"""Without a relay, a job that is cut off and stored is not sent again at once."""


@pytest.fixture
def prices(tmp_path):
    (tmp_path / NAME).write_text(TEXT)


def test_the_example_prints_all_results(prices, start_worker, run, environment, eventually):
    worker = start_worker("prices")
    command, printed = re.search(r"`python prices\.py (.*?)` prints `(.*?)`", PAGE).groups()

    code, said = run(NAME, *command.split(), **environment)

    assert (code, said.strip().splitlines()[-1]) == (0, printed)
    eventually(lambda: "all prices are known" in worker.text())
    assert worker.stop() == 0
    assert worker.text().count("all prices are known") == 1


def test_workers_that_are_killed_lose_no_member(
    prices, start_worker, run_apart, environment, count, eventually
):
    """Each result and the final callback come once, even if some messages are delivered twice."""
    first = start_worker("prices")
    shops = [f"shop{n}" for n in range(40)]
    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(run_apart, NAME, *shops, **environment)
        first.kill()
        second = start_worker("prices")
        third = start_worker("prices")
        second.kill()
        answer = done.result()

    assert answer.returncode == 0, answer.stderr
    assert len(json.loads(answer.stdout)) == len(shops)

    def said():
        return "".join(worker.text() for worker in (first, second, third))

    eventually(lambda: "all prices are known" in said())
    assert third.stop() == 0
    assert said().count("all prices are known") == 1


def test_an_async_actor_is_interrupted_by_its_limit(
    start_worker, broker, tmp_path, count, eventually
):
    (tmp_path / "sleepers.py").write_text(SLOW)
    start_worker("sleepers")

    broker.enqueue(Message("default", "slow", (), {}, {}))

    eventually(lambda: count("workshed.dead WHERE error_class LIKE '%TimeLimitExceeded'") == 1)


def test_an_async_actor_that_blocks_its_loop_is_interrupted_too(
    start_worker, broker, tmp_path, count, conn, eventually
):
    """dramatiq waits for a second and then reports a timeout."""
    busy = SLOW.replace("await asyncio.sleep(600)", "import time; time.sleep(4)")
    (tmp_path / "sleepers.py").write_text(busy)
    conn.autocommit = True
    conn.execute("CREATE TABLE public.begun (number integer)")
    worker = start_worker("sleepers", env=CUT_OFF_SOON)
    broker.enqueue(Message("default", "waits", (), {}, {}))
    eventually(lambda: count("begun") == 1)

    worker.stop()

    assert count("workshed.schedule WHERE actor = 'waits' AND reason = 'interrupted'") == 1
    assert count("workshed.dead") == 0


def test_an_async_actor_is_interrupted_by_a_shutdown(
    start_worker, broker, tmp_path, count, conn, eventually
):
    (tmp_path / "sleepers.py").write_text(SLOW)
    conn.autocommit = True
    conn.execute("CREATE TABLE public.begun (number integer)")
    worker = start_worker("sleepers", env=CUT_OFF_SOON)
    broker.enqueue(Message("default", "waits", (), {}, {}))
    eventually(lambda: count("begun") == 1)

    assert worker.stop() == 0

    assert count("workshed.schedule WHERE actor = 'waits' AND reason = 'interrupted'") == 1
