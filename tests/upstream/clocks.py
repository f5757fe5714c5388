"""Waits for dramatiq's own tests that do not depend on the speed of the machine.

Some of those tests sleep for a tenth of a second to give a worker time, or compare the lengths of
such sleeps. `differences.toml` lists these tests with the class here that replaces their waits.
Their assertions stay unchanged.
"""

import threading
import time

PATIENCE_S = 90
"""Longest wait for an event; only a worker that hangs takes this long."""


class Event(threading.Event):
    """An event with a longer timeout than the test asks for."""

    def wait(self, timeout=None):
        return super().wait(max(timeout or 0, PATIENCE_S))


class Clock:
    """The module `time`, as a test sees it."""

    longer_delays = 1
    threads = 8
    patience_s = 0
    """Shortest time after which a wait of the test gives up."""

    def __init__(self, events):
        self.events = events
        self.over = threading.Event()

    def prepare(self, module, monkeypatch):
        """Replace the test's means of waiting."""
        for name, ours in (("time", self), ("Event", Event)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, ours)

    def sleep(self, seconds):
        time.sleep(seconds)

    def monotonic(self):
        return time.monotonic()

    def resumed(self, worker):
        """Let the consumers and threads of a worker continue."""
        worker.resume_all()


class Slow(Clock):
    """Time passes more slowly, so that starting and storing a job takes almost none of it."""

    FACTOR = 40

    def sleep(self, seconds):
        time.sleep(seconds * self.FACTOR)

    def monotonic(self):
        return time.monotonic() / self.FACTOR


class LongerDelays(Clock):
    """Delays are longer than two sends take, and one thread runs the jobs in order."""

    longer_delays = 10
    threads = 1


class BlockingClock(Clock):
    """A sleeping job continues once its test is over, or is ended by its time limit."""

    def sleep(self, _seconds):
        until(self.over.is_set)


class Arrived(Clock):
    """Messages to a worker with paused threads are in its memory before anything continues."""

    def sleep(self, _seconds):
        self._wait()

    def resumed(self, worker):
        for consumer in worker.consumers.values():
            consumer.resume()
        self._wait()
        worker.resume_all()

    def _wait(self):
        until(lambda: self.events.worker.work_queue.qsize() >= len(self.events.sent))


class Turns(Clock):
    """Jobs finish one by one: each when the test waits for the next, with its result stored."""

    def prepare(self, module, monkeypatch):
        super().prepare(module, monkeypatch)
        events = self.events

        class Condition(threading.Condition):
            turns = passed = 0

            def wait(self, timeout=None):
                self.turns += 1
                until(
                    lambda: len(events.outcomes) >= self.turns,
                    lambda: super(Condition, self).wait(0.02),
                )

            def notify_all(self):
                until(lambda: self.turns > self.passed, lambda: super(Condition, self).wait(0.02))
                self.passed += 1

        monkeypatch.setattr(module, "Condition", Condition)


def until(is_true, pause=lambda: time.sleep(0.02)):
    """Return once something is true, or after `PATIENCE_S`, when the test reports the failure."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_true() and time.monotonic() < deadline:
        pause()


CLOCKS = {
    "slow": Slow,
    "longer-delays": LongerDelays,
    "held": BlockingClock,
    "arrived": Arrived,
    "turns": Turns,
}
