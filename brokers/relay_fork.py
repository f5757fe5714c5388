"""Run a relay beside the workers of every `dramatiq` master, and keep it running."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from dramatiq.middleware import Middleware

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0


class RelayFork(Middleware):
    """Ask the master for a fork that supervises a relay.

    dramatiq starts forks and never looks at them again, so what it forks is a supervisor.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        """Ask for none where it is not `wanted`: a relay runs elsewhere."""
        self._wanted = wanted

    @property
    def forks(self) -> list[Callable[[], int]]:
        """Fork once per master."""
        return [supervise] if self._wanted else []


def supervise() -> int:
    """Restart the relay whenever it dies; end it, and then itself, on SIGTERM."""
    supervisor = Supervisor()
    signal.signal(signal.SIGTERM, supervisor.leave)
    signal.signal(signal.SIGHUP, supervisor.leave)
    die_with_parent(os.getppid())
    return supervisor.run()


class Supervisor:
    """One child process that runs `python -m brokers.relay`."""

    def __init__(self) -> None:
        """Start nothing."""
        self._leaving = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def leave(self, _signal: int, _frame: FrameType | None) -> None:
        """Let the relay finish its window; a second signal changes nothing."""
        set_outside(self._leaving)
        if self._child is not None:
            self._child.terminate()

    def run(self) -> int:
        """Keep one relay running until told to leave; return its exit code."""
        pause = FIRST_PAUSE_S
        code = 0
        while not self._leaving.is_set():
            started = time.monotonic()
            code = self._run_once()
            if time.monotonic() - started > STEADY_S:
                pause = FIRST_PAUSE_S
            if not self._leaving.is_set():
                print(  # noqa: T201 -- a fork has no logging of ours, its stderr is the master's
                    f"the relay ended with code {code}; starting it again in {pause:g} s",
                    file=sys.stderr,
                    flush=True,
                )
                self._leaving.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
        return max(code, 0)

    def _run_once(self) -> int:
        # A fresh interpreter: the fork holds copies of its master's locks and buffers.
        command = [sys.executable, "-m", "brokers.relay", "--parent", str(os.getpid())]
        self._child = subprocess.Popen(command)  # noqa: S603 -- this file wrote all of it
        if self._leaving.is_set():  # the signal came before there was a child to pass it to
            self._child.terminate()
        return self._child.wait()


def set_outside(event: threading.Event) -> None:
    """Set an event from a signal handler, which may run while this thread waits for it.

    Inside `wait` the thread holds the event's lock for a moment, and would wait for itself.
    """
    threading.Thread(target=event.set, daemon=True).start()


def die_with_parent(parent: int) -> None:
    """End with SIGTERM when the parent dies, also by kill -9; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be watched
        os.kill(os.getpid(), signal.SIGTERM)
