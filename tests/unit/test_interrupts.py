"""Locks of threads that are interrupted as they take them."""

import threading

import pytest

from workshed import interrupts
from workshed.interrupts import RepairedLock, interrupt

STRIKES = 50


class StruckError(Exception):
    """What strikes."""


@pytest.mark.parametrize("make", [interrupts.lock, RepairedLock])
def test_a_thread_that_is_interrupted_as_it_locks_can_lock_again(make):
    """Python 3.14 leaves a `threading.Lock` locked, and the thread waits for itself for ever."""
    lock, struck, ready = make(), [], threading.Event()

    def work():
        for _ in range(STRIKES):
            try:
                ready.set()
                while True:
                    with lock:
                        pass
            except StruckError:
                with lock:
                    struck.append(1)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive() and len(struck) < STRIKES:
        if ready.wait(60):
            ready.clear()
            interrupt(thread.ident, StruckError)
            continue
        break

    thread.join(60)
    assert len(struck) == STRIKES
    with lock:
        pass


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

    first, second = threading.Thread(target=hold), threading.Thread(target=enter)
    first.start()
    assert inside.wait(60)
    second.start()
    leave.set()
    first.join(60)
    second.join(60)

    assert order == ["first", "second"]
