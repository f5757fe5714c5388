"""What each part of the demo is to the person who shows it."""

from collections.abc import Iterable
from typing import Protocol

from workshed.db import Connection


class DemoScenario(Protocol):
    """Something that was begun, and of which more is seen with each look."""

    @property
    def title(self) -> str:
        """Say what it is."""

    @property
    def bar(self) -> tuple[str, int, int]:
        """Name what is counted, how many there are by now, and how many there will be."""

    @property
    def missing(self) -> list[str]:
        """Name what is expected and was not seen yet."""

    def look(self, conn: Connection) -> None:
        """Look once."""

    def stories(self) -> Iterable[str]:
        """Say in lines what has become of it."""
