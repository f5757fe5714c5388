"""A child of `workshed worker`: its pauses between starts, and how its end is described."""

import pytest

from workshed.console.supervisor import child
from workshed.console.supervisor.child import ManagedProcess, describe_exit


def refuse(_ready_fd):
    """Start nothing: what is tested here happens around the start."""
    pytest.fail("it starts")


@pytest.fixture
def clock(monkeypatch):
    """Set the monotonic clock: `clock(12.5)`."""

    def to(now):
        monkeypatch.setattr("workshed.console.supervisor.child.time.monotonic", lambda: now)

    to(0.0)
    return to


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended by itself (0)"),
        (2, "cannot start with these settings or arguments (2)"),
        (3, "could not reach RabbitMQ (3)"),
        (4, "could not reach PostgreSQL (4)"),
        (70, "exited because one of its threads died, or its I/O loop hung (70)"),
        (71, "exited because a job ran past its hard time limit (71)"),
        (99, "exited (99)"),
        (-9, "was killed by SIGKILL"),
        (-11, "was killed by SIGSEGV"),
        (-40, "was killed by signal 40"),
    ],
)
def test_an_end_is_described_in_words(code, words):
    assert describe_exit(code) == words


def test_the_pause_doubles_up_to_ten_seconds(clock):
    one = ManagedProcess("worker 1", refuse)

    pauses = [one.start_later() for _ in range(7)]

    assert pauses == [0.5, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(("up_s", "pause"), [(child.STEADY_S - 1, 1.0), (child.STEADY_S, 0.5)])
def test_the_pause_is_short_again_once_it_was_up_for_long(clock, up_s, pause):
    one = ManagedProcess("worker 1", refuse)
    one.start_later()

    one.mark_ready()
    clock(up_s)
    one.mark_ended(1)

    assert one.start_later() == pause


def test_it_is_due_after_its_pause(clock):
    one = ManagedProcess("worker 1", refuse)
    clock(100.0)

    one.start_later()

    assert one.due == 100.5


def test_a_child_that_is_stopped_while_it_waits_is_not_started_again():
    one = ManagedProcess("worker 1", refuse)
    one.start_later()

    one.stop(kill_at=1.0)

    assert one.due is None
    assert not one.is_stopping
