"""A signal from one thread to others that no time limit can break."""

import threading
from collections import deque
from collections.abc import Callable


class Latch:
    """Opens once, and then calls or wakes everything that waits for it.

    `threading.Event` is written in Python. A time limit that strikes a thread inside its `wait`
    leaves its lock taken, and the I/O thread, with all senders, would wait for that lock forever.
    """

    __slots__ = ("_callbacks", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._callbacks: deque[Callable[[], None]] = deque()

    def open(self) -> None:
        """Open it for good, and make the calls that wait for it."""
        self.is_open = True
        self._run_callbacks()

    def add_callback(self, call: Callable[[], None]) -> None:
        """Make a call once it is open: in the thread that opens it, or now in this one."""
        self._callbacks.append(call)
        if self.is_open:
            self._run_callbacks()

    def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s`; return whether it is open."""
        if not self.is_open:
            woken = threading.Lock()
            woken.acquire()
            self.add_callback(woken.release)
            woken.acquire(timeout=min(max(timeout_s, 0.0), threading.TIMEOUT_MAX))
        return self.is_open

    def _run_callbacks(self) -> None:
        while self._callbacks:
            try:
                call = self._callbacks.popleft()
            except IndexError:  # another thread took the last one
                return
            call()
