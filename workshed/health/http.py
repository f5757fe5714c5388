"""Serve a few pages over HTTP, on the first port that is free."""

import errno
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

from workshed.settings import Settings

logger = logging.getLogger(__name__)

PORTS_TRIED = 16
"""How many ports are tried, including the first."""
CLIENT_TIMEOUT_S = 10.0
"""How long a client may be silent before its connection is closed."""


class PageAnswer(NamedTuple):
    """A response."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "text/plain; charset=utf-8"


PageHandler = Callable[[str], PageAnswer]
"""Takes the request's `Accept` header and returns the response; does not raise."""
PageHandlers = Mapping[str, PageHandler]
"""Pages by path."""


class PageRequestHandler(BaseHTTPRequestHandler):
    """One request."""

    timeout = CLIENT_TIMEOUT_S
    server_version = "workshed"
    sys_version = ""
    pages: ClassVar[PageHandlers]

    def do_GET(self) -> None:
        """Serve the page at this path, or a 404 that lists the paths."""
        page = self.pages.get(urlsplit(self.path).path)
        if page is None:
            there = f"there is {', '.join(self.pages)}\n"
            self._answer(PageAnswer(there.encode(), HTTPStatus.NOT_FOUND))
        else:
            self._answer(page(self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815 -- the name that `http.server` calls

    def refuse(self) -> None:
        """Refuse any other method."""
        self.close_connection = True  # an unread body may follow
        self._answer(PageAnswer(b"only GET and HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse  # noqa: N815 -- likewise

    def _answer(self, answer: PageAnswer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- as its base has it
        """Log nothing: scrapes are routine."""


class PageServer(ThreadingHTTPServer):
    """Serves on one address; a silent client does not delay others."""

    daemon_threads = True

    def __init__(self, host: str, port: int, pages: PageHandlers) -> None:
        """Bind; raises `OSError` when the port is taken."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), type("OurRequest", (PageRequestHandler,), {"pages": pages}))

    def server_bind(self) -> None:
        """Bind without a name lookup, which blocks while the name server is unreachable."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- its base has it
        """Log a client that hung up at debug level only."""
        logger.debug("a request of %s ended early", client_address)


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
