"""Report this relay's status to the process that serves the probes."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from workshed.health import status
from workshed.health.status import ProcessStatus, StatusFile


class RelayStatusReporter:
    """A thread that reports every second when the relay's own loop last turned."""

    def __init__(self, folder: Path | None, pulse: Callable[[], ProcessStatus]) -> None:
        """Prepare the thread; without a folder, this relay serves its own probes."""
        self._folder = folder
        self._read_status = pulse
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread if there is a folder."""
        if self._folder is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reporting, because this process ends."""
        self._stop_event.set()

    def _run(self) -> None:
        if self._folder is not None:
            telling = StatusFile(self._folder)
            begun = False
            while not self._stop_event.is_set():
                pulse = self._read_status()
                # Until it has connected it is not reported: while it is replaced, another one runs.
                begun = begun or not pulse.problems
                if begun:
                    telling(pulse)
                self._stop_event.wait(status.EVERY_S)
