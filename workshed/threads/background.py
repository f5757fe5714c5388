"""A thread that repeats its work until it is stopped."""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from weakref import WeakSet

from workshed.backoff import jittered_backoff_s

logger = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class BackgroundThread:
    """A daemon thread that works in rounds until it is stopped; it survives errors.

    A process that is forked meanwhile does not have it, and may start its own.
    """

    name: str
    work: Callable[..., float | None]
    """A round; it may return the pause before the next one, instead of `every_s`."""
    every_s: float
    _: KW_ONLY
    delay_s: float = 0.0
    """Pause before the first round."""
    retry_s: tuple[float, float] | None = None
    """The shortest and the longest pause after errors; by default `every_s`."""
    report: Callable[[Exception, float], None] | None = None
    """Logs an error; it gets the pause, too."""
    is_work_left: Callable[[], bool] = lambda: False
    """Whether a last round follows `stop`."""

    def __post_init__(self) -> None:
        """Prepare the thread, which `start` starts."""
        self._reset()
        _threads.add(self)

    def _reset(self) -> None:
        # Also after a fork, because another thread may have held the lock of an event.
        self.failures = 0
        """Errors since the last round that succeeded."""
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether this process has the thread."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether it has been stopped; a round that begins then is the last one."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Start the thread, unless it runs; also again, once it has ended."""
        if not self.is_running:
            self._stopping.clear()
            thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            thread.start()
            self._thread = thread

    def wake(self) -> None:
        """Begin the next round now, unless the last one failed."""
        self._wake.set()

    def stop(self, wait_s: float | None = 0.0) -> None:
        """Let the thread end, and wait for that: at most so long, or with `None` until it has."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None and wait_s != 0.0:  # the thread itself cannot wait
            self._thread.join(wait_s)

    def _run(self) -> None:
        self._stopping.wait(self.delay_s)
        while self._has_round():
            try:
                self._repeat_work()
                break
            except Exception as err:  # noqa: BLE001 -- it tries again after any error
                is_last, limits_s = self.is_stopping, self.retry_s or (self.every_s, self.every_s)
                pause_s = jittered_backoff_s(self.failures, *limits_s)
                self.failures += 1
                (self.report or self.log_error)(err, pause_s)
                if is_last:
                    break
                self._stopping.wait(pause_s)

    def _repeat_work(self) -> None:
        """Work until the thread is stopped."""
        self._repeat(self.work)

    def _repeat(self, work: Callable[[], float | None]) -> None:
        while self._has_round():
            is_last = self.is_stopping
            pause_s = work()
            self.failures = 0
            if is_last:
                break
            self._wake.wait(self.every_s if pause_s is None else pause_s)
            self._wake.clear()

    def _has_round(self) -> bool:
        return not self.is_stopping or self.is_work_left()

    def log_error(self, error: Exception, pause_s: float) -> None:
        """Log an error of a round."""
        text = "%s: failed; trying again in %.2g s"
        logger.error(text, self.name, pause_s, exc_info=error)


_threads: WeakSet[BackgroundThread] = WeakSet()


def _reset_after_fork() -> None:
    for thread in list(_threads):
        thread._reset()  # noqa: SLF001


os.register_at_fork(after_in_child=_reset_after_fork)
