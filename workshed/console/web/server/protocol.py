"""One connection to the server, with deadlines that uvicorn does not have."""

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from workshed.console.web.server.clients import Proxies
from workshed.console.web.server.connections import ConnectionTable
from workshed.console.web.view.safe_headers import HEADERS

REQUEST_S = 10.0
"""How long a client may take for a whole request: from connecting, or from when it has read the
answer before."""
ANSWER_S = 30.0
"""How long a client may take to read the next `PART_BYTES` of an answer, or the rest of it."""
PART_BYTES = 65_536
BAD_REQUEST = "This is not a valid HTTP request, or its headers are larger than 16 KiB."
LATE_REQUEST = "The request did not arrive in time."
TOO_MANY = "Too many connections are open. Close some, or try again in a few seconds."


class GuardedProtocol(H11Protocol):
    """Closes a connection whose client is too slow, and refuses one that is too many.

    A subclass has the table of its server.
    """

    table: ClassVar[ConnectionTable]
    proxies: ClassVar[Proxies]

    def __init__(self, *words: Any, **options: Any) -> None:
        """Take the arguments of uvicorn."""
        super().__init__(*words, **options)
        self._is_waiting = False
        """Whether a request, or the rest of one, has not arrived yet."""
        self._request_timer: asyncio.TimerHandle | None = None
        """Runs while the connection waits, unless the client is still reading an answer."""
        self._answer_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        """How much of the answer was not sent when `_answer_timer` was started."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, if there is room for this connection."""
        super().connection_made(transport)
        # So `pause_writing` is called as soon as the system takes no more, and `resume_writing`
        # once it has taken everything. By default, 64 KiB more would wait without a deadline.
        transport.set_write_buffer_limits(high=0)
        host = self.client[0] if self.client else ""
        if self.table.add(self, self.proxies.client_of(host)):
            self._note_progress()
        else:
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._note_progress()

    def on_response_complete(self) -> None:
        """Wait for the next request; close the connection if the client did not wait, either.

        It could queue any number of requests, and of answers that it does not read.
        """
        if self.conn.their_state is h11.DONE and self.conn.trailing_data[0]:
            self.transport.close()
        super().on_response_complete()
        self._note_progress()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.table.remove(self)
        self._is_waiting = False
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give the client time to read what was sent."""
        super().pause_writing()
        self._restart_request_timer()
        self._start_answer_timer()
        self._update_table()

    def resume_writing(self) -> None:
        """Stop the time that the client has to read; that for its next request begins."""
        super().resume_writing()
        if self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None
        self._restart_request_timer()
        self._update_table()

    def _should_upgrade(self) -> bool:
        """Serve HTTP alone; uvicorn would log two lines for each request of another protocol."""
        return False

    def send_400_response(self, _msg: str) -> None:
        """Refuse a request that cannot be read."""
        self.refuse(HTTPStatus.BAD_REQUEST, BAD_REQUEST)

    def refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer without the application, and close; without an answer if one has begun."""
        if self.cycle is not None:  # otherwise the application may answer, too, which is an error
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.drop()
            return
        body = f"{text}\n".encode()
        # `scope` is that of the request that is not answered yet. h11 refuses a body for HEAD.
        is_head = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
        headers = {
            **HEADERS,
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        response = h11.Response(
            status_code=status, headers=list(headers.items()), reason=status.phrase
        )
        for event in (response, h11.Data(data=b"" if is_head else body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def drop(self) -> None:
        """Close without an answer."""
        self.transport.abort()

    def _note_progress(self) -> None:
        """Start or stop the time for a request, as the connection waits for one or not."""
        is_waiting = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if is_waiting != self._is_waiting:
            self._is_waiting = is_waiting
            self._restart_request_timer()
            self._update_table()

    def _update_table(self) -> None:
        """Let the connection make room for others while it waits for its client to send or read."""
        is_waiting = self._is_waiting or self.flow.write_paused
        self.table.set_waiting(self, is_waiting=is_waiting)

    def _restart_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None
        if self._is_waiting and not self.flow.write_paused:
            self._request_timer = self.loop.call_later(REQUEST_S, self._end_late_request)

    def _end_late_request(self) -> None:
        """Close a connection on which no whole request has arrived in time."""
        has_begun = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        if has_begun:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, LATE_REQUEST)
        else:  # browsers open connections in advance, and would show the answer
            self.drop()

    def _start_answer_timer(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._answer_timer = self.loop.call_later(ANSWER_S, self._check_reading)

    def _check_reading(self) -> None:
        """Close a connection whose client has read too little since the last check."""
        read_bytes = self._unsent_bytes - self.transport.get_write_buffer_size()
        if read_bytes < PART_BYTES:
            self.drop()
        else:
            self._start_answer_timer()
