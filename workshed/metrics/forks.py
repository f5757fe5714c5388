"""Locks of metrics in a process that forks."""

import os
import threading

_locks: list[threading.Lock] = []
"""In the order in which threads take them; a fork that took them in another one could wait for a
thread that waits for the fork."""


def lock_during_fork(lock: threading.Lock, *, is_outer: bool = False) -> None:
    """Fork only while no thread holds a lock, because in the child no thread would release it.

    A thread may take other locks while it holds an outer one, and none while it holds another.
    """
    if is_outer:
        _locks.insert(0, lock)
    else:
        _locks.append(lock)


def _acquire_all() -> None:
    for lock in _locks:
        lock.acquire()


def _release_all() -> None:
    for lock in _locks:
        lock.release()


os.register_at_fork(before=_acquire_all, after_in_parent=_release_all, after_in_child=_release_all)
