"""A thread that repeats its work until it is stopped."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass
from typing import Any

from workshed.backoff import jittered_backoff_s

logger = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class BackgroundThread:
    """A daemon thread that works in rounds until it is stopped; it survives errors."""

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
    is_work_left: Callable[[], object] = lambda: False
    """Whether another round follows `stop`, unless the last one failed after it."""

    def __post_init__(self) -> None:
        """Prepare the thread, which `start` starts."""
        self.failures = 0
        """Errors since the last round that succeeded."""
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether this process has the thread; a forked child does not."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """Whether it has been stopped."""
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
        while not self.is_stopping or self.is_work_left():
            try:
                with self._open_arguments() as arguments:
                    while not self.is_stopping or self.is_work_left():
                        pause_s = self.work(*arguments)
                        self.failures = 0
                        if not self.is_stopping:
                            self._wake.wait(self.every_s if pause_s is None else pause_s)
                            self._wake.clear()
            except Exception as err:  # noqa: BLE001 -- it tries again after any error
                is_last, limits_s = self.is_stopping, self.retry_s or (self.every_s, self.every_s)
                retry_in_s = jittered_backoff_s(self.failures, *limits_s)
                self.failures += 1
                (self.report or self.log_error)(err, retry_in_s)
                if is_last:
                    break
                self._stopping.wait(retry_in_s)

    def _open_arguments(self) -> AbstractContextManager[tuple[Any, ...]]:
        """Return what `work` gets in each round, until it fails."""
        return nullcontext(())

    def log_error(self, error: Exception, pause_s: float) -> None:
        """Log an error of a round."""
        logger.error("%s: failed; trying again in %.2g s", self.name, pause_s, exc_info=error)
