"""Publish with confirms: one connection per process, whose window all threads share."""

import logging
import os
import threading
import time
from collections import deque
from itertools import takewhile
from typing import Any

import pika

from workshed.transport.amqp import replies
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.amqp.codec import encode_publish
from workshed.transport.amqp.connection import ReconnectingConnection, unreachable_message
from workshed.transport.amqp.fast_connection import FastConnection
from workshed.transport.errors import (
    BrokerBlockedError,
    BrokerError,
    BrokerUnreachableError,
    PublishRefusedError,
)
from workshed.transport.messages.signing import SIGNATURE_HEADER, Signing
from workshed.transport.publishing.confirms import ConfirmBatch, PendingPublish
from workshed.transport.waiting import BlockingWait, WaitStrategy, run_blocking

__all__ = ["ConfirmBatch", "PendingPublish", "Publisher"]

logger = logging.getLogger(__name__)

CONFIRM_WINDOW = 1000
"""Most unconfirmed publishes; further ones wait in this process, where they can be withdrawn."""
WRITE_BATCH = 50
"""Publishes per write to the socket, so that these are sent while the next ones are encoded."""
FAILURES_UNTIL_DOWN = 2
"""Failures to connect in a row, at least one per server, after which senders no longer wait."""


class PublisherConnection(ReconnectingConnection):
    """A connection that knows when it is pointless to wait for it."""

    def is_down(self) -> bool:
        """Return whether the last attempts to connect, at least one per server, all failed."""
        failures = max(FAILURES_UNTIL_DOWN, len(self._urls))
        return self._failures >= failures and not self._open.is_set()


