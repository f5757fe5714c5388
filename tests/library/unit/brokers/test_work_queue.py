"""The worker's queue, rule by rule; test_work_queue_model.py tests all rules against a model."""

import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from queue import Empty

import dramatiq
import pytest
from dramatiq.broker import MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import iter_queue
from dramatiq.worker import ConsumerThread, Worker, _WorkQueueItem
from hypothesis import given
from hypothesis import strategies as st

from workshed.transport.consuming.work_queue import WorkQueue

WEIGHTS = {"critical": 3, "default": 2, "low": 1}


def job(queue, name="job", priority=0):
    """An item as dramatiq's consumer threads make it; its age is the order of these calls."""
    return _WorkQueueItem(priority, MessageProxy(dramatiq.Message(queue, name, (), {}, {})))


def fill(work, queue, count):
    for number in range(count):
        work.put(job(queue, f"{queue}-{number}"))


def start(work):
    """Start the next job that may start; return the actor name of its message."""
    return work.get(block=False).message.actor_name


def run(work, count):
    """Run jobs one after the other; return the queue of each."""
    queues = []
    for _ in range(count):
        queues.append(work.get(block=False).message.queue_name)
        work.task_done()
    return queues


def in_turn(queues):
    """Return whether two queues of equal weight share the starts evenly, give or take one."""
    return sorted(Counter(queues).values()) in ([4, 6], [5, 5])


def starts_nothing(work):
    try:
        work.get(block=False)
    except Empty:
        return True
    return False


class Thread:
    """A worker thread that carries out one command after the other."""

    def __init__(self, work):
        self.work = work
        self._pool = ThreadPoolExecutor(1)

    def start(self):
        return self._pool.submit(start, self.work).result(60)

    def finish(self):
        self._pool.submit(self.work.task_done).result(60)

    def sleep(self, eventually, timeout=None):
        """Let it wait in `get`; return a future of what it will start."""
        asleep = len(self.work._sleepers)
        future = self._pool.submit(lambda: self.work.get(timeout=timeout).message.actor_name)
        eventually(lambda: len(self.work._sleepers) > asleep)
        return future

    def end(self):
        self._pool.shutdown()


@pytest.fixture
def thread():
    """`thread(work)`: one more worker thread; teardown closes the queue and ends them all."""
    threads = []

    def one_more(work):
        threads.append(Thread(work))
        return threads[-1]

    yield one_more
    for each in threads:
        each.work.close()
        each.end()


# Shares


def test_shares_of_starts_are_the_weights_in_every_round():
    work = WorkQueue(WEIGHTS, {})
    for queue in WEIGHTS:
        fill(work, queue, 60)

    queues = run(work, 60)

    rounds = [Counter(queues[at : at + 6]) for at in range(0, 60, 6)]
    assert rounds == [WEIGHTS] * 10


@given(
    weights=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    together=st.integers(1, 8),
    starts=st.integers(1, 200),
)
def test_under_backlog_no_queue_is_a_start_ahead_of_another(weights, together, starts):
    weights = {f"q{number}": weight for number, weight in enumerate(weights)}
    work = WorkQueue(weights, {})
    for queue in weights:
        fill(work, queue, starts)

    counts = Counter(dict.fromkeys(weights, 0))
    for number in range(starts):
        counts[work.get(block=False).message.queue_name] += 1
        if number % together == together - 1:
            for _ in range(together):
                work.task_done()

        for one, other in itertools.permutations(weights, 2):
            # `one` is at most one start ahead of its share; multiplied out for whole numbers.
            assert (counts[one] - 1) * weights[other] <= counts[other] * weights[one]


def test_one_queue_alone_gets_every_start():
    work = WorkQueue(WEIGHTS, {})
    fill(work, "low", 20)

    assert run(work, 20) == ["low"] * 20


def test_an_unknown_queue_has_weight_one():
    work = WorkQueue(WEIGHTS, {})
    fill(work, "default", 40)
    fill(work, "unheard-of", 40)

    assert Counter(run(work, 30)) == {"default": 20, "unheard-of": 10}


