"""A fake Sentry that accepts envelopes and keeps their contents."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler

from tests.loopback import Loopback


class Ingest(Loopback):
    """Listens at `dsn`; `of("event")` returns the items of a type, `received` all of them."""

    def __init__(self):
        self.received = b""
        self.items = []
        ingest = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                ingest.take(str(self.headers).encode() + self.path.encode() + body, body)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self._lock = threading.Lock()
        super().__init__(Handler)
        self.dsn = f"http://public@{self.address}/1"

    def take(self, everything, body):
        """Split an envelope: a line of headers, then a line and a payload for each item."""
        with self._lock:
            self.received += everything
            _, _, rest = body.partition(b"\n")
            while rest.strip():
                line, _, rest = rest.partition(b"\n")
                header = json.loads(line)
                payload, rest = rest[: header["length"]], rest[header["length"] + 1 :]
                self.items.append((header["type"], json.loads(payload)))

    def of(self, kind):
        """Return the items of a type, in the order of arrival."""
        with self._lock:
            return [payload for found, payload in self.items if found == kind]
