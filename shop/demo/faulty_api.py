"""An API of records over HTTP that misbehaves on request: `python -m shop.demo.faulty_api 8123`.

    curl 127.0.0.1:8123/records
    curl 127.0.0.1:8123/misbehave --data '429:2 500 cut-json'

Each request for records takes the next requested fault from the queue. Once the queue is empty,
requests are answered correctly.
"""

import gzip
import json
import socket
import ssl
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

HOST = "127.0.0.1"
DRIP_S = 0.05
BOMB_BYTES = 64 << 20
CHUNK = 1 << 16
RST = struct.pack("ii", 1, 0)
"""A linger time of zero, so that closing a connection resets it."""

Json = dict[str, Any]


class FaultyApi:
    """Serves its records in a thread until the block ends."""

    def __init__(
        self,
        *,
        page: int = 100,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        """List `page` records per page; require `token`, if given."""
        self.records: dict[str, Json] = {}
        self.requests: list[str] = []
        """All requests in order, for example `GET /records`."""
        self.page_size = page
        self.token = token
        self.choose_fault: Callable[[], str | None] = lambda: None
        """Returns the fault for a request when the queue has none."""
        self.stopped = threading.Event()
        self._faults: deque[tuple[str, str]] = deque()
        self._lock = threading.Lock()
        self._server = FaultyApiServer((HOST, port), FaultyApiHandler)
        self._server.api = self
        if tls is not None:
            # The handshake is made in the thread of the connection, because it may fail.
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self.origin = f"{'http' if tls is None else 'https'}://{HOST}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True)

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End dripping answers, and stop."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def put(
        self,
        external_id: str,
        version: int = 1,
        *,
        name: str = "",
        data: Json | None = None,
        associations: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Add a record, or another version of it."""
        self.records[external_id] = {
            "id": external_id,
            "version": version,
            "name": name or f"Record {external_id}",
            "data": data or {},
            "associations": [{"kind": kind, "id": other} for kind, other in associations],
        }

    def queue_faults(self, *faults: str, at: str = "") -> None:
        """Queue these faults for the next requests whose path begins with `at`."""
        for fault in faults:
            if fault.partition(":")[0] not in FAULTS:
                raise ValueError(f"{fault!r}: one of {', '.join(sorted(FAULTS))}")
        with self._lock:
            self._faults.extend((fault, at) for fault in faults)

    @property
    def queued_faults(self) -> list[str]:
        """Faults that are still in the queue."""
        return [fault for fault, _ in self._faults]

    def next_fault(self, path: str) -> str | None:
        """Return the fault for a request; `None` for a correct answer."""
        with self._lock:
            self.requests.append(f"GET {path}")
            for place, (fault, at) in enumerate(self._faults):
                if path.startswith(at):
                    del self._faults[place]
                    return fault
            return self.choose_fault()

    def answer(self, path: str, cursor: str | None) -> Json | None:
        """Return a page, or a record; `None` if there is no such record."""
        if path != "/records":
            return self.records.get(unquote(path.removeprefix("/records/")))
        ids = sorted(self.records)
        left = [one for one in ids if cursor is None or one > cursor]
        here = left[: self.page_size]
        return {
            "items": [{"id": one, "version": self.records[one]["version"]} for one in here],
            "next": here[-1] if len(left) > len(here) else None,
            "total": len(ids),
        }


class FaultyApiServer(ThreadingHTTPServer):
    """A server that handlers can ask for its API."""

    api: FaultyApi
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Log nothing, because connections are meant to end badly here."""


class FaultyApiHandler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: FaultyApiServer

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer, or produce a fault."""
        parts = urlsplit(self.path)
        api = self.server.api
        shown = self.headers.get("Authorization", "").removeprefix("Bearer ")
        fault = api.next_fault(parts.path)
        if fault is not None:
            name, _, value = fault.partition(":")
            FAULTS[name](self, value)
        elif api.token not in (None, shown):
            self.reply(401)
        else:
            self.reply_json(self.correct_answer())

    def do_POST(self) -> None:
        """Queue the faults in the body."""
        words = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode().split()
        try:
            self.server.api.queue_faults(*words)
        except ValueError as err:
            self.reply(400, f"{err}\n".encode())
        else:
            self.reply(200, f"{' '.join(self.server.api.queued_faults)}\n".encode())

    def correct_answer(self) -> Json | None:
        """Return the correct answer."""
        return self.server.api.answer(urlsplit(self.path).path, self.cursor)

    @property
    def cursor(self) -> str | None:
        """Cursor of the requested page; `None` for the first page."""
        return parse_qs(urlsplit(self.path).query).get("cursor", [None])[0]

    def reply_json(self, answer: object) -> None:
        """Send JSON, with gzip if the client accepts it; 404 if there is no answer."""
        if answer is None:
            self.reply(404)
            return
        body = json.dumps(answer).encode()
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self.reply(200, gzip.compress(body, 1), {"Content-Encoding": "gzip"})
        else:
            self.reply(200, body)

    def reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send a complete answer."""
        self.send_response(status)
        kind = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in {**kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drip(self, text: bytes) -> None:
        """Send a byte every 0.05 s, as long as the client reads."""
        for number in range(1 << 30):
            if self.server.api.stopped.wait(DRIP_S):
                return
            self.wfile.write(text[number % len(text) :][:1])

    def close_after_reply(self) -> None:
        """Close the connection after this."""
        self.close_connection = True


def _status(status: int) -> Callable[[FaultyApiHandler, str], None]:
    return lambda handler, _: handler.reply(status)


def _changed(change: Callable[[Json], object]) -> Callable[[FaultyApiHandler, str], None]:
    """Answer with a changed copy of the correct answer."""

    def fault(handler: FaultyApiHandler, _: str) -> None:
        answer = json.loads(json.dumps(handler.correct_answer()))
        handler.reply_json(change(answer))

    return fault


def _text(
    text: bytes, headers: dict[str, str] | None = None
) -> Callable[[FaultyApiHandler, str], None]:
    return lambda handler, _: handler.reply(200, text, headers)


def _busy(handler: FaultyApiHandler, value: str) -> None:
    handler.reply(429, headers={"Retry-After": value} if value else None)


def _busy_until(handler: FaultyApiHandler, value: str) -> None:
    at = datetime.now(UTC) + timedelta(seconds=float(value))
    handler.reply(429, headers={"Retry-After": format_datetime(at, usegmt=True)})


def _closed(handler: FaultyApiHandler, value: str) -> None:
    handler.reply(503, headers={"Retry-After": value} if value else None)


def _silent(handler: FaultyApiHandler, _: str) -> None:
    handler.server.api.stopped.wait()
    handler.close_after_reply()


def _drip(handler: FaultyApiHandler, _: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    handler.drip(b"drip")


def _drip_body(handler: FaultyApiHandler, _: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    handler.drip(b" ")


def _hang_up(handler: FaultyApiHandler, _: str) -> None:
    handler.close_after_reply()


def _reset(handler: FaultyApiHandler, _: str) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    handler.close_after_reply()


def _cut(handler: FaultyApiHandler, _: str) -> None:
    body = json.dumps(handler.correct_answer()).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_after_reply()


def _cut_chunked(handler: FaultyApiHandler, _: str) -> None:
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"items"\r\n')
    handler.close_after_reply()


def _cut_json(handler: FaultyApiHandler, _: str) -> None:
    body = json.dumps(handler.correct_answer()).encode()
    handler.reply(200, body[: len(body) // 2])


def _cut_gzip(handler: FaultyApiHandler, _: str) -> None:
    body = gzip.compress(json.dumps(handler.correct_answer()).encode())
    handler.reply(200, body[:-12], {"Content-Encoding": "gzip"})


def _gzip_members(handler: FaultyApiHandler, _: str) -> None:
    """Send two gzip members, as RFC 1952 allows, and zeros, with which some servers pad."""
    body = json.dumps(handler.correct_answer()).encode()
    parts = [gzip.compress(body[: len(body) // 2]), gzip.compress(body[len(body) // 2 :])]
    handler.reply(200, b"".join(parts) + bytes(8), {"Content-Encoding": "gzip"})


def _garbage(handler: FaultyApiHandler, _: str) -> None:
    handler.wfile.write(b"\x00\x01garbage\r\n\r\n")
    handler.close_after_reply()


@cache
def build_bomb() -> bytes:
    """Return gzip that expands to a thousand times its size."""
    return gzip.compress(b'{"items": [' + b" " * BOMB_BYTES)


def _bomb(handler: FaultyApiHandler, _: str) -> None:
    handler.reply(200, build_bomb(), {"Content-Encoding": "gzip"})


def _endless(handler: FaultyApiHandler, _: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[")
    while not handler.server.api.stopped.is_set():
        handler.wfile.write(b" " * CHUNK)


def _redirect(handler: FaultyApiHandler, value: str) -> None:
    handler.reply(307, headers={"Location": value or handler.path})


def _same_cursor(handler: FaultyApiHandler, _: str) -> None:
    page = handler.correct_answer() or {}
    handler.reply_json({**page, "next": handler.cursor or page["next"]})


def _first_again(handler: FaultyApiHandler, _: str) -> None:
    first = handler.server.api.answer("/records", None) or {}
    handler.reply_json({**first, "next": first["next"] or "z"})


def _item(**fields: object) -> Callable[[Json], Json]:
    """Change the first item of a page, or the record."""

    def change(answer: Json) -> Json:
        if "items" not in answer:
            return {**answer, **fields}
        first, *rest = answer["items"]
        return {**answer, "items": [{**first, **fields}, *rest]}

    return change


FAULTS: dict[str, Callable[[FaultyApiHandler, str], None]] = {
    **{
        str(status): _status(status)
        for status in (300, 304, 400, 401, 403, 404, 408, 410, 425, 500, 502)
    },
    "429": _busy,
    "429-until": _busy_until,
    "503": _closed,
    "silent": _silent,
    "drip": _drip,
    "drip-body": _drip_body,
    "hang-up": _hang_up,
    "reset": _reset,
    "cut": _cut,
    "cut-chunked": _cut_chunked,
    "cut-json": _cut_json,
    "cut-gzip": _cut_gzip,
    "gzip-members": _gzip_members,
    "garbage": _garbage,
    "html": _text(b"<!doctype html><title>Down for maintenance</title>"),
    "empty": _text(b""),
    "list": _text(b"[]"),
    "nan": _changed(_item(version=float("nan"))),
    "wrong-type": _changed(_item(version="7")),
    "bad-id": _changed(_item(id="bad/id")),
    "all-bad": _changed(lambda page: {**page, "items": [{"key": 7}, *[None] * 2]}),
    "overlong": _changed(lambda page: {**page, "total": 2}),
    "no-total": _changed(lambda page: {**page, "total": None, "next": page["next"] or ""}),
    "other-id": _changed(_item(id="another")),
    "nul": _changed(_item(name="N\0L", data={"N\0L": "\ud800"})),
    "brotli": _text(b"\x0b\x02\x80[]\x03", {"Content-Encoding": "br"}),
    "no-gzip": _text(b"[]", {"Content-Encoding": "gzip"}),
    "bomb": _bomb,
    "endless": _endless,
    "redirect": _redirect,
    "no-next": _changed(lambda page: {key: page[key] for key in page if key != "next"}),
    "same-cursor": _same_cursor,
    "first-again": _first_again,
    "short": _changed(lambda page: {**page, "items": page["items"][1:]}),
    "fewer": _changed(
        lambda page: {**page, "items": page["items"][1:], "total": page["total"] - 1}
    ),
    "nothing": _changed(lambda page: {**page, "items": [], "next": None}),
    "twice": _changed(lambda page: {**page, "items": page["items"] * 2}),
}
"""All faults. A value may follow a colon: seconds for `429`, `429-until` and `503`; the target for
`redirect`."""


def main() -> None:
    """Serve some records until the process is stopped."""
    with FaultyApi(port=int(sys.argv[1]) if sys.argv[1:] else 0) as api:
        for number in range(250):
            api.put(f"r{number:03}", data={"number": number})
        print(f"{api.origin}/records", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
