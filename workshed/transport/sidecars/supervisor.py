"""Keep a child process running from a fork of a `dramatiq` master."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

from workshed.backoff import backoff_s
from workshed.parent import die_with_parent

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0

logger = logging.getLogger(__name__)


class ChildSupervisor:
    """Keeps one child process running, which runs a module of Workshed."""

    def __init__(self, name: str, words: list[str]) -> None:
        """Take the child's name and `words`, the module and its arguments; start nothing.

        Without words there is no child, and it only waits for its end.
        """
        self._name = name
        self._argv = words
        self._stop_event = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def handle_signal(self, _signal: int, _frame: FrameType | None) -> None:
        """Handle a signal: let the child finish its work. A second signal changes nothing."""
        set_from_signal_handler(self._stop_event)
        if self._child is not None:
            self._child.terminate()

    def supervise(self) -> int:
        """Run until SIGTERM, or until the master dies."""
        signal.signal(signal.SIGTERM, self.handle_signal)
        signal.signal(signal.SIGHUP, self.handle_signal)
        die_with_parent()
        return self.run()

    def run(self) -> int:
        """Keep one child running until a signal arrives; return its exit code."""
        failures = code = 0
        if not self._argv:
            self._stop_event.wait()
        while not self._stop_event.is_set():
            started = time.monotonic()
            code = self._run_once()
            if time.monotonic() - started > STEADY_S:
                failures = 0
            if not self._stop_event.is_set():
                pause = backoff_s(failures, FIRST_PAUSE_S, LONGEST_PAUSE_S)
                logger.error(
                    "%s ended with code %d; starting it again in %g s", self._name, code, pause
                )
                self._stop_event.wait(pause)
                failures += 1
        return max(code, 0)

    def _run_once(self) -> int:
        # A fresh interpreter: the fork holds copies of its master's locks and buffers.
        command = [sys.executable, "-m", *self._argv, "--parent", str(os.getpid())]
        environment = child_environment()
        self._child = subprocess.Popen(command, env=environment)  # noqa: S603 -- this file wrote it
        if self._stop_event.is_set():  # the signal came before there was a child to pass it to
            self._child.terminate()
        return self._child.wait()


def child_environment() -> dict[str, str]:
    """Return the environment of a process of workers or of a relay.

    By default, glibc gives the threads of a process up to eight memory arenas per core, each with
    free memory of its own. Threads of Python take turns, so two are as fast. You can set another
    number.
    """
    return {"MALLOC_ARENA_MAX": "2", **os.environ}


def set_from_signal_handler(event: threading.Event) -> None:
    """Set an event from a signal handler, which may run while this thread waits for it.

    Inside `wait` the thread briefly holds the event's lock, so it would deadlock with itself.
    """
    threading.Thread(target=event.set, daemon=True).start()
