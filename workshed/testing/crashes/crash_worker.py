"""Kill a worker process in the middle of a job, at a place that a test chooses."""

import functools
import os
import signal
from collections.abc import Callable

from workshed import db
from workshed.testing.database.connections import FailpointConnection
from workshed.testing.database.failpoints import Failpoints

Function = Callable[..., object]


class CrashingWorker(Failpoints):
    """Kills this process when the job reaches a place, or its end."""

    def __init__(self, actor: str, place: str | None) -> None:
        """Set the place; `None`: the end of the actor's function, whether it returns or raises."""
        super().__init__()
        self._actor = actor
        self._failpoint = place

    def wrap(self, function: Function) -> Function:
        """Wrap the function, and watch its places until the process is killed."""

        @functools.wraps(function)
        def run(*args: object, **kwargs: object) -> object:
            FailpointConnection.failpoints = self
            try:
                with self.watch():
                    return function(*args, **kwargs)
            finally:
                FailpointConnection.failpoints = None
                if self._failpoint is None:
                    self._die()

        return run

    def reach(self, place: str) -> None:
        """Record a place, and kill the process if it is the chosen one."""
        number = len(self.names)
        super().reach(place)
        if self.names[number:] == [self._failpoint]:
            self._die()

    def _die(self) -> None:
        """Record the crash, then kill this process, so that none of its handlers runs."""
        FailpointConnection.failpoints = None
        with db.separate_transaction() as conn:
            conn.execute("DELETE FROM workshed.crashes WHERE actor = %s", (self._actor,))
        os.kill(os.getpid(), signal.SIGKILL)
