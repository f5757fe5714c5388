"""One child process of `workshed worker`: start it, stop it, restart it after a pause."""

import contextlib
import enum
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Self

from workshed.backoff import backoff_s
from workshed.errors import (
    EXIT_ACTORS_RAISED,
    EXIT_BROKER,
    EXIT_DATABASE,
    EXIT_HARD_DEADLINE,
    EXIT_USAGE,
    EXIT_WATCHDOG,
)
from workshed.transport.sidecars.supervisor import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    STEADY_S,
    child_environment,
)

EXIT_MEANINGS = {
    0: "ended by itself",
    EXIT_ACTORS_RAISED: "raised, or froze",
    EXIT_USAGE: "cannot start with these settings or arguments",
    EXIT_BROKER: "could not reach RabbitMQ",
    EXIT_DATABASE: "could not reach PostgreSQL",
    EXIT_WATCHDOG: "exited because one of its threads died, or its I/O loop hung",
    EXIT_HARD_DEADLINE: "exited because a job ran past its hard time limit",
}
SERVER_AWAY = frozenset({EXIT_BROKER, EXIT_DATABASE})
SIGNALS = {number.value: number.name for number in signal.Signals}


Launch = Callable[[int], int]
"""Starts a process that writes its pid to this file descriptor once it is up; returns the pid."""


class ChildRole(enum.Enum):
    """What a child process does, which decides when it is started and stopped."""

    PRELOAD = "preload"
    """It forks the workers, so it is started before them."""
    WORKER = "worker"
    SIDECAR = "sidecar"
    """It runs alongside the workers, and stops after them."""


class ManagedProcess:
    """A process in its own session, so that Ctrl-C reaches only the supervisor.

    On Linux it ends itself when the supervisor is killed.
    """

    def __init__(self, name: str, launch: Launch, role: ChildRole = ChildRole.WORKER) -> None:
        """Start nothing yet."""
        self.name = name
        self.role = role
        self.due: float | None = None
        """When to start it, by the monotonic clock; `None` if it runs, or must not run."""
        self.kill_at: float | None = None
        """When to kill it; set once it was sent SIGTERM."""
        self.failed_boots = 0
        """How many times in a row it exited before it was up, other than because of a server."""
        self.pid: int | None = None
        """The pid, from its start until `mark_ended`."""
        self._launch = launch
        self._started_at: float | None = None
        self._up_since: float | None = None
        self._restarts = 0

    def __str__(self) -> str:
        """Return its name for logs."""
        return f"{self.name} (pid {self.pid})" if self.pid else self.name

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self.kill_at is not None

    @property
    def is_up(self) -> bool:
        """Whether it has booted, and was not asked to stop."""
        return self._up_since is not None and not self.is_stopping

    @property
    def boot_duration_s(self) -> float:
        """How long it has been starting; 0 if it is up, or not running."""
        if self._started_at is None or self._up_since is not None or self.is_stopping:
            return 0.0
        return time.monotonic() - self._started_at

    def successor(self) -> Self:
        """Return a new child that can take its place."""
        return type(self)(self.name, self._launch, self.role)

    def start(self, ready_fd: int) -> None:
        """Start it; it writes to `ready_fd` when it is up.

        Raises `OSError` or `subprocess.SubprocessError` if it could not be started.
        """
        self.due = None
        self.pid = self._launch(ready_fd)
        self._started_at = time.monotonic()

    def mark_ready(self) -> None:
        """Record that it has booted."""
        self._up_since = time.monotonic()
        self.failed_boots = 0

    def stop(self, kill_at: float) -> None:
        """Send SIGTERM, once; a child that is not running is not started again."""
        self.due = None
        if self.pid and not self.is_stopping:
            self.kill_at = kill_at
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, and the processes it has started."""
        self.kill_at = float("inf")
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def mark_ended(self, code: int) -> None:
        """Record that it has ended, with its exit code or the negative number of a signal."""
        if self._up_since is None:
            # While a server is down, no release comes up, so this is not counted.
            self.failed_boots += not (self.is_stopping or code in SERVER_AWAY)
        elif time.monotonic() - self._up_since >= STEADY_S:
            self._restarts = 0
        self.pid = self._started_at = self._up_since = self.kill_at = None

    def start_soon(self) -> None:
        """Schedule its start now, unless it runs."""
        if self.pid is None:
            self.due = time.monotonic()

    def start_later(self) -> float:
        """Schedule its start after a pause, in seconds; it doubles until it was up for 30 s."""
        pause = backoff_s(self._restarts, FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._restarts += 1
        self.due = time.monotonic() + pause
        return pause


def spawn(command: Sequence[str], *inherited: int) -> int:
    """Start a command with these file descriptors, in a session of its own; return its pid.

    The caller reaps it.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=inherited,
        start_new_session=True,
        env=child_environment(),
    )
    process.returncode = 0  # otherwise `subprocess` might reap it first, and lose its exit code
    return process.pid


def describe_exit(code: int) -> str:
    """Describe how a process ended, by its exit code or the negative number of a signal."""
    if code < 0:
        return f"was killed by {SIGNALS.get(-code, f'signal {-code}')}"
    return f"{EXIT_MEANINGS.get(code, 'exited')} ({code})"
