"""Statements of several threads, executed as one statement where the threads meet."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from workshed.database.waits import database_waits

Item = TypeVar("Item")
Answer = TypeVar("Answer")

HOLD_S = 0.05
"""How long a call waits for the one before it; then its thread executes it by itself."""


class PendingCall(Generic[Item, Answer]):
    """A call of a thread, which sleeps until it has an answer, or has to execute the next group."""

    __slots__ = ("answer", "item", "leads", "wake")

    def __init__(self, item: Item) -> None:
        """Let the thread sleep until `wake` is released."""
        self.item = item
        self.answer: Answer | None = None
        self.leads = False
        self.wake = threading.Lock()
        self.wake.acquire()


class CallGroup(Generic[Item, Answer]):
    """Executes the calls that threads make while a group is under way as the next group.

    A thread that comes alone executes its call at once. The first of those that come meanwhile
    executes theirs, in its own thread, as soon as the group before has its answers. A commit, a
    round trip and what they cost then serve several jobs, and none of them waits for another to
    come.
    """

    def __init__(self, execute: Callable[[Sequence[Item]], Sequence[Answer]]) -> None:
        """Take a function that returns the answers in the order of the items, or raises."""
        self._execute = execute
        self._lock = threading.Lock()
        self._waiting: list[PendingCall[Item, Answer]] = []
        self._is_busy = False

    def call(self, item: Item) -> Answer | None:
        """Return the answer for an item; `None`: execute it alone.

        That is so if its group has failed, of which it may not be the reason, or if the group
        before takes so long that it would be held back. Whether a group that has failed has
        committed may be unknown.
        """
        call: PendingCall[Item, Answer] = PendingCall(item)
        with self._lock:
            if self._is_busy:
                self._waiting.append(call)
            else:
                self._is_busy = call.leads = True
        if call.leads:
            self._lead([call])
        else:
            self._wait(call)
        return call.answer

    def _wait(self, call: PendingCall[Item, Answer]) -> None:
        database_waits.add()
        if not call.wake.acquire(timeout=HOLD_S):
            with self._lock:
                if call in self._waiting:
                    self._waiting.remove(call)
                    return
            call.wake.acquire()
        if call.leads:
            with self._lock:
                group, self._waiting = [call, *self._waiting], []
            self._lead(group)

    def _lead(self, group: Sequence[PendingCall[Item, Answer]]) -> None:
        answers: Sequence[Answer | None] = [None] * len(group)
        try:
            # An error is left to the calls: each that is executed alone raises its own.
            with contextlib.suppress(Exception):
                answers = self._execute([call.item for call in group])
        finally:
            with self._lock:
                self._is_busy = bool(self._waiting)
                if self._waiting:
                    following = self._waiting.pop(0)
                    following.leads = True
                    following.wake.release()
            for call, answer in zip(group, answers, strict=True):
                call.answer = answer
                if call is not group[0]:
                    call.wake.release()
