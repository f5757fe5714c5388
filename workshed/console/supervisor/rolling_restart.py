"""Replace children of `workshed worker`, one after the other."""

import logging
import time
from collections import deque

from workshed.console.supervisor.child import SERVER_AWAY, ManagedProcess, in_words

logger = logging.getLogger(__name__)

ENDS = "and no other is restarted"
BOOT_S = 300.0
"""A child that was not up after so long will not be."""
REST_S = 60.0
"""Before a worker is replaced again by itself, where its successor did not come up."""


class RollingRestart:
    """One child at a time, which goes on until its successor is up.

    The one exception is a child that runs `alone`: its successor starts when it has ended.
    """

    def __init__(self, children: list[ManagedProcess], kill_after_s: float) -> None:
        """Replace in this list; one that was told to stop is killed after so long."""
        self._children = children
        self._kill_after_s = kill_after_s
        self._waiting: deque[ManagedProcess] = deque()
        self._old: ManagedProcess | None = None
        self._new: ManagedProcess | None = None
        self._rests_until = 0.0

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is being replaced, nor is to be."""
        return self._old is None and not self._waiting

    def replace_all(self) -> None:
        """Begin with the first, again if they are being replaced already."""
        self._waiting = deque(c for c in self._children if c.pid and not c.told)

    def replace(self, child: ManagedProcess, reason: str) -> None:
        """Let one be replaced in its turn, and say why; not when that has just failed."""
        if self.is_idle and time.monotonic() >= self._rests_until:
            logger.info("%s %s", child, reason)
            self._waiting.append(child)

    def cancel(self) -> None:
        """Replace nothing more; what runs is told to stop by others."""
        self._waiting.clear()
        self._old = self._new = None

    def turn(self) -> None:
        """Begin with the next one, once all others are up; give up a successor that hangs."""
        if self._new is not None and self._new.boots_for_s > BOOT_S:
            logger.error("%s is not up after %g s and is killed", self._new, BOOT_S)
            self._new.kill()
        if self._old is None and self._waiting and all(c.is_up for c in self._children):
            self._begin(self._waiting.popleft())

    def came_up(self, child: ManagedProcess) -> None:
        """Let the old one stop, when this is what it has waited for."""
        if child is self._new and self._old is not None:
            logger.info("%s is up; %s stops", child, self._old)
            self._stop(self._old)
        elif child is self._old:  # it runs alone, and is the new one by now
            self._old = None

    def ended(self, child: ManagedProcess, code: int, name: str, *, told: bool) -> bool:
        """Tell whether the end of a child was one of these two, and is dealt with."""
        if self._old is None or self._new is None:
            return False
        if child is self._old:
            if not told:
                logger.error("%s %s; its successor starts already", name, in_words(code))
            self._children.remove(child)
            self._old = self._new = None
            return True
        # With a server away no release comes up: it is started again.
        if child is self._new and not self._old.told and code not in SERVER_AWAY:
            logger.error("%s %s; %s goes on, %s", name, in_words(code), self._old, ENDS)
            self._give_up(child)
            return True
        return False

    def cannot_start(self, child: ManagedProcess, err: Exception) -> bool:
        """Tell whether this was a successor, whose predecessor goes on."""
        if child is not self._new:
            return False
        logger.error("%s cannot start: %s; %s goes on, %s", child.name, err, self._old, ENDS)
        self._give_up(child)
        return True

    def _begin(self, child: ManagedProcess) -> None:
        if child not in self._children:
            return  # it was replaced since
        logger.info("restarting %s", child)
        self._old = child
        if child.alone:
            self._stop(child)
            return
        self._new = child.successor()
        self._new.due = time.monotonic()
        self._children.insert(self._children.index(child) + 1, self._new)

    def _stop(self, child: ManagedProcess) -> None:
        child.stop(time.monotonic() + self._kill_after_s)

    def _give_up(self, child: ManagedProcess) -> None:
        self._children.remove(child)
        self._old = self._new = None
        self._waiting.clear()
        self._rests_until = time.monotonic() + REST_S
