"""One I/O thread with one AMQP connection, which reconnects whenever it is lost."""

import contextlib
import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop
from pika.exceptions import AMQPHeartbeatTimeout

from workshed.backoff import jittered_backoff_s
from workshed.errors import SettingsError
from workshed.metrics import meters
from workshed.transport.amqp.fast_connection import FastConnection
from workshed.transport.amqp.url import connection_parameters, describe_error, unreachable_message
from workshed.transport.errors import BrokerUnreachableError

__all__ = ["ReconnectingConnection", "unreachable_message"]

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STEADY_S = 1.0
"""A connection that ends sooner counts as a failure; otherwise it would reconnect at once."""
MAX_COUNTED_FAILURES = 3
"""Most failures counted after such a connection: RabbitMQ is there, and senders wait."""
HANDSHAKE_S = 3.0
"""How long a server may take to answer before the next is tried; longer in each further round."""
LONGEST_HANDSHAKE_S = 15.0
CLOSE_TIMEOUT_S = 5.0
TICK_S = 1.0
CHECKS_PER_HEARTBEAT = 4
"""How often an open connection is checked per heartbeat."""
SILENT_CHECKS = 6
"""It is dead after more checks than this without a new byte: RabbitMQ sends one per heartbeat."""

# With `random`, processes of a program that seeds it would all pause equally long.