def test_a_queue_that_was_empty_has_no_claim_on_that_time():
    """Without the clamp to virtual time, the late queue would take the next 30 starts."""
    work = WorkQueue({}, {})
    fill(work, "early", 60)
    run(work, 30)

    fill(work, "late", 30)

    assert in_turn(run(work, 10))


def test_a_queue_that_was_paused_has_no_claim_on_that_time():
    work = WorkQueue({}, {})
    fill(work, "paused", 60)
    fill(work, "other", 60)
    work.pause("paused")
    assert run(work, 30) == ["other"] * 30

    work.resume("paused")

    assert in_turn(run(work, 10))


def test_a_queue_that_was_at_its_cap_has_no_claim_on_that_time(thread):
    work = WorkQueue({}, {"capped": 1})
    long = thread(work)
    fill(work, "capped", 60)
    long.start()
    fill(work, "other", 60)
    assert run(work, 30) == ["other"] * 30

    long.finish()

    assert in_turn(run(work, 10))


def test_the_smallest_share_is_served_while_others_never_run_dry():
    work = WorkQueue({"big": 20}, {})
    fill(work, "big", 1)
    fill(work, "small", 1)
    queues = []
    while "small" not in queues:
        fill(work, "big", 1)
        queues += run(work, 1)

    assert len(queues) <= 21


# Order inside a queue


def test_inside_a_queue_the_lowest_priority_number_starts_first_then_the_oldest():
    work = WorkQueue({}, {})
    for name, priority in [("c", 10), ("d", 10), ("a", 0), ("e", 20), ("b", 0)]:
        work.put(job("default", name, priority))

    assert [start(work) for _ in range(5)] == ["a", "b", "c", "d", "e"]


def test_items_that_order_the_same_start_as_they_were_put():
    work = WorkQueue({}, {})
    twins = [_WorkQueueItem(0, job("default", name).message, _queued_time=1) for name in "abc"]
    for twin in twins:
        work.put(twin)

    assert [start(work) for _ in range(3)] == ["a", "b", "c"]


# Caps and pauses


def test_a_queue_at_its_cap_starts_nothing_and_blocks_no_other_queue():
    work = WorkQueue(WEIGHTS, {"critical": 2})
    fill(work, "critical", 3)
    fill(work, "low", 1)

    started = [start(work) for _ in range(3)]

    assert sorted(started) == ["critical-0", "critical-1", "low-0"]
    assert starts_nothing(work)


def test_a_job_that_ends_makes_room_below_the_cap(thread):
    work = WorkQueue({}, {"images": 1})
    fill(work, "images", 2)
    first, second = thread(work), thread(work)
    first.start()
    assert starts_nothing(work)

    first.finish()

    assert second.start() == "images-1"


def test_nothing_of_a_paused_queue_starts_and_others_go_on():
    work = WorkQueue({}, {})
    fill(work, "paused", 1)
    fill(work, "other", 1)

    work.pause("paused")

    assert start(work) == "other-0"
    assert starts_nothing(work)


def test_a_resumed_queue_has_its_cap_again():
    work = WorkQueue({}, {"images": 1})
    fill(work, "images", 2)
    work.pause("images")

    work.resume("images")

    assert start(work) == "images-0"
    assert starts_nothing(work)


# Suspects


def test_a_suspect_waits_for_what_runs_and_others_wait_for_the_suspect(thread):
    """Without right of way the suspect would never start, because other jobs always run."""
    work = WorkQueue({}, {})
    running, alone = thread(work), thread(work)
    fill(work, "default", 2)
    running.start()

    work.put_isolated(job("low", "suspect"))

    assert starts_nothing(work)
    running.finish()
    assert alone.start() == "suspect"
    assert starts_nothing(work)
    alone.finish()
    assert start(work) == "default-1"


def test_suspects_run_one_at_a_time_in_their_order(thread):
    work = WorkQueue({}, {})
    one = thread(work)
    for name, priority in [("second", 5), ("first", 0)]:
        work.put_isolated(job("default", name, priority))

    assert one.start() == "first"
    assert starts_nothing(work)
    one.finish()
    assert one.start() == "second"


