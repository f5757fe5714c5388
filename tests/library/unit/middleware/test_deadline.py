"""The time limit strikes in the actor's function, and nowhere else."""

import inspect
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from workshed import interrupts
from workshed.interrupts import raise_in_thread, thread_gate
from workshed.middleware import TimeLimit
from workshed.middleware.runtime.time_limit import CurrentLimits, Timeout, hard_limit_ms


def limited(function, limit_ms):
    """Wrap `function` as at its declaration, with the limit a worker would note."""
    deadline = TimeLimit()
    wrapped = deadline._wrap(function)
    deadline._current.job = CurrentLimits(None, limit_ms, 2 * limit_ms)
    return wrapped


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_function_beyond_its_limit_is_interrupted():
    with pytest.raises(TimeLimitExceeded):
        limited(spin, 50)(600)


def test_a_function_within_its_limit_returns():
    assert limited(lambda: "done", 60_000)() == "done"


def test_an_actor_called_directly_has_no_limit():
    assert TimeLimit()._wrap(lambda: "done")() == "done"


class Finalized:
    """A loop that creates these spends half of its time in `__del__`."""

    def __del__(self):
        for _ in range(20):
            pass


def test_a_limit_that_strikes_in_a_finalizer_strikes_again():
    """Python ignores errors in finalizers; without `_interrupt_again` the loop would run for 60 "
    "s."""

    def work():
        end = time.monotonic() + 60
        while time.monotonic() < end:
            Finalized()

    for _ in range(30):
        with pytest.raises(TimeLimitExceeded):
            limited(work, 5)()


def test_a_limit_that_was_ignored_does_not_strike_the_next_job():
    deadline = TimeLimit()

    def next_job():
        deadline.timeout_thread._interrupt_again(thread_gate(), TimeLimitExceeded)
        return "done"

    assert deadline._run(next_job, (), {}, CurrentLimits(None, 60_000, 90_000)) == "done"


