"""What a run says: how far it is, failures by name at once, and of each only what can be read."""

import time

import pytest

EVERY_S = 20
"""Seconds between two lines; a terminal and a log of CI can both be followed by them."""

MEASURED_S = {
    "/e2e/": 8.0,
    "/faults/": 12.0,
    "/integration/brokers/": 1.2,
    "/integration/": 0.5,
}
"""Seconds that a test of such a folder takes on average; in others they take next to nothing.

Half of the tests take a hundredth of the time: by their number a run would seem done at its half.
"""

OTHER_S = 0.05

KNOWN_FROM = 0.02
"""The part of a run that has to be done before it says anything about the rest."""


SHOWN_LINES = 100
"""Of what a failed test has printed or logged, from its begin and from its end.

Something that failed again and again has once filled a report of 36 MB.
"""

SHOWN_CHARACTERS = 200
"""On average for each of these lines."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Shorten what a test has printed and logged, in the process that ran it."""
    report = yield
    report.sections = [(name, shortened(text)) for name, text in report.sections]
    return report


def shortened(text):
    """The begin and the end of a text, and how much is left out between them."""
    lines = text.splitlines(keepends=True)
    if (left := len(lines) - 2 * SHOWN_LINES) > 0:
        lines[SHOWN_LINES:-SHOWN_LINES] = [f"[… {left} lines are left out …]\n"]
    text, half = "".join(lines), SHOWN_LINES * SHOWN_CHARACTERS
    if (left := len(text) - 2 * half) > 0:
        text = f"{text[:half]}\n[… {left} characters are left out …]\n{text[-half:]}"
    return text


def pytest_configure(config):
    """Report from the process that has the terminal."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config), "workshed-progress")


def weight(nodeid):
    """Seconds that a test takes on average, by its folder."""
    return next((s for folder, s in MEASURED_S.items() if folder in nodeid), OTHER_S)


def minutes(seconds):
    """`about 7 min`, or `less than a minute`."""
    return f"about {round(seconds / 60)} min" if seconds >= 60 else "less than a minute"


class Progress:
    """Writes a line each 20 s: tests done and failed, the time gone and about the time left."""

    def __init__(self, config):
        """Begin to count."""
        self.config = config
        self.began = self.last = time.monotonic()
        self.total_s = self.done_s = 0.0
        self.total = self.done = self.failed = 0

    def pytest_collection_finish(self, session):
        """Take the tests of a run without pytest-xdist."""
        if session.items:
            self._take(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        """Take the tests of a run by several processes; each collects all of them."""
        self._take(ids)

    def _take(self, ids):
        ids = list(ids)
        self.total, self.total_s = len(ids), sum(map(weight, ids))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        """Count a test; name it at once if it failed."""
        if report.failed:
            self.failed += 1
            self._write(f"FAILED {report.nodeid} ({report.when})")
        if report.when == "teardown":
            self.done += 1
            self.done_s += weight(report.nodeid)
            if time.monotonic() - self.last > EVERY_S:
                self._write(self.line())

    def line(self):
        """`1204 of 7381 tests, 1 failed; about 3 min gone, about 7 min left`."""
        gone = time.monotonic() - self.began
        counted = f"{self.done} of {self.total} tests, {self.failed} failed; {minutes(gone)} gone"
        if self.done_s < self.total_s * KNOWN_FROM:
            return counted
        left = gone * (self.total_s - self.done_s) / self.done_s
        return f"{counted}, {minutes(left)} left"

    def _write(self, line):
        self.last = time.monotonic()
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal:
            terminal.write(f"\n{line}\n")  # a line of dots has no end yet
