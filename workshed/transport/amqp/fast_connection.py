"""pika's connection, with a fast path for deliveries and publishes."""

import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import pika
from pika.frame import decode_frame

from workshed.transport.amqp.codec import DELIVER, FRAME, METHOD, RawDelivery, parse_delivery

DeliveryHandler = Callable[[RawDelivery], None]

READ_BYTES = 1 << 16
"""Most bytes of one read; pika reads 4096, which is nine small messages.

With each system call the I/O thread gives up the interpreter's lock, and waits to get it back.
"""


class FastConnection(pika.SelectConnection):
    """Reads a delivery in one piece; pika would create eleven objects and make five callbacks.

    Everything else goes to pika, in the order in which it arrived.
    """

    # Attributes of pika that its type stubs lack.
    bytes_received: int
    _frame_buffer: bytes
    _process_frame: Callable[[Any], None]
    _output_marshaled_frames: Callable[[list[bytes]], None]
    _body_max_length: int
    _transport: Any

    @property
    def max_body_frame(self) -> int:
        """How many bytes of a body fit into one frame."""
        return self._body_max_length

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Connect as pika does; there are no takers yet."""
        self.delivery_handlers: dict[bytes, DeliveryHandler] = {}
        """By consumer tag, for as long as RabbitMQ may send deliveries with it."""
        self.after_read: Callable[[], None] | None = None
        """Called after each read, once all of its deliveries were passed on."""
        self._batched_frames: list[bytes] | None = None
        super().__init__(*args, **kwargs)

    def send_frames(self, frames: bytes) -> None:
        """Send complete frames."""
        if self._batched_frames is None:
            self._output_marshaled_frames([frames])
        else:
            self._batched_frames.append(frames)

    @contextmanager
    def batched_writes(self) -> Generator[None]:
        """Send everything that is put inside the block with one system call, at its end.

        pika would make one system call for each, and wait until the loop reports the socket as
        writable, which it nearly always is.
        """
        gathered: list[bytes] = []
        self._batched_frames = gathered
        try:
            yield
        finally:
            self._batched_frames = None
            if gathered:
                self._write_now(b"".join(gathered))

    def _on_stream_connected(self) -> None:
        transport = self._transport
        transport._MAX_RECV_BYTES = READ_BYTES  # noqa: SLF001 -- no other way
        if not isinstance(transport._sock, ssl.SSLSocket):  # noqa: SLF001 -- likewise
            # One system call for each event; pika would make another, which finds nothing.
            transport._MAX_CONSUME_BYTES = 1  # noqa: SLF001 -- likewise
        by_pika: Any = super()
        by_pika._on_stream_connected()  # noqa: SLF001 -- its types do not have it

    def _write_now(self, data: bytes) -> None:
        """Write to the socket; what it does not take now waits in pika's buffer, in order.

        pika would make two more system calls for each write: they begin and end the wait until the
        socket is writable, which it nearly always is.
        """
        transport = self._transport
        sock = transport._sock  # noqa: SLF001 -- no other way
        if isinstance(sock, ssl.SSLSocket):  # needs the steps of pika around each write
            self._adapter_emit_data(data)
            transport._on_socket_writable()  # noqa: SLF001 -- what its loop calls
            return
        if transport.get_write_buffer_size() == 0:
            # An error is pika's to handle, which meets it likewise.
            with suppress(OSError):
                data = data[sock.send(data) :]
        if data:
            self._adapter_emit_data(data)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._batched_frames is None:
            by_pika: Any = super()
            by_pika._adapter_emit_data(data)  # noqa: SLF001 -- its types do not have it
        else:
            self._batched_frames.append(data)

    def _on_data_available(self, data_in: bytes) -> None:
        if not self.is_open:
            by_pika: Any = super()
            by_pika._on_data_available(data_in)  # noqa: SLF001 -- its types do not have it
            return
        data = self._frame_buffer + data_in if self._frame_buffer else data_in
        at = 0
        try:
            while (end := self._read(data, at)) is not None:
                self.bytes_received += end - at
                at = end
        finally:
            self._frame_buffer = data[at:]
        if self.after_read is not None:
            self.after_read()

    def _read(self, data: bytes, at: int) -> int | None:
        """Read the frames that begin at `at`; return where they end, or `None` if incomplete."""
        if len(data) < at + FRAME.size:
            return None
        kind, _, length = FRAME.unpack_from(data, at)
        end = at + FRAME.size + int(length) + 1
        if end > len(data):
            return None
        if kind == METHOD and data.startswith(DELIVER, at + FRAME.size):
            found = parse_delivery(data, at)
            if found == "more":
                return None
            if (
                found is not None
                and (take := self.delivery_handlers.get(found.consumer)) is not None
            ):
                take(found)
                return found.end
        consumed, frame = decode_frame(data[at:end])
        if frame is None:  # pika disagrees about where it ends
            return None
        self._process_frame(frame)
        return at + consumed
