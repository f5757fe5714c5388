"""Say how this relay is, to the process that answers the probes of its master."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from workshed.health import status
from workshed.health.status import ProcessStatus, StatusFile


class RelayStatusReporter:
    """A thread that says every second when the relay's own loop has last turned."""

    def __init__(self, folder: Path | None, pulse: Callable[[], ProcessStatus]) -> None:
        """Start nothing; without a folder this relay answers for itself."""
        self._folder = folder
        self._pulse = pulse
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        if self._folder is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Say no more: this process ends."""
        self._over.set()

    def _run(self) -> None:
        if self._folder is not None:
            telling = StatusFile(self._folder)
            begun = False
            while not self._over.is_set():
                pulse = self._pulse()
                # One that has yet to connect is not missed: while it is replaced another is there.
                begun = begun or not pulse.troubles
                if begun:
                    telling(pulse)
                self._over.wait(status.EVERY_S)
