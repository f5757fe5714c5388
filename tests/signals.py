"""Ctrl-C interrupts pytest once, however many SIGINTs arrive at the same time."""

import math
import signal
import time

AT_ONCE_S = 5
"""A terminal sends Ctrl-C to all processes of a run, and `python -m tests` also passes it on."""


class Interrupt:
    """Raises `KeyboardInterrupt`, and ignores repeats within `AT_ONCE_S`."""

    def __init__(self):
        """Start without a signal."""
        self._came_at = -math.inf

    def __call__(self, _number, _frame):
        """Handle a signal; a second one while the first is handled would print a traceback."""
        before, self._came_at = self._came_at, time.monotonic()
        if self._came_at - before > AT_ONCE_S:
            raise KeyboardInterrupt


def pytest_configure():
    """Install the handler, even if a shell started the tests in the background with SIGINT ignored.

    Programs that the tests start would inherit that and ignore it too.
    """
    signal.signal(signal.SIGINT, Interrupt())
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
