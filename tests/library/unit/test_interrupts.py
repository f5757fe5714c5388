"""Locks of threads that are interrupted while they take them."""

import queue
import threading

import pytest

from workshed import interrupts
from workshed.interrupts import RepairedLock, raise_in_thread

STRIKES = 200


class StruckError(Exception):
    """Interrupts the thread."""


@pytest.mark.parametrize("make", [interrupts.create_repaired_lock, RepairedLock])
def test_a_thread_that_is_interrupted_as_it_locks_can_lock_again(make):
    """Python 3.14 leaves a `threading.Lock` locked, and the thread waits for itself forever."""
    lock, struck, turns = make(), [], queue.SimpleQueue()

    def work():
        for number in range(STRIKES):
            try:
                turns.put(number)
                while True:
                    with lock:
                        pass
            except StruckError:
                with lock:
                    struck.append(number)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    for _ in range(STRIKES):
        turns.get(timeout=60)
        raise_in_thread(thread.ident, StruckError)
    thread.join(60)

    assert struck == list(range(STRIKES))
    assert is_free(lock)


def is_free(lock):
    """Return whether another thread can take it; a daemon, which does not block the exit."""
    taken = threading.Event()

    def take():
        with lock:
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken.wait(60)


def test_it_keeps_other_threads_out_until_its_holder_has_left():
    lock, inside, leave = RepairedLock(), threading.Event(), threading.Event()
    order = []

    def hold():
        lock.__enter__()  # interrupted before the block, so nothing releases it
        with lock:
            inside.set()
            leave.wait(60)
            order.append("first")

    def enter():
        with lock:
            order.append("second")

    first, second = (threading.Thread(target=each, daemon=True) for each in (hold, enter))
    first.start()
    assert inside.wait(60)
    second.start()
    leave.set()
    first.join(60)
    second.join(60)

    assert order == ["first", "second"]
