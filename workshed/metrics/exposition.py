"""Answer `/metrics` over HTTP, on the first port that is free."""

import errno
import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from workshed.metrics import folders, meter, remains
from workshed.settings import Settings

logger = logging.getLogger(__name__)

PORTS = 16
"""How many are tried, the first included."""
SILENT_S = 10.0
"""For how long a client may say nothing before it is hung up on."""
TRIES = 3

# Files are put together meanwhile, and would be counted twice.
_one_at_a_time = threading.Lock()

Source = Callable[[], Any]
"""Returns what is to be shown, as a registry of `prometheus_client`."""


class Page(BaseHTTPRequestHandler):
    """One request; there is one page."""

    timeout = SILENT_S
    server_version = "workshed"
    sys_version = ""
    source: ClassVar[Source]

    def do_GET(self) -> None:
        """Answer with the numbers of now."""
        if urlsplit(self.path).path != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, b"there is only /metrics\n")
            return
        encode, kind = choose_encoder(self.headers.get("Accept", ""))
        try:
            body = encode(read(type(self).source))
        except Exception:
            logger.exception("the metrics cannot be read")
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"the metrics cannot be read\n")
        else:
            self._answer(HTTPStatus.OK, body, kind)

    do_HEAD = do_GET  # noqa: N815 -- the name that `http.server` calls

    def refuse(self) -> None:
        """Refuse any other method."""
        self.close_connection = True  # a body that nobody has read may follow
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse  # noqa: N815 -- likewise

    def _answer(
        self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- as its base has it
        """Say nothing: a scrape is no news."""


class Server(ThreadingHTTPServer):
    """Answers on one address; a client that says nothing holds nobody up."""

    daemon_threads = True

    def __init__(self, host: str, port: int, source: Source) -> None:
        """Bind; raises `OSError` when the port is taken."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        page = type("OurPage", (Page,), {"source": staticmethod(source)})
        super().__init__((host, port), page)

    def server_bind(self) -> None:
        """Bind, and look no name up, which can take as long as a name server is away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 -- its base has it
        """Let a client that hung up be no news."""
        logger.debug("a scrape of %s ended early", client_address)


def serve(config: Settings, source: Source) -> Server | None:
    """Bind the first port that is free, and say which; `None`, and why, where none is."""
    host, first = config.metrics_host, config.metrics_port
    last = min(first + PORTS - 1, 65_535)
    for port in range(first, last + 1):
        try:
            server = Server(host, port, source)
        except OSError as err:
            if err.errno != errno.EADDRINUSE:
                logger.warning("no metrics: cannot listen on %s port %d: %s", host, port, err)
                return None
        else:
            shown = f"[{host}]" if ":" in host else host
            logger.info("metrics are at http://%s:%d/metrics", shown, port)
            return server
    logger.warning("no metrics: ports %d to %d of %s are taken", first, last, host)
    return None


def in_thread(config: Settings, source: Source) -> Server | None:
    """Answer in a thread, until `shutdown` of what it returns; `None` where no port is free."""
    server = serve(config, source)
    if server is not None:
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def own() -> Any:
    """Return what this process has told, and the application's own metrics in it."""
    meter.library()
    return REGISTRY


def shared(folder: Path) -> CollectorRegistry:
    """Return what all processes of a folder have told."""
    folders.bury(folder)
    remains.add_up(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry


def read(source: Source) -> Any:
    """Collect now, once more where a file had just been made and was still empty."""
    with _one_at_a_time:
        for _ in range(TRIES - 1):
            try:
                return Collected(list(source().collect()))
            except Exception:  # noqa: BLE001 -- the last try says what it was
                threading.Event().wait(0.01)
        return Collected(list(source().collect()))


class Collected:
    """What was collected, for an encoder."""

    def __init__(self, metrics: list[Any]) -> None:
        """Keep it."""
        self._metrics = metrics

    def collect(self) -> list[Any]:
        """Return it."""
        return self._metrics