def test_after_a_suspect_the_others_that_waited_start_before_the_next_one():
    """Without this, a stream of suspects would keep all other jobs waiting forever."""
    work = WorkQueue({}, {})
    fill(work, "default", 3)
    for number in range(3):
        work.put_isolated(job("low", f"suspect-{number}"))
    started = []
    for _ in range(9):
        started.append(start(work))
        work.task_done()
        fill(work, "default", 1)
        work.put_isolated(job("low", "one more"))

    assert started[0] == "suspect-0"
    assert [name.startswith("default") for name in started[1:5]] == [True, True, True, False]
    assert started[4] == "suspect-1"
    assert all(name.startswith("default") for name in started[5:])


def test_others_that_waited_for_a_suspect_run_side_by_side(thread):
    work = WorkQueue({}, {})
    for number in range(2):
        work.put_isolated(job("low", f"suspect-{number}"))
    fill(work, "default", 2)
    one, other = thread(work), thread(work)
    one.start()
    one.finish()

    assert [one.start(), other.start()] == ["default-0", "default-1"]
    assert starts_nothing(work)


def test_others_that_waited_but_may_not_start_leave_the_way_to_the_next_suspect():
    """Without this, a pause after a suspect would block the next one until the queue resumes."""
    work = WorkQueue({}, {})
    fill(work, "default", 1)
    work.put_isolated(job("low", "first"))
    work.put_isolated(job("low", "second"))
    assert start(work) == "first"
    work.task_done()

    work.pause("default")

    assert start(work) == "second"


def test_jobs_that_are_paused_when_a_suspect_ends_are_not_waited_for():
    work = WorkQueue({}, {})
    fill(work, "paused", 3)
    work.pause("paused")
    work.put_isolated(job("low", "first"))
    assert start(work) == "first"
    work.task_done()

    work.put_isolated(job("low", "second"))
    fill(work, "default", 1)

    assert start(work) == "second"


def test_a_suspect_of_a_paused_queue_waits_and_blocks_no_other_job():
    work = WorkQueue({}, {})
    work.pause("paused")
    work.put_isolated(job("paused", "suspect"))
    work.put_isolated(job("default", "other suspect"))
    fill(work, "default", 1)

    started = run(work, 2)

    assert started == ["default", "default"]
    assert starts_nothing(work)
    work.resume("paused")
    assert start(work) == "suspect"


def test_suspects_with_the_same_order_are_each_started_once():
    """If it were removed by equality, not by position, one would start twice and one never."""
    work = WorkQueue({}, {})
    work.pause("paused")
    for queue in ("paused", "default"):
        work.put_isolated(_WorkQueueItem(0, job(queue, queue).message, _queued_time=1))

    assert start(work) == "default"
    work.task_done()
    work.resume("paused")
    assert start(work) == "paused"


def test_starts_made_alone_are_outside_the_shares():
    work = WorkQueue({}, {})
    for number in range(10):
        work.put_isolated(job("suspected", f"suspect-{number}"))
    run(work, 10)

    fill(work, "suspected", 20)
    fill(work, "other", 20)

    assert in_turn(run(work, 10))


# Waking


def test_a_sleeping_thread_wakes_for_a_job_that_is_put(thread, eventually):
    work = WorkQueue({}, {})
    started = thread(work).sleep(eventually)

    fill(work, "default", 1)

    assert started.result(60) == "default-0"


def test_a_sleeping_thread_wakes_for_a_suspect_that_is_put(thread, eventually):
    work = WorkQueue({}, {})
    started = thread(work).sleep(eventually)

    work.put_isolated(job("default", "suspect"))

    assert started.result(60) == "suspect"


def test_a_sleeping_thread_wakes_when_a_job_leaves_room_below_the_cap(thread, eventually):
    work = WorkQueue({}, {"images": 1})
    fill(work, "images", 2)
    running = thread(work)
    running.start()
    started = thread(work).sleep(eventually)

    running.finish()

    assert started.result(60) == "images-1"


