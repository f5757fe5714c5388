"""Limit how long an actor's function may run, and nothing but that function."""

import functools
import gc
import logging
import math
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import field
from types import FrameType
from typing import Any, NamedTuple

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Interrupt, Middleware, Shutdown, TimeLimitExceeded

from workshed import db, interrupts
from workshed.duration import Milliseconds
from workshed.interrupts import InterruptGate, thread_gate
from workshed.strict_json import INTEGER_TYPES
from workshed.value_class import state_class

logger = logging.getLogger(__name__)

DEFAULT_MS = 600_000
LEAST_PLAIN_MS = 1_000
"""A smaller limit that is written as an integer was probably meant in seconds."""
LEAST_GRACE_MS = 30_000
REPORT_S = 0.02
"""How long a thread may take to report an ignored interrupt, before it is interrupted again."""


class HardTimeLimitExceeded(TimeLimitExceeded):
    """The function still ran long after its time limit, so its process exits."""


Recycle = Callable[[MessageProxy, HardTimeLimitExceeded], None]
"""Stores the failure of a job whose thread does not return, and ends the process."""


@state_class
class Timeout:
    """A thread to interrupt at `at` (monotonic seconds), unless its function ends before.

    The interrupt is delayed while the thread's gate is closed: in a commit, or in the connection
    pool.
    """

    gate: InterruptGate
    at: float
    grace_s: float = math.inf
    """How long the thread may go on after the interrupt."""
    on_stuck: Callable[[], None] | None = None
    """Called if it goes on for longer."""
    lock: AbstractContextManager[object] = field(default_factory=interrupts.create_repaired_lock)
    is_over: bool = False
    raised_errors: tuple[type[Interrupt], ...] = ()

    def fire(self) -> None:
        """Interrupt the thread; at the second call, give it up."""
        if TimeLimitExceeded not in self.raised_errors:
            self.interrupt()
            # Counted from the interrupt, not from the start, because a process that was
            # stopped meanwhile may have slept through both limits.
            self.at = time.monotonic() + self.grace_s
            return
        with self.lock:
            if not self.is_over and self.on_stuck is not None:
                self.on_stuck()
        self.at = math.inf

    def interrupt(self, error: type[Interrupt] = TimeLimitExceeded) -> None:
        """Raise `error` in the thread, if the function still runs."""
        with self.lock:
            if not self.is_over:
                self.gate.interrupt(error)
                self.raised_errors += (error,)

    def interrupt_again(self, error: type[BaseException]) -> None:
        """Raise `error` again if it was raised here and code that ignores errors swallowed it."""
        if issubclass(error, Interrupt) and error in self.raised_errors:
            self.interrupt(error)

    def cancel(self) -> None:
        """Make sure that the alarm cannot ring afterwards.

        If it rang while this waited for the lock, CPython raises the error at the next call, which
        is in this function: nothing is left pending when it returns.
        """
        with self.lock:
            self.is_over = True


class CurrentLimits(NamedTuple):
    """The job that a thread is about to run, with its limits."""

    message: MessageProxy | None
    limit_ms: int
    hard_ms: int


