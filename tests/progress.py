"""What a run prints: its progress, failed tests at once, and shortened output for each."""

import time

import pytest

EVERY_S = 20
"""Seconds between two lines: readable in a terminal as well as in a CI log."""

MEASURED_S = {
    "/e2e/": 8.0,
    "/faults/": 12.0,
    "/integration/brokers/": 1.2,
    "/integration/": 0.5,
}
"""Average seconds of a test in such a folder; tests in other folders take almost no time.

Half of the tests take a hundredth of the time, so counting tests would misjudge the time left.
"""

OTHER_S = 0.05

KNOWN_FROM = 0.02
"""The fraction of a run that must be done before it estimates the time left."""


SHOWN_LINES = 100
"""Lines shown from the start and from the end of what a failed test printed or logged.

Repeated failures once produced a report of 36 MB.
"""

SHOWN_CHARACTERS = 200
"""Average per shown line."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Shorten what a test printed and logged, in the process that ran it."""
    report = yield
    report.sections = [(name, shortened(text)) for name, text in report.sections]
    return report


def shortened(text):
    """Return the start and the end of a text, and how much is left out between them."""
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
    """Return the average seconds that a test takes, by its folder."""
    return next((s for folder, s in MEASURED_S.items() if folder in nodeid), OTHER_S)


def minutes(seconds):
    """Return `about 7 min` or `less than a minute`."""
    return f"about {round(seconds / 60)} min" if seconds >= 60 else "less than a minute"


class Progress:
    """Writes a line every 20 s: tests done and failed, elapsed time and estimated time left."""

    def __init__(self, config):
        """Start counting."""
        self.config = config
        self.began = self.last = time.monotonic()
        self.total_s = self.done_s = 0.0
        self.total = self.done = self.failed = 0

    def pytest_collection_finish(self, session):
        """Store the tests of a run without pytest-xdist."""
        if session.items:
            self._take(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        """Store the tests of a run by several processes; each collects all of them."""
        self._take(ids)

    def _take(self, ids):
        ids = list(ids)
        self.total, self.total_s = len(ids), sum(map(weight, ids))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        """Count a test, and print its name at once if it failed."""
        if report.failed:
            self.failed += 1
            self._write(f"FAILED {report.nodeid} ({report.when})")
        if report.when == "teardown":
            self.done += 1
            self.done_s += weight(report.nodeid)
            if time.monotonic() - self.last > EVERY_S:
                self._write(self.line())

    def line(self):
        """Return `1204 of 7381 tests, 1 failed; about 3 min gone, about 7 min left`."""
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
            terminal.write(f"\n{line}\n")  # pytest's current line of dots is not finished
