"""The connection on which the kit itself reads and writes."""

from collections.abc import Callable
from typing import Any

from workshed.db import Connection


class CurrentConnection:
    """The kit's own connection, or that of the test's transaction while one is open.

    What is stored in a transaction that never commits can be seen only there.
    """

    def __init__(self, own: Connection, find_test_transaction: Callable[[], Any]) -> None:
        """Take the own connection, and what finds the other."""
        self._own = own
        self._find = find_test_transaction

    def __getattr__(self, name: str) -> Any:
        """Do as the connection of the moment does."""
        return getattr(self._find() or self._own, name)