class ReconnectingConnection:
    """Owns the I/O thread, its loop and the connection; all callbacks run in that thread."""

    def __init__(
        self,
        urls: list[str],
        name: str,
        on_open: Callable[[FastConnection], None],
        on_lost: Callable[[], None],
        on_unblocked: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the callbacks; `start` opens the connection."""
        self.name = name
        self.blocked_reason: str | None = None
        """RabbitMQ's reason for taking no messages now; `None` if it takes them."""
        self.last_error = "not connected yet"
        """Why there is no connection, for the error that `send` raises."""
        self.loop_ticks = 0
        """Grows every second while the loop runs, connected or not."""
        self._urls = urls
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_unblocked = on_unblocked
        self._failures = 0
        self._url_index = 0
        self._opened_at = 0.0
        self._pending_calls: deque[Callable[[], None]] = deque()
        self._waking = False
        self._closing = False
        self._loop: Any = None
        self._connection: FastConnection | None = None
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread, which connects and reconnects."""
        self._loop = IOLoop()
        self._thread.start()

    def wait_until_open(self, timeout_s: float) -> None:
        """Return once connected; raises `BrokerUnreachableError` after `timeout_s`."""
        if not self._open.wait(timeout_s):
            raise BrokerUnreachableError(unreachable_message(self._urls, self.last_error))

    def call_soon(self, what: Callable[[], None]) -> None:
        """Run `what` in the I/O thread soon; safe from any thread, after `start`."""
        self._pending_calls.append(what)
        if not self._waking:  # one wake-up serves all calls added before it
            self._waking = True
            try:
                self._loop.add_callback_threadsafe(self._run_pending_calls)
            except BaseException:  # a time limit may strike here; the loop would never be woken
                self._waking = False
                raise

    def call_later(self, delay_s: float, what: Callable[[], None]) -> None:
        """Run `what` in the I/O thread after a delay; call this only from a callback."""
        self._loop.call_later(delay_s, what)

    @property
    def is_open(self) -> bool:
        """Whether it is connected."""
        return self._open.is_set()

    @property
    def is_started(self) -> bool:
        """Whether its loop should be running."""
        return self._loop is not None and not self._closing

    def is_alive(self) -> bool:
        """Return whether calls are still processed."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Close the connection gracefully and end the thread."""
        self.call_soon(self._close)
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():  # RabbitMQ does not answer the close
            self.call_soon(self._loop.stop)
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        begin = self._connect
        while not self._closing:
            try:
                begin()
                self._tick()
                self._loop.start()
            except Exception:
                # If the thread ended here, every sender would wait forever.
                logger.exception("the I/O thread of %s failed; it starts again", self.name)
                begin = self._restart_loop
                time.sleep(FIRST_PAUSE_S)
        self._discard()

    def _tick(self) -> None:
        self.loop_ticks += 1
        self._loop.call_later(TICK_S, self._tick)

    def _restart_loop(self) -> None:
        self._discard()
        self._loop = IOLoop()
        self._reset_state()
        self._loop.call_later(0, self._run_pending_calls)  # a wake-up may have gone to the old loop
        self._schedule_reconnect()

    def _discard(self) -> None:
        """Drop the loop and the connection, whose state is unknown; RabbitMQ sees it closed."""
        # pika would close the socket in the loop that has ended. Left open, the socket would hold
        # deliveries, and its consumer would stay alongside that of the next connection.
        transport = getattr(self._connection, "_transport", None)
        with contextlib.suppress(Exception):
            if transport is not None:
                transport._close_and_finalize()  # noqa: SLF001 -- no public way does it at once
        self._connection = None
        with contextlib.suppress(Exception):
            self._loop.close()

    def _run_pending_calls(self) -> None:
        self._waking = False  # before the first call, or one added meanwhile would wait forever
        while self._pending_calls:
            call = self._pending_calls.popleft()
            try:
                call()
            except Exception:
                logger.exception("a call in the I/O thread of %s failed", self.name)

    def _connect(self) -> None:
        if self._closing:
            self._loop.stop()
            return
        try:
            wanted = connection_parameters(self._urls[self._url_index % len(self._urls)], self.name)
        except SettingsError as err:  # a certificate was moved since it was first read
            self._handle_open_error(None, err)
            return
        longest = HANDSHAKE_S * (1 + self._failures // len(self._urls))
        wanted.socket_timeout = wanted.stack_timeout = min(longest, LONGEST_HANDSHAKE_S)
        self._connection = FastConnection(
            wanted,
            on_open_callback=self._handle_open,
            on_open_error_callback=self._handle_open_error,
            on_close_callback=self._handle_close,
            custom_ioloop=self._loop,
        )

    def _handle_open(self, connection: Any) -> None:
        if self._closing:
            connection.close()
            return
        if self._failures:
            logger.info("RabbitMQ answers again")
        self._opened_at = time.monotonic()
        self.blocked_reason = None
        connection.add_on_connection_blocked_callback(self._handle_blocked)
        connection.add_on_connection_unblocked_callback(self._handle_unblocked)
        meters.RABBITMQ_UP.set(1, self.name)
        meters.RABBITMQ_BLOCKED.set(0, self.name)
        self._on_open(connection)
        self._open.set()
        self._check_silence(connection)

    def _check_silence(self, connection: Any, heard_bytes: int = 0, silent: int = 0) -> None:
        """Give up a connection on which nothing arrives any more.

        pika does so too, but may take two heartbeats and 10 s.
        """
        if not connection.is_open:
            return
        silent = silent + 1 if connection.bytes_received == heard_bytes else 0
        if silent > SILENT_CHECKS:
            after_s = connection.params.heartbeat * SILENT_CHECKS / CHECKS_PER_HEARTBEAT
            error = AMQPHeartbeatTimeout(f"nothing heard for {after_s:g} s")
            connection._terminate_stream(error)  # noqa: SLF001 -- as pika's own check does
            return
        again = functools.partial(
            self._check_silence, connection, connection.bytes_received, silent
        )
        self.call_later(connection.params.heartbeat / CHECKS_PER_HEARTBEAT, again)

    def _handle_blocked(self, _connection: Any, frame: Any) -> None:
        self.blocked_reason = str(frame.method.reason)
        meters.RABBITMQ_BLOCKED.set(1, self.name)
        logger.warning("RabbitMQ takes no messages: %s", self.blocked_reason)

    def _handle_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.blocked_reason = None
        meters.RABBITMQ_BLOCKED.set(0, self.name)
        logger.info("RabbitMQ takes messages again")
        self._on_unblocked()

    def _handle_open_error(self, _connection: Any, error: BaseException | str) -> None:
        self.last_error = describe_error(error)
        meters.RABBITMQ_UP.set(0, self.name)
        if self._failures == 0 and not self._closing:
            logger.warning("%s; trying again", unreachable_message(self._urls, self.last_error))
        self._schedule_reconnect()

    def _handle_close(self, _connection: Any, error: BaseException) -> None:
        self.last_error = describe_error(error)
        if not self._closing:
            logger.warning("connection to RabbitMQ lost: %s; reconnecting", self.last_error)
        self._reset_state()
        self._schedule_reconnect()

    def _reset_state(self) -> None:
        """Reset the state of the connection, if there was one."""
        if self._open.is_set():
            self._open.clear()
            steady = time.monotonic() - self._opened_at >= STEADY_S
            self._failures = 0 if steady else min(self._failures, MAX_COUNTED_FAILURES)
        self.blocked_reason = None
        meters.RABBITMQ_UP.set(0, self.name)
        meters.RABBITMQ_BLOCKED.set(0, self.name)
        self._on_lost()

    def _schedule_reconnect(self) -> None:
        if self._closing:
            self._loop.stop()
            return
        self._loop.call_later(
            jittered_backoff_s(self._failures, FIRST_PAUSE_S, LONGEST_PAUSE_S), self._connect
        )
        self._failures += 1
        self._url_index += 1

    def _close(self) -> None:
        self._closing = True
        if self._connection is None or self._connection.is_closed:
            self._loop.stop()
        else:
            self._connection.close()  # one that is opening ends in `_handle_open_error`
