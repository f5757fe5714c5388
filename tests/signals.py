"""What ends a run: Ctrl-C interrupts pytest once, however often it comes at the same time."""

import math
import signal
import time

AT_ONCE_S = 5
"""A terminal sends Ctrl-C to all processes of a run, and `python -m tests` passes it on as well."""


class Interrupt:
    """Raises `KeyboardInterrupt`, but not where pytest is about to handle one."""

    def __init__(self):
        """Nothing has come yet."""
        self._came_at = -math.inf

    def __call__(self, _number, _frame):
        """Take a signal; a second one in the handling of the first would end in a traceback."""
        before, self._came_at = self._came_at, time.monotonic()
        if self._came_at - before > AT_ONCE_S:
            raise KeyboardInterrupt


def pytest_configure():
    """Take signals, also where a shell that runs the tests in the background has them ignored.

    What the tests start would not hear them either.
    """
    signal.signal(signal.SIGINT, Interrupt())
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
