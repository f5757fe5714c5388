"""Build the server that `workshed console` runs."""

import resource
import socket

import uvicorn
from starlette.types import ASGIApp

from workshed.console.web.server.client_limit import ClientLimit
from workshed.console.web.server.clients import Proxies
from workshed.console.web.server.connections import ConnectionTable
from workshed.console.web.server.protocol import GuardedProtocol

MOST_CONNECTIONS = 1_000
"""Each takes some 30 KB, and up to 64 KiB of a body that the application has not read yet."""
MOST_PER_CLIENT = 200
"""Connections, or requests that a proxy forwards, of one address: an office may have only one."""
FILES_PER_CONNECTION = 2
"""Half of the files are for connections. The others are for those that asyncio has accepted or not
yet closed, and for servers: without a file, it could not accept any more."""
MOST_ACCEPTED = 64
FILES_PER_ACCEPTED = 16
"""asyncio accepts so many connections at once, and as many again, up to three times, before it has
read from the first. So another client cannot push out one whose request is here already."""
QUEUED = 1_024
"""Connections that the system keeps for us until they are accepted; later ones try again after a
second."""
STOP_S = 2
"""How long an event stream may take to end; browsers reconnect by themselves."""


class QueueingServer(uvicorn.Server):
    """A server whose clients may queue, although it accepts few of them at once."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; asyncio would use the number that it accepts at once for the queue, too."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(QUEUED)


def build_server(app: ASGIApp, proxies: Proxies) -> uvicorn.Server:
    """Return a server for the console, or any other application."""
    files = open_files_limit()
    table = ConnectionTable(min(MOST_CONNECTIONS, files // FILES_PER_CONNECTION), MOST_PER_CLIENT)
    of_this_server = {"table": table, "proxies": proxies}
    return QueueingServer(
        uvicorn.Config(
            ClientLimit(app, proxies, MOST_PER_CLIENT),
            http=type("ServerProtocol", (GuardedProtocol,), of_this_server),
            ws="none",  # it would take over the connection, with its deadlines
            backlog=min(MOST_ACCEPTED, files // FILES_PER_ACCEPTED),
            log_level="warning",
            proxy_headers=bool(proxies),
            forwarded_allow_ips=str(proxies),
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
        )
    )


def open_files_limit() -> int:
    """Return how many files this process may open; see `ulimit -n`."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS * FILES_PER_CONNECTION if limit == resource.RLIM_INFINITY else limit
