"""The part of a browser that reads server-sent events."""

import contextlib
import http.client
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    number: int | None
    name: str
    data: object


class Reader:
    """An open stream: iterate over its events until the server or `close` ends it."""

    def __init__(self, served, token, *, last=None, query="", path="/events", timeout_s=60):
        self._connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=timeout_s)
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        self._connection.request("GET", f"{path}{query}", headers=headers)
        self.answer = self._connection.getresponse()
        self.status = self.answer.status
        self.retry_ms = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        fields = {}
        for line in self._lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                number = fields.get("id")
                data = json.loads(fields["data"])
                yield Event(number and int(number), fields.get("event", "message"), data)
                fields = {}
            else:
                self.retry_ms = int(fields["retry"]) if "retry" in fields else self.retry_ms
                fields = {}

    def take(self, count):
        """Return the next `count` events."""
        events = iter(self)
        return [next(events) for _ in range(count)]

    def _lines(self):
        # A broken connection ends the stream, as in a browser.
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            while line := self.answer.readline():
                yield line.decode().rstrip("\r\n")

    def close(self):
        """Close the connection."""
        self.answer.close()
        self._connection.close()