class Publisher:
    """Opened by the first publish of a process; a forked child opens its own."""

    def __init__(
        self, urls: list[str], name: str, signing: Signing | None = None, prefix: str = ""
    ) -> None:
        """Open nothing until the first publish; `signing` signs all messages.

        `prefix`: before the names of queues on RabbitMQ.
        """
        self._urls = urls
        self._name = name
        self._signing = signing
        self._prefix = prefix
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Also after a fork: drop the connection unclosed, because its socket is the parent's.
        self._lock = threading.Lock()
        self._link: PublisherConnection | None = None
        self._channel: Any = None
        self._sent_count = 0
        self._pending: dict[int, PendingPublish] = {}
        self._waiting: deque[PendingPublish] = deque()

    def submit(self, ticket: ConfirmBatch) -> None:
        """Pass the publications to the I/O thread, in order."""
        link = self._ensure_link()
        ticket.submitted_at = time.monotonic()
        if not ticket.publications:
            ticket.all_confirmed.open()  # there is no confirm to wait for
        self._waiting.extend(ticket.publications)
        link.call_soon(self._pump)

    def wait(self, ticket: ConfirmBatch, deadline: float) -> None:
        """Wait until `deadline` (`time.monotonic`); then withdraw unsent publications.

        Afterwards every publication is done, and has its error if it failed.
        """
        run_blocking(self.await_confirms(ticket, deadline, BlockingWait()))

    async def await_confirms(
        self, ticket: ConfirmBatch, deadline: float, waiting: WaitStrategy
    ) -> None:
        """Do as `wait` does, in a thread or in an event loop."""
        if await waiting.wait_for(ticket.all_confirmed, deadline - time.monotonic()):
            return
        link = self.withdraw(ticket)
        while not await waiting.wait_for(ticket.all_confirmed, 1):
            if not link.is_alive():  # closed meanwhile, so its thread cannot do it
                self._withdraw(ticket)

    def withdraw(self, ticket: ConfirmBatch) -> ReconnectingConnection:
        """Give up a ticket soon: publications that were not sent yet are not sent any more."""
        link = self._ensure_link()
        link.call_soon(lambda: self._withdraw(ticket))
        return link

    def publish(self, ticket: ConfirmBatch, timeout_s: float) -> None:
        """Submit and wait."""
        self.submit(ticket)
        self.wait(ticket, time.monotonic() + timeout_s)

    def outage(self) -> BrokerError | None:
        """Return why it is pointless to send anything now, or `None`."""
        link = self._ensure_link()
        if link.blocked_reason is not None or link.is_down():
            return self._outage_error(link, "nothing was sent")
        return None

    def connect(self) -> None:
        """Start to connect, without waiting for it."""
        self._ensure_link()

    @property
    def is_connected(self) -> bool:
        """Whether it is connected now. It is not before the first `connect` or publish."""
        link = self._link  # another thread may close it meanwhile
        return link is not None and link.is_open

    def wait_until_writable(self, timeout_s: float) -> bool:
        """Wait for a connection on which RabbitMQ takes messages; False if none in time."""
        link = self._ensure_link()
        try:
            link.wait_until_open(timeout_s)
        except BrokerUnreachableError:
            return False
        return link.blocked_reason is None

    def close(self) -> None:
        """Close the connection, if one was ever opened."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    @property
    def links(self) -> list[ReconnectingConnection]:
        """The connection, once it was first used; none before."""
        return [] if self._link is None else [self._link]

    def _ensure_link(self) -> PublisherConnection:
        with self._lock:
            if self._link is None:
                link = PublisherConnection(
                    self._urls, self._name, self._on_open, self._on_lost, self._pump
                )
                link.start()
                self._link = link
                link.call_soon(self._pump)  # it may have opened before `_link` was set
            return self._link

    def _on_open(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        channel.add_on_return_callback(self._on_return)
        channel.add_on_close_callback(self._on_channel_closed)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._on_ready(channel))

    def _on_ready(self, channel: Any) -> None:
        self._channel, self._sent_count = channel, 0
        self._pump()

    def _on_lost(self) -> None:
        """Put unconfirmed publications back at the front, marked as possibly sent."""
        self._channel = None
        for publication in reversed(self._pending.values()):
            publication.maybe_delivered, publication.return_reason = True, None
            self._waiting.appendleft(publication)
        self._pending.clear()

    def _on_channel_closed(self, channel: Any, error: Exception) -> None:
        if self._channel not in (None, channel):
            return
        self._channel = None
        # A missing exchange or permission closes the channel, but not the connection. It is unknown
        # which publish caused it, and resending all would loop, so all of their senders get errors.
        if channel.connection.is_open:
            logger.error("RabbitMQ closed the publishing channel: %s", error)
            pending = list(self._pending.values())
            self._pending.clear()
            for publication in pending:
                publication.maybe_delivered = True
                publication.batch.record_answer(publication, replies.channel_closed_error(error))
            channel.connection.channel(on_open_callback=self._on_channel)

    def _pump(self) -> None:
        if self._channel is None or not self._waiting:
            return
        wire: FastConnection = self._channel.connection
        while self._waiting and (room := self._count_room()):
            with wire.batched_writes():
                # Nothing is read inside the block, so RabbitMQ cannot block or confirm meanwhile.
                for _ in range(min(room, WRITE_BATCH)):
                    if not self._waiting or self._channel is None:
                        break
                    publication = self._waiting.popleft()
                    if not publication.batch.is_withdrawn:
                        self._send(publication)

    def _count_room(self) -> int:
        """Return how many to send now; while RabbitMQ is blocked, unsent ones can be withdrawn."""
        blocked = self._link is None or self._link.blocked_reason is not None
        return 0 if blocked or self._channel is None else CONFIRM_WINDOW - len(self._pending)

    def _send(self, publication: PendingPublish) -> None:
        stamp, channel = publication.properties, self._channel
        wire: FastConnection = channel.connection
        if not (channel.is_open and wire.is_open):
            self._waiting.appendleft(publication)  # sent again on the next channel
            self._channel = None
            return
        headers, number = stamp.headers, self._sent_count + 1
        headers.setdefault("published_ms", int(time.time() * 1000))
        headers["publish"] = number  # a Return carries no delivery tag
        if publication.maybe_delivered:
            headers["possible_duplicate"] = True
        try:
            if self._signing is not None:  # here, because now all headers are known
                headers[SIGNATURE_HEADER] = self._signing.sign(
                    publication.queue, headers, publication.body
                )
            frames = encode_publish(
                channel.channel_number,
                EXCHANGE,
                self._prefix + publication.queue,
                stamp,
                publication.body,
                longest=wire.max_body_frame,
            )
        except Exception as err:  # noqa: BLE001 -- AMQP cannot encode it, for whatever reason
            # Not counted, because RabbitMQ never saw it: its number is that of the next publish.
            refused = PublishRefusedError(f"a message for {publication.queue!r}: {err!r}")
            publication.batch.record_answer(publication, refused)
        else:
            self._sent_count = number
            self._pending[number] = publication
            wire.send_frames(frames)

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        publication = self._pending.get(properties.headers["publish"])
        if publication is not None:
            publication.return_reason = str(method.reply_text)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        nacked = isinstance(method, pika.spec.Basic.Nack)
        tags = [method.delivery_tag]
        if method.multiple:  # pending publishes are in the order of publishing
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._pending))
        for tag in tags:
            publication = self._pending.pop(tag, None)
            if publication is not None:
                error = publish_error(publication, self._prefix, nacked=nacked)
                publication.batch.record_answer(publication, error)
        self._pump()

    def _withdraw(self, ticket: ConfirmBatch) -> None:
        """Give up a ticket, and free its part of the window, which a dead queue would fill."""
        ticket.is_withdrawn = True
        for number in [n for n, p in self._pending.items() if p.batch is ticket]:
            self._pending.pop(number).maybe_delivered = True
        while self._waiting and self._waiting[0].batch.is_withdrawn:
            self._waiting.popleft()  # otherwise they would pile up during an outage of RabbitMQ
        for publication in ticket.publications:
            if not publication.is_done:
                ticket.record_answer(publication, self._timeout_error(publication))
        self._pump()

    def _timeout_error(self, publication: PendingPublish) -> BrokerError:
        fate = "a copy may have arrived" if publication.maybe_delivered else "nothing was sent"
        link = self._ensure_link()
        if link.blocked_reason is not None or self._channel is None:
            return self._outage_error(link, fate)
        return BrokerUnreachableError(
            f"RabbitMQ did not confirm a message for {publication.queue!r} in time; {fate}"
        )

    def _outage_error(self, link: PublisherConnection, fate: str) -> BrokerError:
        if link.blocked_reason is not None:
            return BrokerBlockedError(
                f"RabbitMQ takes no messages ({link.blocked_reason}); {fate}. Free memory or "
                "disk there"
            )
        return BrokerUnreachableError(f"{unreachable_message(self._urls, link.last_error)}; {fate}")


def publish_error(
    publication: PendingPublish, prefix: str, *, nacked: bool
) -> PublishRefusedError | None:
    """Return RabbitMQ's answer as an error; `None` if it took the message."""
    if publication.return_reason is not None:
        return replies.unroutable_error(
            prefix + publication.queue, EXCHANGE, publication.return_reason
        )
    return replies.nack_error(prefix + publication.queue) if nacked else None
