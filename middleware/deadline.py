"""Limit how long an actor's function may run, and nothing but that function."""

import functools
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Interrupt, Middleware, Shutdown, TimeLimitExceeded

from workshed.interrupts import Gate, gate

logger = logging.getLogger(__name__)

DEFAULT_MS = 600_000


@dataclass(slots=True)
class Alarm:
    """A thread that is to be interrupted at `at` (monotonic seconds), unless it is done before.

    It waits where the thread's gate is shut: in a commit, or in the pool of connections.
    """

    gate: Gate
    at: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: bool = False

    def ring(self, error: type[Interrupt] = TimeLimitExceeded) -> None:
        """Raise `error` in the thread, if the function still runs."""
        with self.lock:
            if not self.over:
                self.gate.strike(error)

    def end(self) -> None:
        """Afterwards the alarm cannot ring.

        One that rang while this waited for the lock is raised by CPython at the next call, which
        is in here: what leaves this function leaves nothing behind.
        """
        with self.lock:
            self.over = True


class Deadline(Middleware):
    """Raise `TimeLimitExceeded` in an actor that runs longer than its limit.

    The limit is wrapped around the actor's function, so it cannot strike in a hook or between an
    outcome and its ack. Python code is interrupted at its next instruction, and a query of
    `db.transaction()` within 0.1 s, which the server then ends; a call into C or another socket
    is not, so sockets need timeouts of their own.

    *Options:* `time_limit=` (milliseconds, 10 minutes), also of a message.
    """

    def __init__(self, default_ms: int = DEFAULT_MS) -> None:
        """Keep the limit of actors that say nothing."""
        self.default_ms = default_ms
        self.clock = Clock()
        self._limit = threading.local()

    @property
    def actor_options(self) -> set[str]:
        """One limit per actor."""
        return {"time_limit"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Wrap the function; its signature and name stay."""
        actor.fn = self._limited(actor.fn)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Note the limit of the job that this thread is about to run."""
        options = broker.get_actor(message.actor_name).options
        limit = message.options.get("time_limit", options.get("time_limit", self.default_ms))
        self._limit.ms = limit

    def interrupt_all(self) -> None:
        """Raise `Shutdown` in every actor that runs now."""
        self.clock.ring_all(Shutdown)

    def _limited(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            limit_ms = self._limit.__dict__.pop("ms", None)
            if limit_ms is None:  # called directly, not by a worker
                return function(*args, **kwargs)
            return self._run(function, args, kwargs, limit_ms / 1000)

        return limited

    def _run(self, function: Callable[..., Any], args: Any, kwargs: Any, limit_s: float) -> object:
        alarm = Alarm(gate(), time.monotonic() + limit_s)
        returned: list[object] = []
        try:
            try:
                self.clock.set(alarm)
                returned.append(function(*args, **kwargs))
            finally:
                alarm.end()
        except Interrupt as err:
            # The alarm may strike between the function's return and `end`; the work is done then.
            if not returned:
                if isinstance(err, TimeLimitExceeded):
                    logger.warning("time limit of %g s exceeded", limit_s)
                raise
        finally:
            alarm.end()
        return returned[0]


class Clock:
    """One thread that rings the alarms of all others; started by the first one."""

    def __init__(self) -> None:
        """Nothing runs before the first alarm."""
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._alarms: dict[Gate, Alarm] = {}  # one per thread
        self._changed = threading.Condition()
        self._wakes = math.inf
        self._thread: threading.Thread | None = None

    def set(self, alarm: Alarm) -> None:
        """Ring `alarm` at its time."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadline", daemon=True)
                self._thread.start()
            self._alarms[alarm.gate] = alarm
            if alarm.at < self._wakes:
                self._changed.notify()

    def ring_all(self, error: type[Interrupt]) -> None:
        """Raise `error` in every thread whose function still runs."""
        with self._changed:
            alarms = list(self._alarms.values())
        for alarm in alarms:
            alarm.ring(error)

    def _run(self) -> None:
        while True:
            self._next().ring()

    def _next(self) -> Alarm:
        """Wait for the next alarm that is due."""
        with self._changed:
            while True:
                running = [alarm for alarm in self._alarms.values() if not alarm.over]
                first = min(running, key=lambda alarm: alarm.at, default=None)
                if first is not None and first.at <= time.monotonic():
                    return self._alarms.pop(first.gate)
                self._wakes = math.inf if first is None else first.at
                self._changed.wait(None if first is None else first.at - time.monotonic())
