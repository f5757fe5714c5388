"""The jobs that a worker process holds and has not started: which is next, and alongside which."""

import math
import sys
import threading
import time
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from operator import attrgetter
from queue import Empty
from typing import Protocol

from dramatiq.broker import MessageProxy

from workshed.database.waits import database_waits
from workshed.value_class import state_class


class Waitable(Protocol):
    """A job that waits; dramatiq's own items are of this shape too."""

    @property
    def priority(self) -> int: ...  # noqa: D102 -- a shape
    @property
    def message(self) -> MessageProxy: ...  # noqa: D102 -- a shape


class QueuedJob:
    """A job that waits."""

    __slots__ = ("message", "priority")

    def __init__(self, priority: int, message: MessageProxy) -> None:
        """Take its actor's priority: low numbers start first, equal ones in order of arrival."""
        self.priority = priority
        self.message = message


@state_class
class FairQueueLane:
    """One queue: `items` wait, in order; `running` counts those that run, at most `cap` at once."""

    stride: int  # virtual time per start: less for a greater weight
    cap: int  # 0 while paused
    turn: int = 0  # the virtual time of its next start
    running: int = 0
    items: deque[Waitable] = field(default_factory=deque)

    def add(self, item: Waitable) -> None:
        """Insert an item at its place, which is nearly always the last."""
        if self.items and item.priority < self.items[-1].priority:
            insort(self.items, item, key=get_priority)
        else:
            self.items.append(item)


get_priority = attrgetter("priority")

SAMPLE_STARTS, MAX_SAMPLE_STARTS = 256, 1 << 16
"""Starts between two checks whether one thread is enough; doubled each time that was a mistake."""
SHORT_JOBS_PER_S = 2_000.0
"""Starts per second above which several threads may only get in each other's way."""
BUSY_CPU_SHARE = 0.3
"""Share of a core in CPU time of this process above which they do."""
CHECK_S = 0.003
"""Interval between two checks of whether jobs still start."""
STALL_S, BUSY_STALL_S = 0.003, 0.01
"""After this long without a start one thread is not enough; the second if this process is busy."""
IDLE_S = 0.1
"""After this long without a job no thread checks any more."""
MAX_WAIT_SHARE = 0.5
"""Waits for PostgreSQL per start above which jobs wait, so that more threads run more of them."""
MIN_SINGLE_THREADED_S = 0.1
"""If one thread was enough for longer than this, the switch to it was no mistake."""


class WorkQueue:
    """Replaces dramatiq's `Worker.work_queue`: weighted fair, with caps, pauses and isolation.

    *Shares:* while several queues have jobs that may start, their starts are in the ratio of their
    weights (stride scheduling). A queue without such jobs, because it is empty, paused or at its
    cap, leaves its share to the others and does not claim it later. Within a queue, order holds.

    *Isolation:* a job suspected as poison starts when nothing runs, and nothing starts until it is
    done. It has priority over waiting jobs. Once it is done, as many others as wait at that moment
    start before the next suspect gets priority, so neither kind starves the other. These starts do
    not count in the shares. A suspect of a paused queue delays nothing.

    *One thread:* while jobs are short and limited by the interpreter, one thread runs them. Several
    threads would wake and wait for each other with each job, which costs a fifth of the CPU.
    Another thread checks every 3 ms whether jobs still start; if none does, all threads run.
    They also do while jobs wait for PostgreSQL, which serves several connections at once.
    """

    def __init__(self, weights: Mapping[str, int], caps: Mapping[str, int]) -> None:
        """Take weights (default: 1) and caps on concurrent jobs (default: none), by queue."""
        self.unfinished_tasks = 0  # put, and neither finished nor taken back
        self._weights = weights
        self._caps = caps
        self._isolated = FairQueueLane(stride=0, cap=1)  # suspects of all queues
        self._lanes: dict[str, FairQueueLane] = {}
        self._now = 0  # virtual time: the turn of the latest start
        self._turns_before_isolated = 0  # starts of others before the next suspect gets priority
        self._closed = False
        self._taken_lanes: defaultdict[int, list[FairQueueLane]] = defaultdict(
            list
        )  # by thread, latest last
        self._lock = threading.Lock()
        self._all_done = threading.Condition(self._lock)
        # A held lock per thread in `get`; its release wakes that thread. A condition variable took
        # 1.3 times as long under load, because it also wakes threads that are awake but have not
        # run yet.
        self._sleepers: list[threading.Lock] = []
        self._waking_count = 0  # threads that were woken and have not run yet
        self._single_threaded = False
        self._has_checker = False  # whether a thread sleeps for at most `CHECK_S`, and then checks
        self._running_count = 0
        self._start_count = 0
        self._sample = SAMPLE_STARTS
        self._single_threaded_since = 0.0  # when `_single_threaded` last became true
        self._last_start_at = 0.0  # when a check last saw that jobs had started
        self._last_progress_at = 0.0  # when one last saw that, or that there was nothing to start
        self._last_measurement = (
            0.0,
            0.0,
            0,
        )  # the time, the CPU time and the starts at the last check
        # The waits and the starts when waits were last compared.
        self._last_wait_count = (database_waits.count, 0)
        self._jobs_wait = False

    def put(self, item: Waitable) -> None:
        """Add a job of the queue that its message names."""
        self.put_all([item])

    def put_all(self, items: Sequence[Waitable]) -> None:
        """Add jobs, the first one first."""
        with self._lock:
            for item in items:
                self._lane(item.message.queue_name).add(item)
            self.unfinished_tasks += len(items)
            self._wake()

    def put_isolated(self, item: Waitable) -> None:
        """Add a suspect, to run alone in this process."""
        with self._lock:
            self._isolated.add(item)
            self.unfinished_tasks += 1
            self._wake()

    def get(self, block: bool = True, timeout: float | None = None) -> Waitable:  # noqa: FBT001, FBT002 -- like `queue.Queue`
        """Start the next job that may start; raises `Empty` if there is none within `timeout` s."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        with self._lock:
            while (lane := self._next_lane()) is None or (block and self._one_thread_suffices()):
                left = until - time.monotonic()
                # Wait for the whole timeout even when closed, or dramatiq's threads would spin.
                if not block or left <= 0 or (self._closed and timeout is None):
                    raise Empty
                self._idle(left)
            item = self._start(lane)
            self._taken_lanes[threading.get_ident()].append(lane)
            self._start_count += 1
            self._running_count += 1
            if self._start_count % self._sample == 0 and not self._single_threaded:
                self._measure_contention()
            self._wake()
        return item

    def get_nowait(self) -> Waitable:
        """Drain: take any job that has not started, even if it may not start; raises `Empty`."""
        with self._lock:
            lane = next((lane for lane in self._all_lanes() if lane.items), None)
            if lane is None:
                raise Empty
            self._running_count += 1
            item = lane.items.popleft()
            self._taken_lanes[threading.get_ident()].append(FairQueueLane(0, 0))  # it does not run
            self._wake()
        return item

    def task_done(self) -> None:
        """Finish what this thread took last."""
        with self._lock:
            lane = self._taken_lanes[threading.get_ident()].pop()
            lane.running -= 1
            self._running_count -= 1
            if lane is self._isolated:
                self._turns_before_isolated = sum(
                    len(one.items) for one in self._lanes.values() if one.cap
                )
            self._finish(1, wake=not self._single_threaded)  # else this thread takes the next one

    @property
    def finished_count(self) -> int:
        """How many jobs have ended here."""
        return self._start_count - self._running_count

    def join(self) -> None:
        """Return once all jobs are finished or taken back."""
        with self._lock:
            self._all_done.wait_for(lambda: not self.unfinished_tasks)

    def qsize(self) -> int:
        """Return how many jobs have not started."""
        with self._lock:
            return sum(len(lane.items) for lane in self._all_lanes())

    def list_waiting(self) -> list[MessageProxy]:
        """Return the jobs that have not started."""
        with self._lock:
            return [item.message for lane in self._all_lanes() for item in lane.items]

    def empty(self) -> bool:
        """Return whether all jobs have started."""
        return not self.qsize()

    def pause(self, queue: str) -> None:
        """Start no more jobs of a queue; running ones continue."""
        with self._lock:
            self._lane(queue).cap = 0
            self._wake()

    def resume(self, queue: str) -> None:
        """Start jobs of a paused queue again."""
        with self._lock:
            self._lane(queue).cap = self._caps.get(queue, sys.maxsize)
            self._wake()

    def remove_waiting(self, matches: Callable[[MessageProxy], bool]) -> list[MessageProxy]:
        """Remove and return jobs that have not started and for which `matches` is true.

        `matches` must be quick and must not call this queue.
        """
        with self._lock:
            # Ask about all before removing any, because `wanted` may raise. Compare by identity,
            # because items are equal when neither comes before the other.
            taken = [
                item for lane in self._all_lanes() for item in lane.items if matches(item.message)
            ]
            gone = {id(item) for item in taken}
            for lane in self._all_lanes():
                lane.items = deque(item for item in lane.items if id(item) not in gone)
            self._finish(len(taken), wake=True)
        return [item.message for item in taken]

    def close(self) -> None:
        """Start no more jobs; those put from now on wait to be drained or taken back."""
        with self._lock:
            self._closed = True
            while self._sleepers:  # threads without a timeout would never wake
                self._wake_sleeper()

    def _all_lanes(self) -> list[FairQueueLane]:
        return [self._isolated, *self._lanes.values()]

    def _lane(self, name: str) -> FairQueueLane:
        if name not in self._lanes:
            stride = math.lcm(*self._weights.values()) // self._weights.get(name, 1)  # exact
            self._lanes[name] = FairQueueLane(stride, self._caps.get(name, sys.maxsize))
        return self._lanes[name]

    def _next_lane(self) -> FairQueueLane | None:
        """Return the lane whose next job may start now."""
        if self._closed or self._isolated.running:
            return None
        suspect = bool(self._isolated.items) and self._first_suspect() is not None
        first = None
        if not suspect or self._turns_before_isolated:
            for lane in self._lanes.values():
                if lane.items and lane.running < lane.cap and (not first or lane.turn < first.turn):
                    first = lane
        if suspect and not first and not any(lane.running for lane in self._lanes.values()):
            return self._isolated
        return first

    def _first_suspect(self) -> int | None:
        """Return the place of the first suspect whose queue is not paused."""
        names = (item.message.queue_name for item in self._isolated.items)
        return next((place for place, name in enumerate(names) if self._lane(name).cap), None)

    def _start(self, lane: FairQueueLane) -> Waitable:
        place = (self._first_suspect() or 0) if lane is self._isolated else 0
        item = lane.items[place]
        del lane.items[place]
        lane.running += 1
        # `max`: otherwise a queue that was idle would make up for its missed share.
        self._now = max(lane.turn, self._now)
        lane.turn = self._now + lane.stride
        self._turns_before_isolated -= self._turns_before_isolated > 0
        return item

    def _finish(self, count: int, *, wake: bool) -> None:
        self.unfinished_tasks -= count
        if not self.unfinished_tasks:
            self._all_done.notify_all()
        if wake:
            self._wake()

    def _wake(self) -> None:
        """Wake a sleeping thread if a job may start; each start wakes the next thread likewise."""
        if self._sleepers and not self._one_thread_suffices() and self._next_lane():
            self._wake_sleeper()

    def _wake_sleeper(self) -> None:
        self._waking_count += 1
        self._sleepers.pop().release()

    def _one_thread_suffices(self) -> bool:
        return self._single_threaded and self._running_count + self._waking_count > 0

    def _measure_contention(self) -> None:
        """Check whether one thread is enough for the current load."""
        now, cpu_s = time.monotonic(), time.process_time()
        then, used_s, starts = self._last_measurement
        self._last_measurement = now, cpu_s, self._start_count
        busy = cpu_s - used_s > BUSY_CPU_SHARE * (now - then)
        self._compare_waits()
        if self._start_count > starts:
            self._last_start_at = self._last_progress_at = now
        elif not self._running_count and not self._next_lane():  # nothing could start
            self._last_progress_at = now
        if not self._single_threaded:
            short = self._start_count - starts > SHORT_JOBS_PER_S * (now - then)
            if busy and short and not self._jobs_wait:
                self._single_threaded, self._single_threaded_since = True, now
                if self._sleepers and not self._has_checker:  # one thread must check from now on
                    self._wake_sleeper()
        elif now - self._last_start_at > IDLE_S and not self._running_count:
            self._single_threaded = False
            self._wake()
        elif self._jobs_wait or now - self._last_progress_at > (BUSY_STALL_S if busy else STALL_S):
            lasted = now - self._single_threaded_since > MIN_SINGLE_THREADED_S
            self._sample = SAMPLE_STARTS if lasted else min(self._sample * 2, MAX_SAMPLE_STARTS)
            self._single_threaded = False
            self._wake()

    def _compare_waits(self) -> None:
        """Check whether jobs wait for PostgreSQL, over enough starts to leave out other work."""
        waits, starts = self._last_wait_count
        started = self._start_count - starts
        if started >= SAMPLE_STARTS:
            waited = database_waits.count - waits
            self._jobs_wait = waited > MAX_WAIT_SHARE * started
            self._last_wait_count = database_waits.count, self._start_count

    def _idle(self, longest_s: float) -> None:
        """Sleep until there may be work; check periodically if no other thread does."""
        if not self._single_threaded or self._has_checker:
            self._sleep(longest_s)
            return
        until = time.monotonic() + longest_s
        self._has_checker = True
        try:
            # Not back to `get` between two checks, where it would take a job from the thread that
            # runs them.
            while (left := until - time.monotonic()) > 0 and self._single_threaded:
                if self._sleep(min(left, CHECK_S), last=True):
                    break
                self._measure_contention()
        finally:
            self._has_checker = False

    def _sleep(self, longest_s: float, *, last: bool = False) -> bool:
        """Sleep until woken; return whether this thread was. `last`: wake all others before it."""
        sleeper = threading.Lock()
        sleeper.acquire()
        self._sleepers.insert(0 if last else len(self._sleepers), sleeper)
        self._lock.release()
        try:
            sleeper.acquire(timeout=min(longest_s, threading.TIMEOUT_MAX))
        finally:
            self._lock.acquire()
            woken = sleeper not in self._sleepers
            if woken:
                self._waking_count -= 1
            else:
                self._sleepers.remove(sleeper)
        return woken