class TimeLimit(Middleware):
    """Raise `TimeLimitExceeded` in an actor that runs longer than its limit.

    The limit wraps the actor's function, so it cannot strike in a hook or between an outcome and
    its ack. Python code is interrupted at its next instruction, and a query of `db.transaction()`
    within 0.1 s, which the server then cancels. A call into C or on another socket is not
    interrupted, so set timeouts on your own sockets.

    If a function has not ended at its hard limit, its attempt fails, and the process exits and is
    replaced. Other jobs of that process get the grace of a graceful shutdown.

    *Options:* `time_limit=` (milliseconds; a plain integer below 1 000 is refused; by default
    10 minutes), also on a message; `hard_time_limit=` (milliseconds; by default half as much again
    as the time limit, and at least 30 s more).
    """

    def __init__(self, default_ms: int = DEFAULT_MS) -> None:
        self.default_ms = default_ms
        self.timeout_thread = TimeoutThread()
        self.recycle: Recycle | None = None
        self._current = threading.local()
        self._limits: dict[str, tuple[int, int]] = {}
        """Both limits, in milliseconds, by actor name."""

    @property
    def actor_options(self) -> set[str]:
        """The two limits of an actor."""
        return {"time_limit", "hard_time_limit"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Wrap the function; its signature and name stay."""
        soft = actor.options.get("time_limit", self.default_ms)
        hard = actor.options.get("hard_time_limit")
        if "time_limit" in actor.options:
            _check_time_limit(actor.actor_name, soft)
        if hard is not None and (type(hard) not in INTEGER_TYPES or hard <= soft):
            raise ValueError(
                f"{actor.actor_name}: hard_time_limit={hard!r} is not a whole number of "
                f"milliseconds above the time limit of {soft}"
            )
        self._limits[actor.actor_name] = soft, hard_limit_ms(soft, actor.options)
        actor.fn = self._wrap(actor.fn)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Note the limit of the job that this thread is about to run."""
        name = message.actor_name
        limits = None if "time_limit" in message.options else self._limits.get(name)
        if limits is None:
            options = broker.get_actor(name).options
            own_ms = options.get("time_limit", self.default_ms)
            limit_ms = message.options.get("time_limit", own_ms)
            limits = limit_ms, hard_limit_ms(limit_ms, options)
        self._current.job = CurrentLimits(message, *limits)

    def interrupt_all(self) -> None:
        """Raise `Shutdown` in every running actor."""
        self.timeout_thread.interrupt_all(Shutdown)

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            noted: CurrentLimits | None = self._current.__dict__.pop("job", None)
            if noted is None:  # called directly, not by a worker
                return function(*args, **kwargs)
            return self._run(function, args, kwargs, noted)

        return limited

    def _run(
        self, function: Callable[..., Any], args: Any, kwargs: Any, noted: CurrentLimits
    ) -> object:
        alarm = self._create_timeout(noted)
        returned: list[object] = []
        before = db.deadline.set(alarm.at)
        try:
            try:
                self.timeout_thread.add(alarm)
                returned.append(function(*args, **kwargs))
            finally:
                alarm.cancel()
        except Interrupt as err:
            # If the alarm struck between the function's return and `cancel`, the work is done.
            if not returned:
                if isinstance(err, TimeLimitExceeded):
                    logger.warning("time limit of %g s exceeded", noted.limit_ms / 1000)
                raise
        finally:
            alarm.cancel()
            db.deadline.reset(before)
        return returned[0]

    def _create_timeout(self, noted: CurrentLimits) -> Timeout:
        alarm = Timeout(thread_gate(), time.monotonic() + noted.limit_ms / 1000)
        recycle, message = self.recycle, noted.message
        if recycle is not None and message is not None:
            alarm.grace_s = (noted.hard_ms - noted.limit_ms) / 1000
            alarm.on_stuck = lambda: recycle(
                message, hard_limit_error(noted.hard_ms, alarm.gate.thread)
            )
        return alarm


def _check_time_limit(name: str, limit: object) -> None:
    """Refuse a limit that is no number of milliseconds, or was probably meant in seconds."""
    if isinstance(limit, Milliseconds) and limit > 0:
        return
    if type(limit) is not int or limit < LEAST_PLAIN_MS:
        raise ValueError(
            f"{name}: time_limit={limit!r} is in milliseconds, and an integer below "
            f"{LEAST_PLAIN_MS} is refused; declare the actor by `@workshed.actor(time_limit="
            "timedelta(…))`, or write `ms(seconds=…)` of `workshed.duration`"
        )


def hard_limit_ms(limit_ms: int, options: Mapping[str, Any]) -> int:
    """Return a job's hard limit; its message's time limit may exceed the actor's hard limit."""
    hard_ms = options.get("hard_time_limit", 0)
    if hard_ms > limit_ms:
        return int(hard_ms)
    return limit_ms + max(limit_ms // 2, LEAST_GRACE_MS)


def hard_limit_error(hard_ms: int, thread: int) -> HardTimeLimitExceeded:
    """Build the error of a job that is given up, with the stack of its thread."""
    error = HardTimeLimitExceeded(f"exceeded its hard limit of {hard_ms / 1000:g} s")
    frame = get_frame(thread)
    if frame is not None:
        error.add_note(f"The stack of its thread:\n{''.join(traceback.format_stack(frame))}")
    return error


def get_frame(thread: int) -> FrameType | None:
    """Return the current frame of a thread.

    Disables the garbage collector, because Python before 3.11.8 may run it here while holding a
    lock that is needed to start a thread. A finalizer that starts one would then block the process
    for good.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames().get(thread)  # noqa: SLF001 -- documented, whatever its name
    finally:
        if was_enabled:
            gc.enable()


class TimeoutThread:
    """One thread that rings the alarms of all others; the first alarm starts it."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._timeouts: dict[InterruptGate, Timeout] = {}  # one per thread
        self._lock = threading.Lock()
        self._wakes_at = math.inf
        self._wake_ups: queue.SimpleQueue[interrupts.IgnoredInterrupt | None] = queue.SimpleQueue()
        """What wakes the thread: an interrupt to raise again, or None for a new alarm."""
        self._thread: threading.Thread | None = None

    def add(self, alarm: Timeout) -> None:
        """Ring `alarm` at its time."""
        with self._lock:
            if self._thread is None:
                interrupts.add_ignored_listener(self._wake_ups.put)
                self._thread = threading.Thread(target=self._run, name="deadline", daemon=True)
                self._thread.start()
            self._timeouts[alarm.gate] = alarm
            if alarm.at < self._wakes_at:
                self._wake_ups.put(None)

    def interrupt_all(self, error: type[Interrupt]) -> None:
        """Raise `error` in every thread whose function still runs."""
        with self._lock:
            alarms = list(self._timeouts.values())
        for alarm in alarms:
            alarm.interrupt(error)

    def _run(self) -> None:
        while True:
            ignored = self._wait()
            if ignored is not None:
                time.sleep(REPORT_S)
                self._interrupt_again(*ignored)
            while (alarm := self._next_due()) is not None:
                alarm.fire()

    def _wait(self) -> interrupts.IgnoredInterrupt | None:
        """Wait until an alarm is due, a new one is set, or an interrupt was ignored."""
        with self._lock:
            times = (alarm.at for alarm in self._timeouts.values() if not alarm.is_over)
            self._wakes_at = min(times, default=math.inf)
        left_s = max(self._wakes_at - time.monotonic(), 0)
        try:
            return self._wake_ups.get(timeout=None if left_s == math.inf else left_s)
        except queue.Empty:
            return None

    def _next_due(self) -> Timeout | None:
        now = time.monotonic()
        with self._lock:
            alarms = self._timeouts.values()
            return next((one for one in alarms if not one.is_over and one.at <= now), None)

    def _interrupt_again(self, gate: InterruptGate, error: type[BaseException]) -> None:
        """Raise an ignored interrupt again, unless the thread has another job by now."""
        with self._lock:
            alarm = self._timeouts.get(gate)
        if alarm is not None:
            alarm.interrupt_again(error)
