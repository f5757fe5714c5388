"""The time limit strikes in the actor's function, and nowhere else."""

import inspect
import threading
import time

import pytest
from dramatiq.middleware import TimeLimitExceeded

from middleware import Deadline
from workshed.interrupts import interrupt


def limited(function, limit_ms):
    """Wrap `function` as at its declaration, with the limit a worker would note."""
    deadline = Deadline()
    wrapped = deadline._limited(function)
    deadline._limit.ms = limit_ms
    return wrapped


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_function_beyond_its_limit_is_interrupted():
    started = time.monotonic()

    with pytest.raises(TimeLimitExceeded):
        limited(spin, 50)(30)

    assert time.monotonic() - started < 10


def test_a_function_within_its_limit_returns():
    assert limited(lambda: "done", 60_000)() == "done"


def test_an_actor_called_directly_has_no_limit():
    assert Deadline()._limited(lambda: "done")() == "done"


def test_the_signature_stays():
    def actor(user_id: int, *, locale: str = "en") -> None:
        """Greet."""

    wrapped = Deadline()._limited(actor)

    assert inspect.signature(wrapped) == inspect.signature(actor)
    assert (wrapped.__name__, wrapped.__doc__) == ("actor", "Greet.")


def test_an_error_of_the_function_goes_through():
    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        limited(fail, 60_000)()


class RingsWhenTaken:
    """A lock that meets the alarm: it rings, once, while `end` waits for the lock."""

    rang = False

    def __enter__(self):
        if not self.rang:
            self.rang = True
            interrupt(threading.get_ident(), TimeLimitExceeded)

    def __exit__(self, *_):
        pass


def test_work_that_is_done_when_the_limit_strikes_is_done(monkeypatch):
    """Without looking whether the function returned, a finished job runs again."""
    deadline = Deadline()
    monkeypatch.setattr(
        deadline.clock, "set", lambda alarm: setattr(alarm, "lock", RingsWhenTaken())
    )

    assert deadline._run(lambda: "done", (), {}, 60) == "done"


def test_a_limit_that_strikes_around_the_end_never_leaves_the_function():
    deadline = Deadline()
    outcomes = {"returned": 0, "interrupted": 0, "escaped": 0}

    def work():
        for offset in range(200):
            wrapped = deadline._limited(spin)
            deadline._limit.ms = 10
            try:
                try:
                    wrapped((8 + offset / 20) / 1000)
                    outcomes["returned"] += 1
                except TimeLimitExceeded:
                    outcomes["interrupted"] += 1
                spin(0.0005)
            except TimeLimitExceeded:
                outcomes["escaped"] += 1

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert outcomes["escaped"] == 0
    assert outcomes["returned"] + outcomes["interrupted"] == 200
    assert outcomes["interrupted"] > 0


def test_finished_jobs_leave_no_alarms():
    """Kept until their time, those of a busy worker would fill its memory."""
    deadline = Deadline()

    for _ in range(1_000):
        deadline._run(lambda: None, (), {}, 600)

    assert len(deadline.clock._alarms) == 1
