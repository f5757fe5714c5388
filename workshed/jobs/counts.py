"""What happened in this process, counted since its start: the source of metrics."""

import os
import threading
from collections import Counter
from typing import Literal

Event = Literal["absorbed", "discarded", "ran_without_lock"]

_counts: Counter[tuple[Event, str]] = Counter()
_lock = threading.Lock()


def add(event: Event, actor: str) -> None:
    """Count one more."""
    with _lock:
        _counts[event, actor] += 1


def read() -> dict[tuple[Event, str], int]:
    """Return how often each event happened to each actor."""
    with _lock:
        return dict(_counts)


def _start_anew() -> None:
    global _lock  # noqa: PLW0603 -- another thread of the parent may have held it in the fork
    _lock = threading.Lock()
    _counts.clear()


os.register_at_fork(after_in_child=_start_anew)
