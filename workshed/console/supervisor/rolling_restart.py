"""Replace the children of `workshed worker`, one at a time."""

import logging
import time
from collections import deque

from workshed.console.supervisor.child import SERVER_AWAY, ChildRole, ManagedProcess, describe_exit

logger = logging.getLogger(__name__)

NO_OTHER_RESTARTED = "and no other process is replaced"
BOOT_TIMEOUT_S = 300.0
"""A child that is not up after this long is given up."""
FAILURE_PAUSE_S = 60.0
"""Pause after a successor did not come up, before a worker is replaced for its limits again."""


class RollingRestart:
    """Replaces one child at a time; the old one stops once its successor is up."""

    def __init__(self, children: list[ManagedProcess], kill_after_s: float) -> None:
        """Replace children in this list; one that does not stop is killed after `kill_after_s`."""
        self._children = children
        self._kill_after_s = kill_after_s
        self._pending: deque[ManagedProcess] = deque()
        self._old: ManagedProcess | None = None
        self._new: ManagedProcess | None = None
        self._is_superseded = False
        """All are to be replaced once more, after the successor that boots now."""
        self._paused_until = 0.0

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is being replaced or waits to be."""
        return self._old is None and not self._pending

    @property
    def _running(self) -> list[ManagedProcess]:
        return [child for child in self._children if child.pid and not child.is_stopping]

    def replace_all(self) -> None:
        """Replace all children, from the first on; start over if that is in progress."""
        self._pending = deque(self._running)
        self._is_superseded = self._new is not None

    def replace(self, child: ManagedProcess, reason: str) -> None:
        """Queue one child for replacement, and log why; not if that has just failed."""
        if self.is_idle and time.monotonic() >= self._paused_until:
            logger.info("%s %s", child, reason)
            self._pending.append(child)

    def cancel(self) -> None:
        """Replace nothing more; the caller stops the running children."""
        self._pending.clear()
        self._is_superseded = False
        self._old = self._new = None

    def step(self) -> None:
        """Replace the next child once all others are up; kill a successor that hangs."""
        if self._new is not None and self._new.boot_duration_s > BOOT_TIMEOUT_S:
            logger.error("%s is not up after %g s and is killed", self._new, BOOT_TIMEOUT_S)
            self._new.kill()
        if self._old is None and self._pending and self._may_replace(self._pending[0]):
            self._start_replacement(self._pending.popleft())

    def on_ready(self, child: ManagedProcess) -> None:
        """Stop the old child if this is its successor."""
        if child is self._new and self._old is not None:
            logger.info("%s is up; %s stops", child, self._old)
            self._old.stop(time.monotonic() + self._kill_after_s)

    def on_exit(self, child: ManagedProcess, code: int, name: str, *, was_stopped: bool) -> bool:
        """Return whether the end of a child belongs to a replacement, and was handled."""
        if self._old is None or self._new is None:
            return False
        if child is self._old:
            if not was_stopped:
                logger.error("%s %s; its successor is already starting", name, describe_exit(code))
            self._children.remove(child)
            self._old = self._new = None
            if child.role is ChildRole.PRELOAD:
                # Also those that were forked from it since the restart began.
                self._pending = deque(c for c in self._running if c.role is not ChildRole.PRELOAD)
            return True
        # While a server is down, no release comes up, so it is started again.
        if child is self._new and not self._old.is_stopping and code not in SERVER_AWAY:
            logger.error(
                "%s %s; %s keeps running, %s",
                name,
                describe_exit(code),
                self._old,
                NO_OTHER_RESTARTED,
            )
            self._abandon(child)
            return True
        return False

    def on_start_failed(self, child: ManagedProcess, err: Exception) -> bool:
        """Return whether this was a successor; then its predecessor goes on."""
        if child is not self._new:
            return False
        logger.error(
            "%s cannot start: %s; %s keeps running, %s",
            child.name,
            err,
            self._old,
            NO_OTHER_RESTARTED,
        )
        self._abandon(child)
        return True

    def _may_replace(self, child: ManagedProcess) -> bool:
        """Return whether a child may be replaced now: while no other is missing.

        Workers that cannot boot need a new process to fork from, however, to get new code.
        """
        if child.role is ChildRole.PRELOAD:
            return child.is_up
        return all(other.is_up for other in self._children)

    def _start_replacement(self, child: ManagedProcess) -> None:
        if child not in self._children:
            return  # it was already replaced
        logger.info("restarting %s", child)
        self._old = child
        self._new = child.successor()
        self._is_superseded = False
        self._new.due = time.monotonic()
        self._children.insert(self._children.index(child) + 1, self._new)

    def _abandon(self, child: ManagedProcess) -> None:
        self._children.remove(child)
        self._old = self._new = None
        if not self._is_superseded:
            self._pending.clear()
        self._is_superseded = False
        self._paused_until = time.monotonic() + FAILURE_PAUSE_S
