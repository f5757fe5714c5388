"""Answer a few pages over HTTP, on the first port that is free."""

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

PORTS = 16
"""How many are tried, the first included."""
SILENT_S = 10.0
"""For how long a client may say nothing before it is hung up on."""


class PageAnswer(NamedTuple):
    """What is shown."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "text/plain; charset=utf-8"


Page = Callable[[str], PageAnswer]
"""Makes an answer to who accepts these types; does not raise."""
Pages = Mapping[str, Page]
"""By their paths."""


class Request(BaseHTTPRequestHandler):
    """One request."""

    timeout = SILENT_S
    server_version = "workshed"
    sys_version = ""
    pages: ClassVar[Pages]

    def do_GET(self) -> None:
        """Answer with what there is now."""
        page = self.pages.get(urlsplit(self.path).path)
        if page is None:
            there = f"there is {', '.join(self.pages)}\n"
            self._answer(PageAnswer(there.encode(), HTTPStatus.NOT_FOUND))
        else:
            self._answer(page(self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815 -- the name that `http.server` calls

    def refuse(self) -> None:
        """Refuse any other method."""
        self.close_connection = True  # a body that nobody has read may follow
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
        """Say nothing: a scrape is no news."""


class PageServer(ThreadingHTTPServer):
    """Answers on one address; a client that says nothing holds nobody up."""

    daemon_threads = True

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        """Bind; raises `OSError` when the port is taken."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), type("OurRequest", (Request,), {"pages": pages}))

    def server_bind(self) -> None:
        """Bind, and look no name up, which can take as long as a name server is away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- its base has it
        """Let a client that hung up be no news."""
        logger.debug("a request of %s ended early", client_address)


def serve_in_thread(config: Settings, pages: Pages) -> PageServer | None:
    """Bind the first port that is free, and say which; `None`, and why, where none is."""
    host, first = config.metrics_host, config.metrics_port
    last = min(first + PORTS - 1, 65_535)
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


def list_endpoints(pages: Pages) -> dict[str, str]:
    """Say what is shown, and where."""
    known = {"metrics": "/metrics", "probes": "/livez"}
    return {title: path for title, path in known.items() if path in pages}


def in_thread(config: Settings, pages: Pages) -> PageServer | None:
    """Answer in a thread, until `shutdown` of what it returns; `None` where no port is free."""
    server = serve_in_thread(config, pages)
    if server is not None:
        threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()
    return server
