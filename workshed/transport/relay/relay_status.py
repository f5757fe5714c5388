"""Report this relay's status to the process that serves the probes."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from workshed.health import status
from workshed.health.status import ProcessStatus, StatusFile
from workshed.threads.background import BackgroundThread


class RelayStatusReporter:
    """A thread that reports every second when the relay's own loop last turned."""

    def __init__(self, folder: Path | None, pulse: Callable[[], ProcessStatus]) -> None:
        """Prepare the thread; without a folder, this relay serves its own probes."""
        self._folder = folder
        self._read_status = pulse
        self._file: StatusFile | None = None
        self._thread = BackgroundThread("pulse", self._report, status.EVERY_S)

    def __enter__(self) -> Self:
        """Start the thread if there is a folder."""
        if self._folder is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reporting, because this process ends."""
        self._thread.stop()

    def _report(self) -> None:
        pulse = self._read_status()
        # Until it has connected it is not reported: while it is replaced, another one runs.
        if self._folder is not None and (self._file or not pulse.problems):
            self._file = self._file or StatusFile(self._folder)
            self._file(pulse)
