"""Send messages: to RabbitMQ, or to PostgreSQL when RabbitMQ cannot take them."""

import functools
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta

from workshed.errors import DatabaseUnreachableError
from workshed.queues import Queue
from workshed.transport.amqp.declarations import QueueDeclarer
from workshed.transport.errors import (
    BrokerBlockedError,
    BrokerUnreachableError,
    NackedError,
    UnroutableError,
    UnseenQueueError,
)
from workshed.transport.messages.envelope import message_properties
from workshed.transport.publishing import outbox
from workshed.transport.publishing.outbox_cleanup import OutboxCleaner
from workshed.transport.publishing.outgoing import (
    Message,
    OutgoingMessage,
    PublishBatch,
    encode_outgoing,
)
from workshed.transport.publishing.publisher import ConfirmBatch, Publisher
from workshed.transport.waiting import WaitStrategy

logger = logging.getLogger(__name__)

WINDOW = 500
WINDOWS_IN_FLIGHT = 2
GRACE = timedelta(seconds=5)
"""How long after a sender's deadline a relay waits before it sends what that sender has leased."""
OUTAGES = (BrokerUnreachableError, BrokerBlockedError)


class Sender:
    """Makes each message safe, or says why it is not."""

    def __init__(
        self,
        publisher: Publisher,
        ensured: QueueDeclarer,
        declared: Mapping[str, Queue],
        timeout: timedelta,
        *,
        storing: bool,
    ) -> None:
        """Open nothing. `storing`: in PostgreSQL, where RabbitMQ cannot take a message."""
        self.timeout = timeout
        self.storing = storing
        self._publisher = publisher
        self._ensured = ensured
        self._declared = declared
        self._marks = OutboxCleaner()
        self._stored = 0

    async def send(
        self, messages: Sequence[Message], waiting: WaitStrategy
    ) -> list[OutgoingMessage]:
        """Send checked messages in windows, two in flight; each is safe then, or has its error.

        Once a window could neither be sent nor stored, those after it are not tried.
        """
        span = self.timeout * (WINDOWS_IN_FLIGHT if len(messages) > WINDOW else 1) + GRACE
        flights: deque[PublishBatch] = deque()
        done: list[OutgoingMessage] = []
        try:
            for start in range(0, len(messages), WINDOW):
                # While RabbitMQ works on two windows, the next one is made ready.
                parcels = self._packed(messages[start : start + WINDOW])
                if len(flights) == WINDOWS_IN_FLIGHT:
                    done += await self._landed(flights, waiting)
                    if first_outage(done[-WINDOW:]):
                        break
                flights.append(
                    PublishBatch(parcels, time.monotonic() + self.timeout.total_seconds())
                )
                await self._begin(flights[-1], span, waiting)
            while flights:
                done += await self._landed(flights, waiting)
        except BaseException:
            for flight in flights:
                self._abandon(flight)
            raise
        done += self._not_tried(messages[len(done) :], first_outage(done))
        propagate_key_failures(done)
        return done

    def join(self, messages: Sequence[Message]) -> list[OutgoingMessage]:
        """Store checked messages in the transaction this thread has joined; a relay sends them."""
        parcels = self._packed(messages)
        for start in range(0, len(parcels), WINDOW):
            good = [p for p in parcels[start : start + WINDOW] if p.error is None]
            outbox.insert_in_joined_transaction(good)
            for parcel in good:
                parcel.error, parcel.way = parcel.refusal, "scheduled"
        return parcels

    def close(self) -> None:
        """Write what is known of the rows of sent messages."""
        self._marks.close()

    def _packed(self, messages: Sequence[Message]) -> list[OutgoingMessage]:
        return [
            encode_outgoing(message, self._declared[message.queue_name]) for message in messages
        ]

    async def _begin(self, flight: PublishBatch, span: timedelta, waiting: WaitStrategy) -> None:
        """Hand a flight to the publisher, what needs a row stored before."""
        down = self._publisher.down() if self.storing else None
        if down is not None:
            for parcel in flight.good:
                parcel.error = down
            return
        names = {parcel.queue.name for parcel in flight.parcels}
        problems = await self._ensured.make(names, flight.deadline, waiting)
        for parcel in flight.good:
            parcel.error = annotate_not_sent(problems.get(parcel.queue.name))
        leased = [parcel for parcel in flight.good if parcel.needs_row]
        if leased:
            began = time.monotonic()
            await waiting.database(functools.partial(self._lease, flight, leased, span))
            flight.deadline += time.monotonic() - began
        self._submit(flight, flight.good)

    def _lease(self, flight: PublishBatch, parcels: list[OutgoingMessage], span: timedelta) -> None:
        failed = outbox.insert_leased(parcels, span)
        for parcel in parcels:
            if parcel in failed:
                parcel.error = outbox.cannot_store_error(parcel, failed[parcel])
            else:
                parcel.leased = parcel.goes
                parcel.error = parcel.refusal
        if flight.abandoned:  # its task was cancelled while this thread went on
            self._let_go(flight)

    def _submit(self, flight: PublishBatch, parcels: list[OutgoingMessage]) -> None:
        if not parcels:
            return
        flight.ticket = ConfirmBatch()
        for parcel in parcels:
            # Its consumer looks for a duplicate: a relay may send another copy.
            leased = {"outbox": True} if parcel.leased else {}
            parcel.publication = flight.ticket.add(
                parcel.queue.name,
                parcel.body,
                message_properties(parcel.message, **leased),
                unknown=parcel.unknown,
            )
        self._publisher.submit(flight.ticket)

    async def _landed(
        self, flights: deque[PublishBatch], waiting: WaitStrategy
    ) -> list[OutgoingMessage]:
        """Wait for the oldest flight, and do with each of its messages what must be done."""
        flight = flights[0]
        await self._wait(flight, waiting)
        lost = [parcel for parcel in flight.parcels if isinstance(parcel.error, UnroutableError)]
        if lost:
            await self._send_anew(flight, lost, waiting)
        await self._conclude(flight, waiting)
        for parcel in flight.parcels:  # of a million messages only those in flight have a body
            parcel.body, parcel.publication = b"", None
        return flights.popleft().parcels

    async def _wait(self, flight: PublishBatch, waiting: WaitStrategy) -> None:
        if flight.ticket is not None:
            await self._publisher.settled(flight.ticket, flight.deadline, waiting)
        for parcel in flight.parcels:
            if parcel.publication is not None:
                parcel.error = parcel.publication.error
                parcel.unknown = parcel.publication.unknown

    async def _send_anew(
        self, flight: PublishBatch, lost: list[OutgoingMessage], waiting: WaitStrategy
    ) -> None:
        """Make the queues again, once: RabbitMQ may have lost its data."""
        names = {parcel.queue.name for parcel in lost}
        self._ensured.forget(names)
        problems = await self._ensured.make(names, flight.deadline, waiting)
        for parcel in lost:
            problem = problems.get(parcel.queue.name)
            parcel.publication = None
            if problem is None or isinstance(problem, OUTAGES):
                parcel.error = problem
            elif parcel.error is not None:  # it says what to do; the other, why this could not
                parcel.error.__cause__ = problem
        self._submit(flight, [parcel for parcel in lost if parcel.error is None])
        await self._wait(flight, waiting)

    async def _conclude(self, flight: PublishBatch, waiting: WaitStrategy) -> None:
        """Store what RabbitMQ could not take; settle the rows of the rest."""
        self._mark(flight.good)
        if self._stored and flight.good:
            logger.info("RabbitMQ takes jobs again; %d were stored meanwhile", self._stored)
            self._stored = 0
        lost = [parcel for parcel in flight.parcels if is_retryable(parcel)]
        if lost and self.storing:
            await waiting.database(functools.partial(self._store, lost))
        gone = [parcel for parcel in flight.parcels if parcel.leased and parcel.error is not None]
        if gone:
            await waiting.database(functools.partial(self._take_back, gone))

    def _mark(self, confirmed: list[OutgoingMessage]) -> None:
        leased = [parcel for parcel in confirmed if parcel.leased]
        if leased:
            kept = [parcel.key for parcel in leased if parcel.queue.kind == "classic"]
            ended = [parcel.key for parcel in leased if parcel.queue.kind != "classic"]
            self._marks.add("keep", kept)
            self._marks.add("end", ended)

    def _store(self, parcels: list[OutgoingMessage]) -> None:
        if not self._stored:
            logger.warning("%s; jobs are stored, for a relay to send", parcels[0].error)
        self._stored += len(parcels)
        failed = outbox.release_to_relay(parcels)
        for parcel in parcels:
            cause = failed.get(parcel)
            if cause is None or parcel.leased:  # a row that could not be hurried is sent later
                parcel.error, parcel.way = parcel.refusal, "stored"
            elif parcel.error is not None:
                parcel.error = outbox.combined_error(parcel.error, cause)

    def _take_back(self, parcels: list[OutgoingMessage]) -> None:
        failed = outbox.delete_rows_and_locks(parcels)
        self._marks.add("drop", [parcel.key for parcel in failed])

    def _abandon(self, flight: PublishBatch) -> None:
        """Send nothing more of a flight whose sender was interrupted, and wait for nothing."""
        flight.abandoned = True
        if flight.ticket is None:
            self._let_go(flight)
        else:
            self._publisher.withdraw(flight.ticket)
            flight.ticket.settled.then(functools.partial(self._let_go, flight))

    def _let_go(self, flight: PublishBatch) -> None:
        """Remove the rows of what was not sent; what may have been, a relay sends again."""
        leased = [parcel for parcel in flight.parcels if parcel.leased]
        sent = [p for p in leased if p.publication is not None and p.publication.error is None]
        kept = [p for p in leased if p.publication is not None and p.publication.unknown]
        self._mark(sent)
        self._marks.add("drop", [p.key for p in leased if p not in sent and p not in kept])

    def _not_tried(
        self, messages: Sequence[Message], trouble: Exception | None
    ) -> list[OutgoingMessage]:
        error = trouble and type(trouble)(f"nothing was sent, as of one before it: {trouble}")
        return [OutgoingMessage(m, self._declared[m.queue_name], error=error) for m in messages]


