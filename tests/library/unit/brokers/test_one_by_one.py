"""While jobs are short, one thread runs them; as soon as one is long, all threads do."""

import contextlib
import math
import queue
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


class Clock:
    """`time` of a process that does nothing but what a test says."""

    def __init__(self):
        self.now = self.cpu_s = 1_000.0

    def monotonic(self):
        return self.now

    def process_time(self):
        return self.cpu_s


@pytest.fixture
def clock(monkeypatch):
    """The clocks that `WorkQueue` reads; they stand still."""
    found = Clock()
    monkeypatch.setattr(work_queue, "time", found)
    return found


@pytest.fixture
def alone(clock):
    """A queue in the mode of one thread, whose jobs this thread runs."""
    work = WorkQueue({}, {})
    work.put_all([item(spin) for _ in range(work_queue.SAMPLE_STARTS)])
    work._measure_contention()
    for _ in range(work_queue.SAMPLE_STARTS):
        clock.now, clock.cpu_s = clock.now + 1e-4, clock.cpu_s + 1e-4
        work.get()
        work.task_done()
    assert work._single_threaded
    return work


def check_for(work, clock, seconds):
    """Check at each interval, for so long, while this process uses no CPU."""
    for _ in range(math.ceil(seconds / work_queue.CHECK_S)):
        clock.now += work_queue.CHECK_S
        work._measure_contention()


def test_an_empty_queue_is_no_mistake(alone, clock):
    """In a quiet drain the next jobs are on their way; the mode would be off for most of it."""
    check_for(alone, clock, work_queue.IDLE_S / 2)

    assert alone._single_threaded
    check_for(alone, clock, work_queue.IDLE_S)
    assert not alone._single_threaded  # or an idle process would wake up often
    assert alone._sample == work_queue.SAMPLE_STARTS


@pytest.mark.parametrize("running", [True, False])
def test_a_job_that_does_not_start_is_one(alone, clock, running):
    """It waits for a job that takes long, or the thread that should take it has gone."""
    alone.put_all([item(spin), item(spin)])
    if running:
        alone.get()
        alone._measure_contention()
    check_for(alone, clock, 2 * work_queue.STALL_S)

    assert not alone._single_threaded
    assert alone._sample == 2 * work_queue.SAMPLE_STARTS


def test_one_thread_is_woken_for_jobs_that_arrive_before_it_runs(alone):
    """A thread needs the interpreter to run, which the one that puts the jobs has."""
    alone._sleepers = sleepers = [threading.Lock() for _ in range(THREADS)]
    for sleeper in sleepers:
        sleeper.acquire()
    woken = list(sleepers)

    for _ in range(10):
        alone.put(item(spin))

    assert [sleeper.locked() for sleeper in woken] == [True] * (THREADS - 1) + [False]


def test_the_thread_that_checks_takes_no_job_from_the_one_that_runs_them():
    """Jobs would change their thread, and its cache, every few milliseconds."""
    work = WorkQueue({}, {})
    checks = threading.Semaphore(0)
    work._measure_contention = checks.release
    work._single_threaded = True
    checker = threading.Thread(target=lambda: taken.append(work.get(timeout=60)))
    taken = []
    checker.start()
    try:
        assert checks.acquire(timeout=60)
        work._running_count += 1  # as if this thread had one
        work.put_all([item(spin), item(spin)])
        work._running_count -= 1
        while checks.acquire(blocking=False):
            pass
        for _ in range(3):
            assert checks.acquire(timeout=60)

        assert not taken
        work.get()
    finally:
        work._single_threaded = False
        with work._lock:
            work._wake()
        checker.join(60)
    assert len(taken) == 1


def test_the_thread_that_checks_is_woken_last():
    """Or the thread that ran the last job would check, and its cache would be of no use."""
    work = WorkQueue({}, {})
    checks = threading.Semaphore(0)
    work._measure_contention = checks.release
    work._single_threaded = True
    takers = queue.Queue()
    threads = [
        threading.Thread(target=lambda: takers.put((work.get(timeout=60), threading.get_ident())))
        for _ in range(2)
    ]
    for number, thread in enumerate(threads, 1):
        thread.start()
        deadline = time.monotonic() + 60
        while len(work._sleepers) < number and time.monotonic() < deadline:
            time.sleep(0.001)
    while checks.acquire(blocking=False):
        pass
    assert checks.acquire(timeout=60)  # it went to sleep after the other one

    work.put(item(spin))
    _, first = takers.get(timeout=60)
    assert first == threads[1].ident
    work._single_threaded = False
    work.put(item(spin))
    for thread in threads:
        thread.join(60)
    assert takers.get(timeout=60)[1] == threads[0].ident