class Fails:
    """Raises an error that Python ignores and reports."""

    def __init__(self, error):
        self.error = error

    def __del__(self):
        raise self.error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("slow", "error"), [("_previous_hook", KeyError), ("_listeners", TimeLimitExceeded)]
)
def test_a_limit_that_strikes_in_a_report_strikes_again(monkeypatch, slow, error):
    """An interrupt inside the report itself would be ignored, too."""
    deadline, reports = TimeLimit(), []

    def report(args):
        reports.append(args)
        spin(0.2)

    monkeypatch.setattr(interrupts, slow, [report] if slow == "_listeners" else report)
    monkeypatch.setattr(thread_gate(), "raised_types", {TimeLimitExceeded})

    def work():
        Fails(error)
        spin(60)

    with pytest.raises(TimeLimitExceeded):
        deadline._run(work, (), {}, CurrentLimits(None, 100, 90_000))
    assert reports


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_lands_in_a_report_is_passed_on(monkeypatch):
    """The gate was open when `strike` looked, so the interrupt lands in the report."""
    interrupted = []
    interrupts.add_ignored_listener(lambda ignored: None)  # installs the hook
    monkeypatch.setattr(interrupts, "_listeners", [interrupted.append])
    monkeypatch.setattr(
        interrupts, "_previous_hook", lambda _: raise_in_thread(thread_gate().thread, Shutdown)
    )
    monkeypatch.setattr(thread_gate(), "raised_types", {Shutdown})

    Fails(KeyError)

    assert interrupted == [(thread_gate(), Shutdown)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_errors_that_are_ignored_delay_no_limit(monkeypatch):
    """If the clock paused for each of them, a flood of them would delay all limits."""
    interrupted, reported = [], []
    interrupts.add_ignored_listener(lambda ignored: None)  # installs the hook
    monkeypatch.setattr(interrupts, "_listeners", [interrupted.append])
    monkeypatch.setattr(interrupts, "_previous_hook", lambda args: reported.append(args.exc_type))

    Fails(KeyError)

    assert (interrupted, reported) == ([], [KeyError])


def test_the_signature_stays():
    def actor(user_id: int, *, locale: str = "en") -> None:
        """Greet."""

    wrapped = TimeLimit()._wrap(actor)

    assert inspect.signature(wrapped) == inspect.signature(actor)
    assert (wrapped.__name__, wrapped.__doc__) == ("actor", "Greet.")


def test_an_error_of_the_function_goes_through():
    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        limited(fail, 60_000)()


class RingsWhenTaken:
    """A lock that makes the alarm ring once, while `cancel` waits for it."""

    rang = False

    def __enter__(self):
        if not self.rang:
            self.rang = True
            raise_in_thread(threading.get_ident(), TimeLimitExceeded)

    def __exit__(self, *_):
        pass


def test_work_that_is_done_when_the_limit_strikes_is_done(monkeypatch):
    """Without the check whether the function returned, a finished job would run again."""
    deadline = TimeLimit()
    monkeypatch.setattr(
        deadline.timeout_thread, "add", lambda alarm: setattr(alarm, "lock", RingsWhenTaken())
    )

    assert deadline._run(lambda: "done", (), {}, CurrentLimits(None, 60_000, 90_000)) == "done"


def test_a_limit_that_strikes_around_the_end_never_leaves_the_function():
    deadline = TimeLimit()
    outcomes = {"returned": 0, "interrupted": 0, "escaped": 0}

    def work():
        for offset in range(200):
            wrapped = deadline._wrap(spin)
            deadline._current.job = CurrentLimits(None, 10, 20)
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
    """If alarms were kept until they are due, those of a busy worker would fill its memory."""
    deadline = TimeLimit()

    for _ in range(1_000):
        deadline._run(lambda: None, (), {}, CurrentLimits(None, 600_000, 900_000))

    assert len(deadline.timeout_thread._timeouts) == 1


# The hard limit


class Given:
    """Records what a worker has to give up."""

    def __init__(self):
        self.errors = []
        self.given_up = threading.Event()

    def __call__(self, _message, error):
        self.errors.append(error)
        self.given_up.set()


def test_a_function_that_cannot_be_interrupted_is_given_up_once():
    deadline, given = TimeLimit(), Given()
    deadline.recycle = given

    def stuck():
        given.given_up.wait(60)  # one call into C, until it is given up
        time.sleep(0.1)

    with pytest.raises(TimeLimitExceeded):
        deadline._run(stuck, (), {}, CurrentLimits("message", 20, 60))

    [error] = given.errors
    assert str(error) == "exceeded its hard limit of 0.06 s"
    assert "given.given_up.wait(60)" in error.__notes__[0]


COLLECTING = """
import gc, os, threading
from workshed.middleware.runtime.time_limit import get_frame

class Starts:
    def __del__(self):
        threading.Thread(target=int, daemon=True).start()

for _ in range(20):
    ready, stop = threading.Barrier(9), threading.Event()
    def wait():
        ready.wait()
        stop.wait()
    threads = [threading.Thread(target=wait, daemon=True) for _ in range(8)]
    for one in threads:
        one.start()
    ready.wait()
    gc.disable()
    for _ in range(50):
        garbage = Starts()
        garbage.itself = garbage
    del garbage
    gc.set_threshold(1)  # the next allocation starts a collection
    gc.enable()
    get_frame(threads[0].ident)
    gc.set_threshold(700)
    stop.set()
    for one in threads:
        one.join()
os._exit(0)
"""


def test_reading_the_frame_of_a_thread_collects_no_garbage():
    """Python 3.11.7 deadlocked here: a finalizer starts a thread and waits for a lock."""
    done = subprocess.run([sys.executable, "-c", COLLECTING], timeout=90, check=False)

    assert done.returncode == 0


def test_a_function_that_ends_in_time_is_not_given_up():
    deadline, given = TimeLimit(), Given()
    deadline.recycle = given

    with pytest.raises(TimeLimitExceeded):
        deadline._run(spin, (30,), {}, CurrentLimits("message", 20, 60))
    deadline._run(
        lambda: given.given_up.wait(0.2), (), {}, CurrentLimits("message", 60_000, 90_000)
    )

    assert given.errors == []


def test_a_process_that_was_stopped_gives_up_nothing_when_it_goes_on():
    """Counted from the start, the hard limit would strike before the interrupt could."""
    given = []
    long_ago = time.monotonic() - 3600
    alarm = Timeout(thread_gate(), long_ago, grace_s=60, on_stuck=lambda: given.append(1))

    with pytest.raises(TimeLimitExceeded), thread_gate().defer():
        alarm.fire()

    assert given == []
    assert alarm.at == pytest.approx(time.monotonic() + 60, abs=50)


@pytest.mark.parametrize(
    ("limit_ms", "said", "hard_ms"),
    [
        (1_000, None, 31_000),
        (600_000, None, 900_000),
        (1_000, 1_500, 1_500),
        (2_000, 1_500, 32_000),
    ],
)
def test_without_a_hard_limit_it_follows_the_limit(limit_ms, said, hard_ms):
    """Last case: a message may have a time limit beyond both limits of its actor."""
    options = {} if said is None else {"hard_time_limit": said}

    assert hard_limit_ms(limit_ms, options) == hard_ms


@pytest.mark.parametrize("hard", [500, 1_000, 1_000.5, "2000", True])
def test_a_hard_limit_that_is_not_above_the_limit_is_refused(hard):
    actor = SimpleNamespace(
        actor_name="stuck",
        fn=spin,
        options={"time_limit": 1_000, "hard_time_limit": hard},
    )

    with pytest.raises(ValueError, match="above the time limit of 1000"):
        TimeLimit().before_declare_actor(None, actor)
