"""The worker's queue against a model of its rules, and under real threads that race."""

import sys
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from queue import Empty

import dramatiq
import pytest
from dramatiq.broker import MessageProxy
from dramatiq.worker import _WorkQueueItem
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workshed.transport.consuming.work_queue import WorkQueue

QUEUES = ("critical", "images", "unheard-of")
WEIGHTS = {"critical": 3, "images": 1}
CAPS = {"critical": 2, "images": 1}
THREADS = range(4)

queues = st.sampled_from(QUEUES)
picks = st.integers(0, len(THREADS) - 1)


def job(queue, priority=0, actor="job", number=0):
    """Make an item; all have the same age, so equal priorities start in the order they were put."""
    message = MessageProxy(dramatiq.Message(queue, actor, (number,), {}, {}))
    return _WorkQueueItem(priority, message, _queued_time=0)


class Model(RuleBasedStateMachine):
    """Four threads that take, sleep and finish, plus one that does everything else.

    The model knows which jobs wait and run and which queues are paused, and so which jobs may
    start. A sleeping thread must start one as soon as there is any: a lost wake-up fails here.
    """

    def __init__(self):
        super().__init__()
        self.work = WorkQueue(WEIGHTS, CAPS)
        self.pools = [ThreadPoolExecutor(1) for _ in THREADS]
        self.sleeping = {}  # thread -> what its `get` will return
        self.running = {}  # thread -> (item, alone)
        self.waiting = []
        self.suspects = []
        self.paused = set()
        self.owed = 0
        self.closed = False
        self.puts = self.alone = 0

    def teardown(self):
        self.work.close()
        for pool in self.pools:
            pool.shutdown()

    # What may start

    def may_start(self):
        """All that may start now, as (item, alone)."""
        if self.closed or any(alone for _, alone in self.running.values()):
            return []
        suspects = [(each, True) for each in sorted(self.suspects) if not self.is_paused(each)][:1]
        others = [] if suspects and not self.owed else self.first_of_each_queue()
        return others or ([] if self.running else suspects)

    def first_of_each_queue(self):
        runs = Counter(item.message.queue_name for item, _ in self.running.values())
        first = {}
        for item in sorted(self.waiting):
            queue = item.message.queue_name
            if not self.is_paused(item) and runs[queue] < CAPS.get(queue, 99):
                first.setdefault(queue, item)
        return [(item, False) for item in first.values()]

    def is_paused(self, item):
        return item.message.queue_name in self.paused

    def starts(self, thread, item):
        """Note that a thread started an item, which must be one that may start."""
        [(_, alone)] = [each for each in self.may_start() if each[0] is item]
        remove(self.suspects if alone else self.waiting, item)
        self.running[thread] = (item, alone)
        self.owed = max(0, self.owed - 1)

    def in_thread(self, thread, function, *args, **kwargs):
        return self.pools[thread].submit(function, *args, **kwargs).result(60)

    def sleepers_start_what_may(self):
        """Wait until the sleeping threads have started all that may start, and nothing else."""
        while self.sleeping and self.may_start():
            woken = {
                thread: future.result() for thread, future in self.sleeping.items() if future.done()
            }
            items = [item for item, _ in self.may_start()]
            # If two woke at once, note the one first whose job was first in its queue.
            for thread, started in woken.items():
                if any(started is item for item in items):
                    del self.sleeping[thread]
                    self.starts(thread, started)
                    break
            else:
                asleep = [self.sleeping[thread] for thread in self.sleeping.keys() - woken]
                done, _ = wait(asleep, 5, FIRST_COMPLETED)
                assert done, f"asleep although {items} may start, woken for {woken}"

    # Operations

    @rule(each=st.lists(st.tuples(queues, st.integers(0, 2)), min_size=1, max_size=3))
    def put(self, each):
        for queue, priority in each:
            self.puts += 1
            item = job(queue, priority, number=self.puts)
            self.waiting.append(item)
            self.work.put(item)
            self.sleepers_start_what_may()

    @rule(queue=queues)
    def put_alone(self, queue):
        self.alone += 1
        item = job(queue, actor="suspect", number=-self.alone)
        self.suspects.append(item)
        self.work.put_isolated(item)
        self.sleepers_start_what_may()

    def idle(self):
        return [each for each in THREADS if each not in self.running and each not in self.sleeping]

    @precondition(idle)
    @rule(pick=picks)
    def get(self, pick):
        self.get_in(self.idle()[pick % len(self.idle())])

    def get_in(self, thread):
        try:
            item = self.in_thread(thread, self.work.get, block=False)
        except Empty:
            assert not self.may_start()
        else:
            self.starts(thread, item)

    @precondition(lambda self: self.idle() and not self.closed)
    @rule(pick=picks)
    def get_and_sleep(self, pick):
        thread = self.idle()[pick % len(self.idle())]
        self.sleeping[thread] = self.pools[thread].submit(self.work.get)
        self.sleepers_start_what_may()

    @precondition(lambda self: self.running)
    @rule(pick=picks)
    def finish(self, pick):
        """Pick a job and not a thread, because the system decides which sleeping thread wakes."""
        by_number = sorted(self.running, key=lambda each: self.running[each][0].message.args)
        self.finish_in(by_number[pick % len(by_number)])

    def finish_in(self, thread):
        _, alone = self.running.pop(thread)
        if alone:
            self.owed = sum(not self.is_paused(item) for item in self.waiting)
        self.in_thread(thread, self.work.task_done)
        self.sleepers_start_what_may()

    @precondition(idle)
    @rule(pick=picks, times=st.integers(1, 3))
    def get_and_finish(self, pick, times):
        thread = self.idle()[pick % len(self.idle())]
        for _ in range(times):
            self.get_in(thread)
            if thread in self.running:
                self.finish_in(thread)

    @rule()
    def drain_one(self):
        try:
            item = self.work.get_nowait()
        except Empty:
            assert not self.waiting
            assert not self.suspects
        else:
            remove(self.suspects if item.message.actor_name == "suspect" else self.waiting, item)
            self.work.task_done()
            self.sleepers_start_what_may()

    @rule(queue=queues)
    def pause(self, queue):
        self.paused.add(queue)
        self.work.pause(queue)
        self.sleepers_start_what_may()

    @rule(queue=queues)
    def resume(self, queue):
        self.paused.discard(queue)
        self.work.resume(queue)
        self.sleepers_start_what_may()

    @rule(chosen=st.sets(queues, max_size=1))
    def take_back(self, chosen):
        before = self.waiting + self.suspects
        self.waiting = [item for item in self.waiting if item.message.queue_name not in chosen]
        self.suspects = [item for item in self.suspects if item.message.queue_name not in chosen]
        taken = self.work.remove_waiting(lambda message: message.queue_name in chosen)
        gone = [item.message for item in before if item.message.queue_name in chosen]
        assert sorted(map(id, taken)) == sorted(map(id, gone))
        self.sleepers_start_what_may()

    @precondition(lambda self: self.puts > 12)  # otherwise too little happens before
    @rule()
    def close(self):
        self.closed = True
        self.work.close()
        for future in self.sleeping.values():
            with pytest.raises(Empty):
                future.result(60)
        self.sleeping.clear()

    # Invariants

    @invariant()
    def nothing_is_lost(self):
        waiting = len(self.waiting) + len(self.suspects)
        assert self.work.qsize() == waiting
        assert self.work.unfinished_tasks == waiting + len(self.running)

    @invariant()
    def no_thread_woke_for_nothing(self):
        assert not any(future.done() for future in self.sleeping.values())