def test_a_sleeping_thread_wakes_when_its_queue_resumes(thread, eventually):
    work = WorkQueue({}, {})
    work.pause("default")
    fill(work, "default", 1)
    started = thread(work).sleep(eventually)

    work.resume("default")

    assert started.result(60) == "default-0"


def test_a_sleeping_thread_wakes_for_a_suspect_when_the_last_job_ends(thread, eventually):
    work = WorkQueue({}, {})
    fill(work, "default", 1)
    running = thread(work)
    running.start()
    work.put_isolated(job("default", "suspect"))
    started = thread(work).sleep(eventually)

    running.finish()

    assert started.result(60) == "suspect"


def test_all_sleeping_threads_wake_when_a_suspect_ends(thread, eventually):
    """Only one is woken; unless it wakes the next, the others sleep although jobs may start."""
    work = WorkQueue({}, {})
    work.put_isolated(job("default", "suspect"))
    alone = thread(work)
    alone.start()
    fill(work, "default", 3)
    started = [thread(work).sleep(eventually) for _ in range(3)]

    alone.finish()

    assert sorted(future.result(60) for future in started) == [f"default-{n}" for n in range(3)]


@pytest.mark.parametrize(
    "remove",
    [
        lambda work: work.pause("suspected"),
        lambda work: work.remove_waiting(lambda message: message.queue_name == "suspected"),
        lambda work: work.get_nowait(),
    ],
    ids=["paused", "taken back", "drained"],
)
def test_a_sleeping_thread_wakes_when_the_suspect_before_it_is_gone(thread, eventually, remove):
    work = WorkQueue({}, {})
    fill(work, "default", 2)
    thread(work).start()
    work.put_isolated(job("suspected", "suspect"))
    started = thread(work).sleep(eventually)

    remove(work)

    assert started.result(60) == "default-1"


def test_an_idle_get_looks_once_at_its_start_and_once_at_its_end(monkeypatch):
    """Polling would cost an idle worker CPU time and delay jobs."""
    work = WorkQueue({}, {})
    looks = []
    look = work._next_lane
    monkeypatch.setattr(work, "_next_lane", lambda: looks.append(1) or look())
    started = time.monotonic()

    with pytest.raises(Empty):
        work.get(timeout=0.3)

    assert time.monotonic() - started >= 0.3
    assert len(looks) == 2
    assert not work._sleepers


def test_a_sleeping_thread_is_not_passed_over_for_one_that_gave_up(thread, eventually):
    """A thread that timed out must leave no trace, or the next wake-up would be lost on it."""
    work = WorkQueue({}, {})
    started = thread(work).sleep(eventually)
    gone = thread(work).sleep(eventually, timeout=0.05)
    with pytest.raises(Empty):
        gone.result(60)

    fill(work, "default", 1)

    assert started.result(60) == "default-0"


# What dramatiq's worker and the broker do with it


def test_a_closed_queue_starts_nothing_and_waits_a_timeout_out():
    """Without the wait, dramatiq's threads would spin from SIGTERM until they are stopped."""
    work = WorkQueue({}, {})
    fill(work, "default", 1)
    work.put_isolated(job("default", "suspect"))
    began = time.monotonic()

    work.close()

    with pytest.raises(Empty):
        work.get(timeout=0.2)
    assert time.monotonic() - began >= 0.2
    assert work.qsize() == 2


def test_a_get_without_timeout_ends_when_the_queue_closes(thread, eventually):
    work = WorkQueue({}, {})
    sleeping = thread(work).sleep(eventually)

    work.close()

    with pytest.raises(Empty):
        sleeping.result(60)
    with pytest.raises(Empty):
        work.get()


