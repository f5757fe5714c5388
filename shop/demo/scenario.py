"""The interface of each part of the demo, by which it is shown."""

from collections.abc import Iterable
from typing import Protocol

from workshed.db import Connection


class DemoScenario(Protocol):
    """A scenario that was started, and whose progress each look updates."""

    @property
    def title(self) -> str:
        """Say what it is."""

    @property
    def progress(self) -> tuple[str, int, int]:
        """The name of its progress bar, the current count, and the final count."""

    @property
    def pending(self) -> list[str]:
        """Name the expected events that were not seen yet."""

    def update(self, conn: Connection) -> None:
        """Look once, and update the progress."""

    def summary_lines(self) -> Iterable[str]:
        """Return lines that say what happened."""
