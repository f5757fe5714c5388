"""Interrupts: exceptions that one thread raises in another, and code that defers them."""

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple


class RepairedLock:
    """A lock that a thread can take again if an interrupt left it locked.

    Python 3.14 can raise an interrupt between the call of `__enter__` and the block of a `with`
    (172 of 3 000 interrupts of a thread that only locked), so `__exit__` is never called. The
    next `with` of the same thread releases the lock as often as the thread holds it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Take the lock; wait only for other threads."""
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        """Release the lock as often as this thread holds it."""
        while self._lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 -- as `threading.Condition` does
            self._lock.release()


def create_repaired_lock() -> AbstractContextManager[object]:
    """Return a lock that works for threads which an interrupt may hit while they take it."""
    return RepairedLock() if sys.version_info >= (3, 14) else threading.Lock()


class InterruptGate:
    """Defers interrupts of one thread until steps that belong together are done.

    CPython raises an interrupt between any two instructions, for example within a commit, or after
    a connection has left its pool and before the code that returns it.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.is_ignoring = False
        """Whether Python is reporting an error in this thread that it ignores."""
        self.raised_types: set[type[BaseException]] = set()
        """The interrupts that were raised in this thread."""
        self._lock = create_repaired_lock()
        self._is_open = True
        self._pending: type[BaseException] | None = None

    def interrupt(self, error: type[BaseException]) -> None:
        """Raise `error` in the thread: at its next instruction, or when the gate opens."""
        with self._lock:
            self.raised_types.add(error)
            if self.is_ignoring:  # this one would be ignored, too
                _notify_listeners(IgnoredInterrupt(self, error))
            elif self._is_open:
                raise_in_thread(self.thread, error)
            else:
                self._pending = error

    @contextmanager
    def defer(self) -> Generator[None]:
        """Defer interrupts until the end of the block."""
        before = self._is_open
        try:
            self._set_open(is_open=False)
            yield
        finally:
            self._set_open(is_open=before)

    @contextmanager
    def allow(self) -> Generator[None]:
        """Allow interrupts inside the block again, for code that may end anywhere."""
        before = self._is_open
        try:
            self._set_open(is_open=True)
            yield
        finally:
            self._set_open(is_open=before)

    def _set_open(self, *, is_open: bool) -> None:
        """Open or shut the gate; raise an interrupt that was deferred.

        An interrupt that came before this call is raised by CPython inside it.
        """
        with self._lock:
            self._is_open = is_open
            waiting = self._pending if is_open else None
            if is_open:
                self._pending = None
        if waiting is not None:
            raise waiting


class _Gates(threading.local):
    """The gate of each thread."""

    def __init__(self) -> None:
        self.gate = InterruptGate()


_gates = _Gates()


def thread_gate() -> InterruptGate:
    """Return the gate of this thread."""
    return _gates.gate


def raise_in_thread(thread: int, error: type[BaseException]) -> None:
    """Raise `error` in a thread, at its next instruction."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


class IgnoredInterrupt(NamedTuple):
    """An interrupt that Python ignored, and the gate of the thread in which it was raised."""

    gate: InterruptGate
    error: type[BaseException]


_listeners: list[Callable[[IgnoredInterrupt], None]] = []
_previous_hook: Callable[["sys.UnraisableHookArgs"], object] | None = None
"""What `sys.unraisablehook` was before."""

os.register_at_fork(after_in_child=_listeners.clear)


def add_ignored_listener(listener: Callable[[IgnoredInterrupt], None]) -> None:
    """Call `listener` whenever Python ignores an interrupt, in the thread of the interrupt.

    An interrupt can be raised in `__del__`, in a callback of a weak reference or of ctypes (and
    psycopg without its C extension has a `__del__` for each result). Python ignores it there, and
    the code that was to be interrupted continues. A listener must not wait for a lock, because the
    thread may hold any, and must not interrupt the thread before it has left the report.
    """
    global _previous_hook
    if _previous_hook is None:
        _previous_hook, sys.unraisablehook = sys.unraisablehook, _report_unraisable
    _listeners.append(listener)


def raise_later(error: type[BaseException]) -> None:
    """Let an interrupt be raised again in this thread, because the code around will ignore it."""
    _notify_listeners(IgnoredInterrupt(thread_gate(), error))


def _report_unraisable(args: "sys.UnraisableHookArgs", /) -> None:
    ignored = args.exc_type
    mine = thread_gate()
    try:
        mine.is_ignoring = True
        if _previous_hook is not None and ignored not in mine.raised_types:
            _previous_hook(args)
    except BaseException as err:  # noqa: BLE001 -- an interrupt of this report is ignored, too
        ignored = type(err)
    if ignored in mine.raised_types:
        _notify_listeners(IgnoredInterrupt(mine, ignored))
    mine.is_ignoring = False


def _notify_listeners(ignored: IgnoredInterrupt) -> None:
    for listener in _listeners:
        listener(ignored)
