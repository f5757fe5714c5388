"""Test servers that listen on loopback and answer in threads."""

import threading
from http.server import ThreadingHTTPServer
from typing import Self


class Loopback:
    """Serves a handler's answers for the duration of the block."""

    def __init__(self, handler):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