def test_draining_returns_all_jobs_that_have_not_started(thread):
    work = WorkQueue({}, {"capped": 1})
    fill(work, "capped", 2)
    thread(work).start()
    work.pause("paused")
    fill(work, "paused", 1)
    work.put_isolated(job("default", "suspect"))
    work.close()
    fill(work, "default", 1)

    drained = [item.message.actor_name for item in iter_queue(work)]
    for _ in drained:
        work.task_done()

    assert sorted(drained) == ["capped-1", "default-0", "paused-0", "suspect"]
    assert work.empty()
    assert work.unfinished_tasks == 1


def test_a_drained_job_does_not_count_as_one_that_ran():
    """If it counted, its `task_done` would make room below a cap that is already reached."""
    work = WorkQueue({}, {"images": 1})
    fill(work, "images", 3)
    assert start(work) == "images-0"

    work.get_nowait()
    work.task_done()

    assert starts_nothing(work)
    work.task_done()
    assert start(work) == "images-2"


def test_taking_back_removes_the_chosen_jobs_and_keeps_the_order_of_the_rest(thread):
    work = WorkQueue({}, {})
    fill(work, "default", 6)
    thread(work).start()
    work.put_isolated(job("default", "suspect-8"))

    taken = work.remove_waiting(lambda message: message.actor_name[-1] in "0248")

    assert sorted(message.actor_name for message in taken) == [
        "default-2",
        "default-4",
        "suspect-8",
    ]
    assert [start(work) for _ in range(3)] == ["default-1", "default-3", "default-5"]
    assert work.unfinished_tasks == 4


def test_taking_back_one_of_two_that_order_the_same_takes_that_one():
    """If jobs were compared by equality, both would go and one of them would be lost."""
    work = WorkQueue({}, {})
    for name in ("mine", "yours"):
        work.put(_WorkQueueItem(0, job("default", name).message, _queued_time=1))

    taken = work.remove_waiting(lambda message: message.actor_name == "mine")

    assert [message.actor_name for message in taken] == ["mine"]
    assert start(work) == "yours"


def test_a_predicate_that_raises_takes_nothing_back():
    """If jobs were removed before all are checked, the first ones would be lost."""
    work = WorkQueue({}, {})
    fill(work, "default", 3)

    with pytest.raises(ZeroDivisionError):
        work.remove_waiting(lambda message: 1 / (message.actor_name != "default-2"))

    assert work.qsize() == 3


def test_joining_waits_for_running_jobs_and_not_for_those_taken_back(thread, eventually):
    work = WorkQueue({}, {})
    fill(work, "default", 2)
    running = thread(work)
    running.start()
    joining = threading.Thread(target=work.join, daemon=True)
    joining.start()
    work.remove_waiting(lambda message: True)
    assert joining.is_alive()

    running.finish()

    eventually(lambda: not joining.is_alive())


def test_joining_ends_when_the_last_one_is_taken_back(eventually):
    work = WorkQueue({}, {})
    fill(work, "default", 2)
    joining = threading.Thread(target=work.join, daemon=True)
    joining.start()

    work.remove_waiting(lambda message: True)

    eventually(lambda: not joining.is_alive())


def test_dramatiqs_worker_runs_on_it_and_requeues_jobs_it_did_not_start(eventually, monkeypatch):
    broker = StubBroker(middleware=[])
    worker = Worker(broker, worker_timeout=50, worker_threads=2)
    worker.work_queue = work = WorkQueue(WEIGHTS, {"low": 1})
    ran, given_back, gate = [], [], threading.Event()
    monkeypatch.setattr(
        ConsumerThread, "requeue_messages", lambda _, messages: given_back.extend(messages)
    )

    def hold(queue):
        ran.append(queue)
        gate.wait(60)

    for queue in WEIGHTS:
        actor = dramatiq.actor(hold, broker=broker, actor_name=queue, queue_name=queue)
        actor.send(queue)
        actor.send(queue)
    worker.start()
    eventually(lambda: (len(ran), work.qsize()) == (2, 4))
    work.close()
    gate.set()
    worker.stop()

    assert len(ran) == 2
    assert Counter(ran + [message.queue_name for message in given_back]) == dict.fromkeys(
        WEIGHTS, 2
    )
    assert work.empty()
