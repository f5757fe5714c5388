"""PostgreSQL's clock and Python's, moved together."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from workshed.database.postgres import database_now
from workshed.db import Connection
from workshed.testing.errors import KitError

try:
    import time_machine
except ModuleNotFoundError:  # the extra `test`
    time_machine = None  # type: ignore[assignment]


class KitClock:
    """The time of one test. Both clocks are correct until they are moved, and after the test."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._travel: Any = None
        self._coordinates: Any = None

    def advance(self, span: timedelta) -> None:
        """Move both clocks forward; they keep ticking, unless they were stopped."""
        if span < timedelta():
            raise ValueError(f"the clock cannot go back: {span}")
        if self._travel is None:
            self._travel_to(datetime.now(UTC), tick=True)
        self._coordinates.shift(span)
        query = (
            "UPDATE workshed.clock SET shift = shift + %(span)s, stopped_at = stopped_at + %(span)s"
        )
        self._conn.execute(query, {"span": span})

    def stop(self) -> datetime:
        """Stop both clocks at the next whole second; return it.

        The next one, so that what was due is still due.
        """
        instant = math.ceil(database_now(self._conn).timestamp())
        stopped = datetime.fromtimestamp(instant, UTC)
        self.stop_at(stopped)
        return stopped

    def stop_at(self, instant: datetime) -> None:
        """Stop both clocks at a time, which may be in the past."""
        self._travel_to(instant, tick=False)
        self._conn.execute("UPDATE workshed.clock SET stopped_at = %s", (instant,))

    def reset(self) -> None:
        """Set both clocks to the real time."""
        if self._travel is not None:
            self._travel.stop()
            self._travel = self._coordinates = None
            self._conn.execute("UPDATE workshed.clock SET shift = '0', stopped_at = NULL")

    def _travel_to(self, to: datetime, *, tick: bool) -> None:
        if time_machine is None:
            raise KitError(
                "Python's clock is moved by time-machine, which is not installed: "
                "pip install 'workshed[test]'"
            )
        if self._travel is not None:
            self._travel.stop()
        self._travel = time_machine.travel(to, tick=tick)
        self._coordinates = self._travel.start()
