"""One I/O thread with one AMQP connection, which is made again whenever it is lost."""

import contextlib
import functools
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop
from pika.exceptions import AMQPHeartbeatTimeout

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
"""A connection that ends sooner counts as one more failure, or it would be made again at once."""
FEW = 3
"""As how many failures it counts at most: RabbitMQ is there, and senders wait."""
HANDSHAKE_S = 3.0
"""How long a server may take to answer before the next is tried; more in each further round."""
LONGEST_HANDSHAKE_S = 15.0
CLOSE_TIMEOUT_S = 5.0
TURN_S = 1.0
LOOKS = 4
"""How often an open connection is looked at within one heartbeat."""
SILENT_LOOKS = 6
"""It is dead when so many found no byte more: RabbitMQ is silent for one heartbeat at most."""

# A program that seeds `random` would wait as long as all its siblings.
chance = random.SystemRandom()


class ReconnectingConnection:
    """Owns the thread, the loop and the connection; all callbacks run in its thread."""

    def __init__(
        self,
        urls: list[str],
        name: str,
        on_open: Callable[[FastConnection], None],
        on_lost: Callable[[], None],
        on_unblocked: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is opened before `start`."""
        self.name = name
        self.blocked: str | None = None
        """Why RabbitMQ takes no messages now, in its own words."""
        self.trouble = "not connected yet"
        """Why there is no connection, for the error that `send` raises."""
        self.turns = 0
        """Grows every second while the loop turns, connected or not."""
        self._urls = urls
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_unblocked = on_unblocked
        self._failures = 0
        self._turn = 0
        self._opened_at = 0.0
        self._calls: deque[Callable[[], None]] = deque()
        self._waking = False
        self._closing = False
        self._loop: Any = None
        self._connection: FastConnection | None = None
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; it connects and keeps connecting."""
        self._loop = IOLoop()
        self._thread.start()

    def wait_open(self, timeout_s: float) -> None:
        """Return once connected; raises `BrokerUnreachableError` after `timeout_s`."""
        if not self._open.wait(timeout_s):
            raise BrokerUnreachableError(unreachable_message(self._urls, self.trouble))

    def call(self, what: Callable[[], None]) -> None:
        """Run `what` in the I/O thread, soon; safe from any thread, after `start`."""
        self._calls.append(what)
        if not self._waking:  # one wake-up serves all calls that come before it
            self._waking = True
            try:
                self._loop.add_callback_threadsafe(self._work_off)
            except BaseException:  # a time limit may strike here; nobody would ever wake the loop
                self._waking = False
                raise

    def later(self, delay_s: float, what: Callable[[], None]) -> None:
        """Run `what` in the I/O thread after a delay; only from a callback."""
        self._loop.call_later(delay_s, what)

    @property
    def is_open(self) -> bool:
        """Tell whether it is connected."""
        return self._open.is_set()

    @property
    def is_started(self) -> bool:
        """Tell whether its loop is to turn."""
        return self._loop is not None and not self._closing

    def is_alive(self) -> bool:
        """Tell whether calls are still worked off."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Close the connection in good order and end the thread."""
        self.call(self._close)
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():  # RabbitMQ does not answer, not even to this
            self.call(self._loop.stop)
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        begin = self._connect
        while not self._closing:
            try:
                begin()
                self._tick()
                self._loop.start()
            except Exception:
                # A thread that ended here would leave every sender waiting for ever.
                logger.exception("the I/O thread of %s failed; it starts again", self.name)
                begin = self._start_anew
                time.sleep(FIRST_PAUSE_S)
        self._drop()

    def _tick(self) -> None:
        self.turns += 1
        self._loop.call_later(TURN_S, self._tick)

    def _start_anew(self) -> None:
        self._drop()
        self._loop = IOLoop()
        self._ended()
        self._loop.call_later(0, self._work_off)  # a wake-up may have gone to the old loop
        self._again()

    def _drop(self) -> None:
        """Drop the connection, whose state nobody knows, and the loop; RabbitMQ sees it closed."""
        # pika would close the socket in the loop that has ended. Left open, it would hold what
        # RabbitMQ has sent to it, and a second consumer beside the next one's.
        transport = getattr(self._connection, "_transport", None)
        with contextlib.suppress(Exception):
            if transport is not None:
                transport._close_and_finalize()  # noqa: SLF001 -- no public way does it at once
        self._connection = None
        with contextlib.suppress(Exception):
            self._loop.close()

    def _work_off(self) -> None:
        self._waking = False  # before the first call, or one added meanwhile would wait for ever
        while self._calls:
            call = self._calls.popleft()
            try:
                call()
            except Exception:
                logger.exception("a call in the I/O thread of %s failed", self.name)

    def _connect(self) -> None:
        if self._closing:
            self._loop.stop()
            return
        try:
            wanted = connection_parameters(self._urls[self._turn % len(self._urls)], self.name)
        except SettingsError as err:  # a certificate was moved since this was first read
            self._failed(None, err)
            return
        longest = HANDSHAKE_S * (1 + self._failures // len(self._urls))
        wanted.socket_timeout = wanted.stack_timeout = min(longest, LONGEST_HANDSHAKE_S)
        self._connection = FastConnection(
            wanted,
            on_open_callback=self._opened,
            on_open_error_callback=self._failed,
            on_close_callback=self._lost,
            custom_ioloop=self._loop,
        )

    def _opened(self, connection: Any) -> None:
        if self._closing:
            connection.close()
            return
        if self._failures:
            logger.info("RabbitMQ answers again")
        self._opened_at = time.monotonic()
        self.blocked = None
        connection.add_on_connection_blocked_callback(self._was_blocked)
        connection.add_on_connection_unblocked_callback(self._was_unblocked)
        meters.UP.set(1, self.name)
        meters.BLOCKED.set(0, self.name)
        self._on_open(connection)
        self._open.set()
        self._watch(connection)

    def _watch(self, connection: Any, heard_bytes: int = 0, silent: int = 0) -> None:
        """Give up a connection on which nothing comes any more.

        pika does so as well, but may take two heartbeats and 10 s.
        """
        if not connection.is_open:
            return
        silent = silent + 1 if connection.bytes_received == heard_bytes else 0
        if silent > SILENT_LOOKS:
            after_s = connection.params.heartbeat * SILENT_LOOKS / LOOKS
            error = AMQPHeartbeatTimeout(f"nothing heard for {after_s:g} s")
            connection._terminate_stream(error)  # noqa: SLF001 -- as pika's own check does
            return
        again = functools.partial(self._watch, connection, connection.bytes_received, silent)
        self.later(connection.params.heartbeat / LOOKS, again)

    def _was_blocked(self, _connection: Any, frame: Any) -> None:
        self.blocked = str(frame.method.reason)
        meters.BLOCKED.set(1, self.name)
        logger.warning("RabbitMQ takes no messages: %s", self.blocked)

    def _was_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.blocked = None
        meters.BLOCKED.set(0, self.name)
        logger.info("RabbitMQ takes messages again")
        self._on_unblocked()

    def _failed(self, _connection: Any, error: BaseException | str) -> None:
        self.trouble = describe_error(error)
        meters.UP.set(0, self.name)
        if self._failures == 0 and not self._closing:
            logger.warning("%s; trying again", unreachable_message(self._urls, self.trouble))
        self._again()

    def _lost(self, _connection: Any, error: BaseException) -> None:
        self.trouble = describe_error(error)
        if not self._closing:
            logger.warning("connection to RabbitMQ lost: %s; reconnecting", self.trouble)
        self._ended()
        self._again()

    def _ended(self) -> None:
        """Take back what is said of the connection, if there was one."""
        if self._open.is_set():
            self._open.clear()
            steady = time.monotonic() - self._opened_at >= STEADY_S
            self._failures = 0 if steady else min(self._failures, FEW)
        self.blocked = None
        meters.UP.set(0, self.name)
        meters.BLOCKED.set(0, self.name)
        self._on_lost()

    def _again(self) -> None:
        if self._closing:
            self._loop.stop()
            return
        self._loop.call_later(pause_s(self._failures), self._connect)
        self._failures += 1
        self._turn += 1

    def _close(self) -> None:
        self._closing = True
        if self._connection is None or self._connection.is_closed:
            self._loop.stop()
        else:
            self._connection.close()  # one that is opening ends in `_failed`


def pause_s(failures: int) -> float:
    """Choose how long to wait before the next attempt to connect, after so many that failed.

    With jitter, or a restarted RabbitMQ meets all of the fleet in the same millisecond.
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * float(2 ** min(failures, 10)))
    return chance.uniform(longest / 2, longest)