def remove(items, item):
    """Remove this very item: two items are equal when they order the same."""
    [place] = [place for place, each in enumerate(items) if each is item]
    del items[place]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)


@pytest.fixture
def racing():
    """Switch threads a thousand times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


class Watch:
    """Records which jobs run at the same time, as the worker threads see it."""

    def __init__(self, work):
        self.work = work
        self.lock = threading.Lock()
        self.running = Counter()
        self.ran = Counter()
        self.broken = []

    def work_off(self):
        while True:
            try:
                message = self.work.get().message
            except Empty:  # closed
                return
            with self.lock:
                self.ran[message.message_id] += 1
                self.count(message, 1)
            time.sleep(0)  # let others in
            with self.lock:
                self.count(message, -1)
            self.work.task_done()

    def count(self, message, change):
        self.running[message.queue_name] += change
        self.running[message.actor_name] += change
        over = [queue for queue, cap in CAPS.items() if self.running[queue] > cap]
        company = self.running["suspect"] and self.running["suspect"] + self.running["job"] > 1
        if over or company:
            self.broken.append(self.running.copy())


def send(work, offset):
    """Send 1 000 jobs, 50 of which are suspects."""
    for number in range(1000):
        queue = QUEUES[(number + offset) % len(QUEUES)]
        if number % 20 == offset:
            work.put_isolated(job(queue, actor="suspect"))
        else:
            work.put(job(queue, number % 3))


def disturb(work, over):
    """Pause each queue, take back its waiting jobs and put them again, until `over` is set."""
    while not over.wait(0.001):
        for queue in QUEUES:
            work.pause(queue)
            for message in work.remove_waiting(lambda each, queue=queue: each.queue_name == queue):
                put = work.put_isolated if message.actor_name == "suspect" else work.put
                put(_WorkQueueItem(0, message))
            work.resume(queue)


def test_nothing_is_lost_or_broken_while_threads_race(racing):
    """A lost wake-up hangs here, because sleeping threads have no timeout."""
    work = WorkQueue(WEIGHTS, CAPS)
    watch, over = Watch(work), threading.Event()
    workers = [threading.Thread(target=watch.work_off, daemon=True) for _ in range(8)]
    senders = [threading.Thread(target=send, args=(work, offset)) for offset in range(3)]
    disturber = threading.Thread(target=disturb, args=(work, over))

    for thread in [*workers, *senders, disturber]:
        thread.start()
    for thread in senders:
        thread.join()
    over.set()
    disturber.join()
    work.join()
    work.close()
    for thread in workers:
        thread.join()

    assert not watch.broken
    assert len(watch.ran) == 3000
    assert set(watch.ran.values()) == {1}
