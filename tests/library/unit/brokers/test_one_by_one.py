"""While jobs are short, one thread runs them; as soon as one is long, all threads do."""

import contextlib
import math
import threading
import time
from queue import Empty

import pytest
from dramatiq.broker import MessageProxy
from dramatiq.message import Message

from workshed.database.waits import database_waits
from workshed.transport.consuming import work_queue
from workshed.transport.consuming.work_queue import QueuedJob, WorkQueue

THREADS = 4


def item(job):
    return QueuedJob(0, MessageProxy(Message("default", "job", (job,), {}, {})))


@pytest.fixture
def working():
    """`with working() as work:` a queue whose threads call the functions put into it."""

    @contextlib.contextmanager
    def run():
        work = WorkQueue({}, {})
        over = threading.Event()

        def loop():
            while not over.is_set():
                with contextlib.suppress(Empty):
                    found = work.get(timeout=0.05)
                    found.message.args[0]()
                    work.task_done()

        threads = [threading.Thread(target=loop) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield work
        finally:
            over.set()
            for thread in threads:
                thread.join(60)
            assert not any(thread.is_alive() for thread in threads)

    return run


def spin():
    for _ in range(300):
        pass


def short_jobs(work, until):
    """Put jobs of a few µs as fast as they start, until a condition holds."""
    for _ in range(2_000):
        work.put_all([item(spin) for _ in range(100)])
        while work.qsize() > 100:
            time.sleep(0)
        if until():
            return
    raise AssertionError("the condition never held")


def side_by_side(work):
    """Return whether as many jobs as there are threads run at the same time."""
    met, barrier = [], threading.Barrier(THREADS)

    def meet():
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(60)
            met.append(True)

    work.put_all([item(meet) for _ in range(THREADS)])
    work.join()
    return len(met) == THREADS


def test_short_jobs_are_run_by_one_thread(working):
    """`_measure_contention` is off, because on a busy machine it may rightly end this mode."""
    alone, free = [], threading.Lock()

    def note():
        got = free.acquire(blocking=False)
        alone.append(got)
        time.sleep(0.001)  # any other thread that may start one does so now
        if got:
            free.release()

    with working() as work:
        short_jobs(work, lambda: work._single_threaded)
        work.join()
        work._measure_contention = lambda: None
        work._single_threaded = True
        work.put_all([item(note) for _ in range(200)])
        work.join()

    assert sum(alone) == 200


def test_jobs_that_wait_run_side_by_side_at_once(working):
    """Without `_measure_contention`, each job would wait for the one before it, here forever."""
    with working() as work:
        short_jobs(work, lambda: work._single_threaded)

        assert side_by_side(work)


def test_they_do_so_while_the_process_is_busy_with_something_else(working, monkeypatch):
    """A call into C that releases the GIL leaves room for other threads on another core."""
    with working() as work:
        short_jobs(work, lambda: work._single_threaded)
        monkeypatch.setattr(work_queue.time, "process_time", time.monotonic)

        assert side_by_side(work)


def test_a_job_put_while_nothing_runs_starts_at_once(working):
    with working() as work:
        short_jobs(work, lambda: work._single_threaded)
        work.join()

        for _ in range(50):
            started = threading.Event()
            work.put(item(started.set))
            assert started.wait(60)
            work.join()


def test_each_mistake_makes_the_next_one_rarer(working, monkeypatch):
    """If one job in many takes long, all jobs are better off on all threads."""
    monkeypatch.setattr(work_queue, "MIN_SINGLE_THREADED_S", math.inf)
    with working() as work:
        for _ in range(3):
            before = work._sample
            short_jobs(work, lambda: work._single_threaded)
            assert side_by_side(work)
            # Or more: on a busy machine a job of a few µs may take long.
            assert work._sample >= min(2 * before, work_queue.MAX_SAMPLE_STARTS)

        monkeypatch.setattr(work_queue, "MIN_SINGLE_THREADED_S", 0.0)
        short_jobs(work, lambda: work._single_threaded)
        assert side_by_side(work)

        assert work._sample == work_queue.SAMPLE_STARTS


def test_jobs_that_wait_for_postgresql_are_run_by_all_threads(working):
    """Also if they are short: several connections commit more than one, and PostgreSQL waits less.

    Without the count of waits, one thread would run them all, because it always makes progress.
    """

    def wait():
        database_waits.add()
        spin()

    with working() as work:
        short_jobs(work, lambda: work._single_threaded)
        work.put_all([item(wait) for _ in range(20_000)])
        work.join()
        work._measure_contention()

        assert not work._single_threaded
        short_jobs(work, lambda: work._single_threaded)
