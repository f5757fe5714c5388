"""Connections to checked addresses only, with a time limit for the whole exchange."""

import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore2
import httpx2


class ExchangeDeadline:
    """The deadline of an exchange; a limit per step would never end an answer that drips."""

    def __init__(self) -> None:
        """Create an expired deadline; `start` sets it."""
        self._at = 0.0

    def start(self, seconds: float) -> None:
        """Start an exchange that may take so long."""
        self._at = time.monotonic() + seconds

    def remaining(self, step: float | None) -> float:
        """Return how long a step may take; raises `httpcore2.ReadTimeout` after the deadline."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the exchange took too long")
        return left if step is None else min(step, left)


class PinnedStream(httpcore2.NetworkStream):
    """A connection whose steps all end by the deadline of the exchange."""

    def __init__(self, stream: httpcore2.NetworkStream, until: ExchangeDeadline) -> None:
        self._stream = stream
        self._deadline = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read available bytes."""
        return self._stream.read(max_bytes, self._deadline.remaining(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all bytes."""
        self._stream.write(buffer, self._deadline.remaining(timeout))

    def close(self) -> None:
        """Close it."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """Return the connection with TLS."""
        left = self._deadline.remaining(timeout)
        return PinnedStream(
            self._stream.start_tls(ssl_context, server_hostname, left), self._deadline
        )

    def get_extra_info(self, info: str) -> Any:
        """Return information that httpcore asks for."""
        return self._stream.get_extra_info(info)


class PinnedBackend(httpcore2.NetworkBackend):
    """Connects to the given addresses, and does not resolve names."""

    def __init__(self, addresses: Sequence[str], until: ExchangeDeadline) -> None:
        """Use the addresses in this order."""
        self._addresses = addresses
        self._deadline = until
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 -- the given addresses are used instead
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 -- part of httpcore's interface
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address that answers."""
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
        left = self._deadline.remaining(timeout)
        stream = self._backend.connect_tcp(address, port, left, socket_options=socket_options)
        return PinnedStream(stream, self._deadline)


class PinnedTransport(httpx2.HTTPTransport):
    """A transport without proxies from the environment, HTTP/2 and retries."""

    def __init__(
        self, addresses: Sequence[str], trust: ssl.SSLContext, until: ExchangeDeadline
    ) -> None:
        """Prepare the connection; the first request opens it."""
        super().__init__(verify=trust)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=trust,
            max_connections=1,
            network_backend=PinnedBackend(addresses, until),
        )
