"""One child process of `workshed worker`: started, told to stop, started again after a pause."""

import contextlib
import functools
import os
import signal
import subprocess
import time

from workshed.parent import die_with_parent
from workshed.transport.errors import (
    EXIT_BROKER,
    EXIT_DATABASE,
    EXIT_HARD_DEADLINE,
    EXIT_USAGE,
    EXIT_WATCHDOG,
)
from workshed.transport.sidecars.relay_fork import FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S

# dramatiq leaves with 1 for a worker process that was killed, and for one that raised; one whose
# interpreter was held for too long leaves with 1 itself.
MEANINGS = {
    0: "ended by itself",
    1: "ended, because its worker process was killed or froze, or raised while it started",
    EXIT_USAGE: "cannot start with what it was given",
    EXIT_BROKER: "found no RabbitMQ",
    EXIT_DATABASE: "found no PostgreSQL",
    EXIT_WATCHDOG: "left because a thread of it died, or its I/O loop hung",
    EXIT_HARD_DEADLINE: "left because a job ran past its hard deadline",
}
SERVER_AWAY = frozenset({EXIT_BROKER, EXIT_DATABASE})
SIGNALS = {number.value: number.name for number in signal.Signals}


class ManagedProcess:
    """A command that is run in a session of its own, so that the terminal's Ctrl-C is ours alone.

    dramatiq's worker process takes a second SIGTERM as an order to cut its jobs; it would get one
    from the terminal, and one from us.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        beside: bool = False,
        alone: bool = False,
        asks_none: bool = False,
    ) -> None:
        """Start nothing. One `beside` the workers ends after them; one may ask no server at all.

        One that runs `alone` has what no second process can have, and ends before its successor
        starts.
        """
        self.name = name
        self.beside = beside
        self.alone = alone
        self.asks_none = asks_none
        self.due: float | None = None
        """When to start it, by the monotonic clock; `None`: it runs, or shall not run."""
        self.kill_at: float | None = None
        """When to kill it; set once it was told to stop."""
        self.failed_boots = 0
        """How often in a row it has ended before it was up, for reasons of its own."""
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at: float | None = None
        self._up_since: float | None = None
        self._pause_s = FIRST_PAUSE_S

    def __str__(self) -> str:
        """Name it for a log line."""
        return f"{self.name} (pid {self._process.pid})" if self._process else self.name

    @property
    def pid(self) -> int | None:
        """The process, from its start until `ended`."""
        return self._process.pid if self._process else None

    @property
    def told(self) -> bool:
        """Whether it was told to stop."""
        return self.kill_at is not None

    @property
    def is_up(self) -> bool:
        """Whether it has booted, and may go on."""
        return self._up_since is not None and not self.told

    @property
    def boots_for_s(self) -> float:
        """For how long it has been starting; 0 when it is up, or does not run."""
        if self._started_at is None or self._up_since is not None or self.told:
            return 0.0
        return time.monotonic() - self._started_at

    def successor(self) -> "ManagedProcess":
        """Return one that may take its place."""
        return ManagedProcess(
            self.name,
            self._command,
            beside=self.beside,
            alone=self.alone,
            asks_none=self.asks_none,
        )

    def start(self, ready_fd: int) -> None:
        """Start it; it says on `ready_fd` when it is up.

        Raises `OSError` or `subprocess.SubprocessError`, with which nothing was started.
        """
        self.due = None
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            pass_fds=[ready_fd],
            start_new_session=True,
            preexec_fn=functools.partial(set_parent_death_signal, os.getpid()),  # noqa: PLW1509 -- we have one thread
        )
        self._started_at = time.monotonic()

    def came_up(self) -> None:
        """Take note that it has booted."""
        self._up_since = time.monotonic()
        self.failed_boots = 0

    def stop(self, kill_at: float) -> None:
        """Tell it to stop, once; one that is not running is not started again."""
        self.due = None
        if self._process and not self.told:
            self.kill_at = kill_at
            # Not `terminate`, which buries a child that has just ended before we see its code.
            os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with the processes it has started."""
        self.kill_at = float("inf")
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def ended(self, code: int) -> None:
        """Take note that it has ended, with its exit code or the negative number of a signal."""
        if self._process:
            self._process.returncode = code
        if self._up_since is None:
            # With a server away no process of any release comes up.
            self.failed_boots += not (self.told or code in SERVER_AWAY)
        elif time.monotonic() - self._up_since >= STEADY_S:
            self._pause_s = FIRST_PAUSE_S
        self._process = self._started_at = self._up_since = self.kill_at = None

    def start_soon(self) -> None:
        """Have it started now, unless it runs."""
        if self._process is None:
            self.due = time.monotonic()

    def start_later(self) -> float:
        """Have it started after a pause, which doubles until it was up for 30 s; in seconds."""
        pause = self._pause_s
        self._pause_s = min(pause * 2, LONGEST_PAUSE_S)
        self.due = time.monotonic() + pause
        return pause


def set_parent_death_signal(parent: int) -> None:
    """Tie this process, which is to become another program, to the life of its parent."""
    # The handler it has from the parent does nothing; the signal has to end it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(parent)


def in_words(code: int) -> str:
    """Say how a process ended, by its exit code or the negative number of a signal."""
    if code < 0:
        return f"was killed by {SIGNALS.get(-code, f'signal {-code}')}"
    return f"{MEANINGS.get(code, 'left')} ({code})"
