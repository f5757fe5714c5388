"""Interrupts that another thread raises in this one, and where they must wait."""

import ctypes
import sys
import threading
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager


class RepairedLock:
    """A lock that a thread may take again after an interrupt left it locked.

    Python 3.14 can raise an interrupt between the call of `__enter__` and the block of a `with`
    (172 of 3 000 interrupts of a thread that only locked), so `__exit__` is never called. The
    next `with` of the same thread releases the lock as often as the thread holds it.
    """

    def __init__(self) -> None:
        """Start unlocked."""
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Wait for other threads only."""
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        """Release it, including what an interrupted `with` has left."""
        while self._lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 -- as `threading.Condition` does
            self._lock.release()


def lock() -> AbstractContextManager[object]:
    """Return a lock for threads that may be interrupted as they take it."""
    return RepairedLock() if sys.version_info >= (3, 14) else threading.Lock()


class Gate:
    """Keeps interrupts of one thread out of steps that belong together.

    CPython raises an interrupt between any two instructions: between taking a connection from its
    pool and remembering to give it back, or in a commit.
    """

    def __init__(self) -> None:
        """Belong to the thread that makes it; open."""
        self.thread = threading.get_ident()
        self._lock = lock()
        self._is_open = True
        self._waiting: type[BaseException] | None = None

    def strike(self, error: type[BaseException]) -> None:
        """Let the thread raise `error` at its next instruction, or when the gate opens."""
        with self._lock:
            if self._is_open:
                interrupt(self.thread, error)
            else:
                self._waiting = error

    @contextmanager
    def shut(self) -> Generator[None]:
        """Let none strike inside the block, and the one that wanted to at its end."""
        before = self._is_open
        try:
            self._set(is_open=False)
            yield
        finally:
            self._set(is_open=before)

    @contextmanager
    def opened(self) -> Generator[None]:
        """Let them strike inside the block again: what runs there may be ended anywhere."""
        before = self._is_open
        try:
            self._set(is_open=True)
            yield
        finally:
            self._set(is_open=before)

    def _set(self, *, is_open: bool) -> None:
        """Open or shut; an interrupt from before is raised in here, where CPython calls."""
        with self._lock:
            self._is_open = is_open
            waiting = self._waiting if is_open else None
            if is_open:
                self._waiting = None
        if waiting is not None:
            raise waiting


class _Gates(threading.local):
    """The gate of each thread."""

    def __init__(self) -> None:
        self.mine = Gate()


_gates = _Gates()


def gate() -> Gate:
    """Return the gate of this thread."""
    return _gates.mine


def interrupt(thread: int, error: type[BaseException]) -> None:
    """Let a thread raise `error` at its next instruction."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
