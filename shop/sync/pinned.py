"""Connections that go to addresses which were judged, and end in time whatever the other does."""

import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore2
import httpx2


class Until:
    """When an exchange has to be over; a time limit for each step alone never ends a drip."""

    def __init__(self) -> None:
        """Be over until it is started."""
        self._at = 0.0

    def start(self, seconds: float) -> None:
        """Begin an exchange that may take so long."""
        self._at = time.monotonic() + seconds

    def left(self, step: float | None) -> float:
        """Return how long a step may take; raises `httpcore2.ReadTimeout` when none may."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the exchange took too long")
        return left if step is None else min(step, left)


class PinnedStream(httpcore2.NetworkStream):
    """A connection none of whose steps goes on after the end of the exchange."""

    def __init__(self, stream: httpcore2.NetworkStream, until: Until) -> None:
        """Go on with a connection that is open."""
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there."""
        return self._stream.read(max_bytes, self._until.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it."""
        self._stream.write(buffer, self._until.left(timeout))

    def close(self) -> None:
        """Close it."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """Encrypt what follows."""
        left = self._until.left(timeout)
        return PinnedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._until)

    def get_extra_info(self, info: str) -> Any:
        """Tell what httpcore asks."""
        return self._stream.get_extra_info(info)


class Backend(httpcore2.NetworkBackend):
    """Connects to given addresses, whatever a name leads to by now."""

    def __init__(self, addresses: Sequence[str], until: Until) -> None:
        """Take the addresses in this order."""
        self._addresses = addresses
        self._until = until
        self._plain = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 -- only who it is meant to be
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 -- as httpcore has it
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first that answers."""
        *others, last = self._addresses
        for address in others:
            try:
                return self._connect(address, port, timeout, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return self._connect(last, port, timeout, socket_options)

    def _connect(
        self,
        address: str,
        port: int,
        timeout: float | None,
        socket_options: Iterable[Any] | None,
    ) -> PinnedStream:
        left = self._until.left(timeout)
        stream = self._plain.connect_tcp(address, port, left, socket_options=socket_options)
        return PinnedStream(stream, self._until)


class Transport(httpx2.HTTPTransport):
    """What carries the requests of a client: no proxy of the environment, no HTTP/2, no retry."""

    def __init__(self, addresses: Sequence[str], trust: ssl.SSLContext, until: Until) -> None:
        """Connect with the first request."""
        super().__init__(verify=trust)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=trust,
            max_connections=1,
            network_backend=Backend(addresses, until),
        )
