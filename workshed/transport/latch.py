"""A signal from one thread to others that no time limit can break."""

import threading
from collections import deque
from collections.abc import Callable


class Latch:
    """Opened once; who waits for it is called then.

    `threading.Event` is written in Python: a time limit that strikes a thread inside its `wait`
    leaves its lock taken, and the I/O thread would wait for that lock for ever, with all senders.
    """

    __slots__ = ("_calls", "is_open")

    def __init__(self) -> None:
        """Begin shut."""
        self.is_open = False
        self._calls: deque[Callable[[], None]] = deque()

    def open(self) -> None:
        """Let everybody pass, from now on."""
        self.is_open = True
        self._call()

    def then(self, call: Callable[[], None]) -> None:
        """Make a call once it is open: in the thread that opens it, or at once in this one."""
        self._calls.append(call)
        if self.is_open:
            self._call()

    def wait(self, timeout_s: float) -> bool:
        """Tell whether it is open, after at most `timeout_s`."""
        if not self.is_open:
            woken = threading.Lock()
            woken.acquire()
            self.then(woken.release)
            woken.acquire(timeout=min(max(timeout_s, 0.0), threading.TIMEOUT_MAX))
        return self.is_open

    def _call(self) -> None:
        while self._calls:
            try:
                call = self._calls.popleft()
            except IndexError:  # another thread took the last one
                return
            call()