def is_retryable(parcel: OutgoingMessage) -> bool:
    """Tell whether RabbitMQ could not take a message now, and did not refuse it for good.

    A classic queue refuses what comes while its node stops, and when it is full: it does not say.
    """
    stops = isinstance(parcel.error, NackedError) and parcel.queue.kind == "classic"
    return stops or isinstance(parcel.error, OUTAGES)


def first_outage(parcels: list[OutgoingMessage]) -> Exception | None:
    """Return an error that the next message would meet as well."""
    kinds = (*OUTAGES, DatabaseUnreachableError)
    return next((p.error for p in parcels if isinstance(p.error, kinds)), None)


def propagate_key_failures(parcels: list[OutgoingMessage]) -> None:
    """Let a message fail whose unique key was held by one of these that failed."""
    failed = {p.message.message_id: p.error for p in parcels if p.error is not None}
    for parcel in parcels:
        if parcel.error is None and parcel.holder in failed:
            parcel.error = failed[parcel.holder]


def annotate_not_sent(problem: Exception | None) -> Exception | None:
    """Say of an outage in time that the message was not sent.

    A queue that this account may not see is no obstacle: RabbitMQ returns what has no queue.
    """
    if isinstance(problem, UnseenQueueError):
        return None
    if isinstance(problem, OUTAGES):
        return type(problem)(f"{problem}; nothing was sent")
    return problem
