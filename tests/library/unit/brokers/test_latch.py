"""The latch: opening it wakes all waiting threads and makes all calls."""

import threading

import pytest

from workshed.transport.latch import Latch


def test_a_wait_ends_after_its_timeout():
    latch = Latch()

    assert not latch.wait(0.01)
    assert not latch.wait(-1)


def test_a_waiting_thread_passes_once_it_is_open():
    latch = Latch()
    threading.Timer(0.05, latch.open).start()

    assert latch.wait(60)
    assert latch.wait(0)


def test_each_call_is_made_once_whether_added_before_or_after():
    latch, calls = Latch(), []

    latch.add_callback(lambda: calls.append("before"))
    latch.open()
    latch.add_callback(lambda: calls.append("after"))

    assert calls == ["before", "after"]


@pytest.mark.parametrize("timeout_s", [float("inf"), 1e12])
def test_forever_is_as_long_as_a_lock_can_wait(timeout_s):
    latch = Latch()
    threading.Timer(0.01, latch.open).start()

    assert latch.wait(timeout_s)
