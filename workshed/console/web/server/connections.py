"""The open connections of a server, of which there is a limit."""

from collections import Counter
from typing import Protocol


class OpenConnection(Protocol):
    """A connection that can be closed at once."""

    def drop(self) -> None:
        """Close it without an answer."""


class ConnectionTable:
    """The open connections, at most so many in all and of one client.

    When there is no room for another, the connection that has waited longest for its client is
    closed: for a request, or until an answer is read. So neither half-sent requests nor clients
    that do not read keep out others, not even those of the same address.
    """

    def __init__(self, most: int, most_per_client: int) -> None:
        self._most = most
        self._most_per_client = most_per_client
        self._clients: dict[OpenConnection, str | None] = {}
        self._counts: Counter[str] = Counter()
        self._waiting: dict[OpenConnection, None] = {}
        """Those that wait for their client to send or to read; the longest wait is first."""

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._clients)

    def add(self, connection: OpenConnection, client: str | None) -> bool:
        """Add a connection; `False` if there is no room. `client`: `None` has no limit of its own.

        The caller then says by `set_waiting` when it waits for its client.
        """
        if client is not None and self._counts[client] >= self._most_per_client:
            has_room = self._drop_longest_waiting(client)
        else:
            has_room = len(self) < self._most or self._drop_longest_waiting(None)
        if has_room:
            self._clients[connection] = client
            if client is not None:
                self._counts[client] += 1
        return has_room

    def set_waiting(self, connection: OpenConnection, *, is_waiting: bool) -> None:
        """Record whether a connection waits for its client, or for the application."""
        if not is_waiting:
            self._waiting.pop(connection, None)
        elif connection in self._clients:
            self._waiting[connection] = None

    def remove(self, connection: OpenConnection) -> None:
        """Remove a connection that is closed; does nothing for one that is not in the table."""
        self._waiting.pop(connection, None)
        client = self._clients.pop(connection, None)
        if client is not None:
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]

    def _drop_longest_waiting(self, client: str | None) -> bool:
        """Close the connection that has waited longest, of this client or of any."""
        for connection in self._waiting:
            if client is None or self._clients[connection] == client:
                self.remove(connection)
                connection.drop()
                return True
        return False
