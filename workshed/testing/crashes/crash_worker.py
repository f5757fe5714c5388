"""The death of a worker process in the middle of a job, where a test wants it."""

import functools
import os
import signal
from collections.abc import Callable

from workshed import db
from workshed.testing.database.connections import FailpointConnection
from workshed.testing.database.failpoints import Failpoints

Function = Callable[..., object]


class CrashingWorker(Failpoints):
    """Kills this process when the job comes to a place, or to its end."""

    def __init__(self, actor: str, place: str | None) -> None:
        """`None`: at the end of the actor's function, whether it returns or raises."""
        super().__init__()
        self._actor = actor
        self._place = place

    def around(self, function: Function) -> Function:
        """Let the places be those of this function, until the process has died."""

        @functools.wraps(function)
        def run(*args: object, **kwargs: object) -> object:
            FailpointConnection.points = self
            try:
                with self.watching():
                    return function(*args, **kwargs)
            finally:
                FailpointConnection.points = None
                if self._place is None:
                    self._die()

        return run

    def reach(self, place: str) -> None:
        """Note a place, and die if it is the one."""
        number = len(self.passed)
        super().reach(place)
        if self.passed[number:] == [self._place]:
            self._die()

    def _die(self) -> None:
        """Say that it has happened, and do it: no handler of this process sees it."""
        FailpointConnection.points = None
        with db.separate_transaction() as conn:
            conn.execute("DELETE FROM workshed.crashes WHERE actor = %s", (self._actor,))
        os.kill(os.getpid(), signal.SIGKILL)
