"""Locks of metrics in a process that forks."""

import os
import threading


def lock_during_fork(lock: threading.Lock) -> None:
    """Fork only while no thread holds a lock, because in the child no thread would release it."""
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )
