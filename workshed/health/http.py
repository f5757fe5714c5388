"""Serve a few pages over HTTP, on the first port that is free.

`http.server` would do, but it imports `ssl` and the packages for emails, which take two megabytes
of each process that has pages.
"""

import errno
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, cast

from workshed.settings import Settings

logger = logging.getLogger(__name__)

PORTS_TRIED = 16
"""How many ports are tried, including the first."""
CLIENT_TIMEOUT_S = 10.0
"""How long a client may take to send a request, and then to take the answer."""
MOST_BYTES = 16 * 1024
"""The longest request, with its headers."""
ENDS_OF_HEAD = (b"\r\n\r\n", b"\n\n")
REQUEST_WORDS = 3
"""Method, path and version."""


class PageAnswer(NamedTuple):
    """A response."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "text/plain; charset=utf-8"


PageHandler = Callable[[], PageAnswer]
"""Returns the response; does not raise."""
PageHandlers = Mapping[str, PageHandler]
"""Pages by path."""


class PageRequestHandler(socketserver.BaseRequestHandler):
    """One connection, for one request."""

    request: socket.socket

    def handle(self) -> None:
        """Answer a request; give up on a client that is too slow or has gone."""
        try:
            self._answer()
        except OSError as err:
            logger.debug("a request of %s ended early: %s", self.client_address, err)

    def _answer(self) -> None:
        head = self._read_head()
        if head is None:
            return
        words = head.split(b"\n", 1)[0].decode("latin-1").split()
        answer = self._find_answer(words)
        lines = [
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
            f"Content-Type: {answer.kind}",
            f"Content-Length: {len(answer.body)}",
            "Connection: close",
        ]
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            lines.append("Allow: GET, HEAD")
        sent = "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
        self.request.settimeout(CLIENT_TIMEOUT_S)
        self.request.sendall(sent if words[:1] == ["HEAD"] else sent + answer.body)

    def _read_head(self) -> bytes | None:
        """Return the request up to its body; `None` if the client sends no more.

        The time is limited for all of it, because a client may send a byte now and then.
        """
        head, until = b"", time.monotonic() + CLIENT_TIMEOUT_S
        while len(head) <= MOST_BYTES and not any(end in head for end in ENDS_OF_HEAD):
            self.request.settimeout(max(until - time.monotonic(), 0.001))
            part = self.request.recv(MOST_BYTES)
            if not part:
                return None
            head += part
        return head

    def _find_answer(self, words: list[str]) -> PageAnswer:
        """Return the page at this path, or an error that says what there is."""
        if len(words) != REQUEST_WORDS or not words[2].startswith("HTTP/"):
            return PageAnswer(b"this is not an HTTP request\n", HTTPStatus.BAD_REQUEST)
        method, path, _version = words
        if method not in ("GET", "HEAD"):
            return PageAnswer(b"only GET and HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED)
        pages = cast("PageServer", self.server).pages
        page = pages.get(path.partition("?")[0])
        if page is None:
            there = f"there is {', '.join(pages)}\n"
            return PageAnswer(there.encode(), HTTPStatus.NOT_FOUND)
        return page()


class PageServer(socketserver.ThreadingTCPServer):
    """Serves on one address; a silent client does not delay others."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, pages: PageHandlers) -> None:
        """Bind; raises `OSError` when the port is taken."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages = pages
        super().__init__((host, port), PageRequestHandler)

    def server_bind(self) -> None:
        """Bind without a name lookup, which blocks while the name server is unreachable."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()


def bind_server(config: Settings, pages: PageHandlers) -> PageServer | None:
    """Bind the first free port and log it; if none is free, log why and return `None`."""
    host, first = config.metrics_host, config.metrics_port
    last = min(first + PORTS_TRIED - 1, 65_535)
    missing = "no " + " and ".join(list_endpoints(pages))
    for port in range(first, last + 1):
        try:
            server = PageServer(host, port, pages)
        except OSError as err:
            if err.errno != errno.EADDRINUSE:
                logger.warning("%s: cannot listen on %s port %d: %s", missing, host, port, err)
                return None
        else:
            shown = f"[{host}]" if ":" in host else host
            for title, path in list_endpoints(pages).items():
                logger.info("%s are at http://%s:%d%s", title, shown, port, path)
            return server
    logger.warning("%s: ports %d to %d of %s are taken", missing, first, last, host)
    return None


def list_endpoints(pages: PageHandlers) -> dict[str, str]:
    """Return the paths of the known endpoints that are served, by title."""
    known = {"metrics": "/metrics", "probes": "/livez"}
    return {title: path for title, path in known.items() if path in pages}


def serve_in_thread(config: Settings, pages: PageHandlers) -> PageServer | None:
    """Serve in a thread, until you call `shutdown` on the result; `None` if no port is free."""
    server = bind_server(config, pages)
    if server is not None:
        threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()
    return server
