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
LEASE_GRACE = timedelta(seconds=5)
"""How long after a sender's deadline a relay waits before it sends that sender's leased rows."""
OUTAGE_ERRORS = (BrokerUnreachableError, BrokerBlockedError)


class Sender:
    """Makes each message durable, or sets the error that says why it is not."""

    def __init__(
        self,
        publisher: Publisher,
        ensured: QueueDeclarer,
        declared: Mapping[str, Queue],
        timeout: timedelta,
        *,
        storing: bool,
    ) -> None:
        """Open nothing. `storing`: fall back to PostgreSQL if RabbitMQ cannot take a message."""
        self.timeout = timeout
        self.has_fallback = storing
        self._publisher = publisher
        self._declarer = ensured
        self._declared_queues = declared
        self._cleaner = OutboxCleaner()
        self._stored_count = 0

    async def send(
        self, messages: Sequence[Message], waiting: WaitStrategy
    ) -> list[OutgoingMessage]:
        """Send checked messages in windows, two in flight; each ends durable, or with its error.

        After a window that could be neither sent nor stored, the rest is not tried.
        """
        span = self.timeout * (WINDOWS_IN_FLIGHT if len(messages) > WINDOW else 1) + LEASE_GRACE
        in_flight: deque[PublishBatch] = deque()
        confirmed: list[OutgoingMessage] = []
        try:
            for start in range(0, len(messages), WINDOW):
                # While RabbitMQ works on two windows, the next one is made ready.
                encoded = self._encode(messages[start : start + WINDOW])
                if len(in_flight) == WINDOWS_IN_FLIGHT:
                    confirmed += await self._await_oldest_batch(in_flight, waiting)
                    if first_outage(confirmed[-WINDOW:]):
                        break
                deadline = time.monotonic() + self.timeout.total_seconds()
                in_flight.append(PublishBatch(encoded, deadline))
                await self._start_batch(in_flight[-1], span, waiting)
            while in_flight:
                confirmed += await self._await_oldest_batch(in_flight, waiting)
        except BaseException:
            for batch in in_flight:
                self._abandon(batch)
            raise
        confirmed += self._mark_untried(messages[len(confirmed) :], first_outage(confirmed))
        propagate_key_failures(confirmed)
        return confirmed

    def store_in_transaction(self, messages: Sequence[Message]) -> list[OutgoingMessage]:
        """Store checked messages in the transaction this thread has joined; a relay sends them."""
        encoded = self._encode(messages)
        for start in range(0, len(encoded), WINDOW):
            window = [each for each in encoded[start : start + WINDOW] if each.state == "pending"]
            outbox.insert_in_joined_transaction(window)
            for outgoing in window:
                outgoing.finish("scheduled")
        return encoded

    def close(self) -> None:
        """Write what is known of the rows of sent messages."""
        self._cleaner.close()

    def _encode(self, messages: Sequence[Message]) -> list[OutgoingMessage]:
        return [
            encode_outgoing(message, self._declared_queues[message.queue_name])
            for message in messages
        ]

    async def _start_batch(
        self, batch: PublishBatch, span: timedelta, waiting: WaitStrategy
    ) -> None:
        """Store the messages that need a row, then hand the batch to the publisher."""
        down = self._publisher.outage() if self.has_fallback else None
        if down is not None:
            for outgoing in batch.pending:
                outgoing.refuse(down)
            return
        names = {outgoing.queue.name for outgoing in batch.messages}
        problems = await self._declarer.declare(names, batch.deadline, waiting)
        if problems:
            for outgoing in batch.pending:
                if problem := annotate_not_sent(problems.get(outgoing.queue.name)):
                    outgoing.refuse(problem)
        need_row = [outgoing for outgoing in batch.pending if outgoing.needs_row]
        if need_row:
            began = time.monotonic()
            await waiting.run_database_work(functools.partial(self._lease, batch, need_row, span))
            batch.deadline += time.monotonic() - began
        self._submit(batch, batch.pending)

    def _lease(
        self, batch: PublishBatch, messages: Sequence[OutgoingMessage], span: timedelta
    ) -> None:
        failed = outbox.insert_leased(messages, span)
        for outgoing in messages:
            if outgoing in failed:
                outgoing.refuse(outbox.cannot_store_error(outgoing, failed[outgoing]))
            elif outgoing.conflict is None:
                outgoing.is_leased = True
            else:
                outgoing.finish("scheduled")
        if batch.is_abandoned:  # its task was cancelled while this thread went on
            self._drop_abandoned_rows(batch)

    def _submit(self, batch: PublishBatch, messages: Sequence[OutgoingMessage]) -> None:
        if not messages:
            return
        batch.confirms = ConfirmBatch()
        for outgoing in messages:
            outgoing.publish(batch.confirms)
        self._publisher.submit(batch.confirms)

    async def _await_oldest_batch(
        self, in_flight: deque[PublishBatch], waiting: WaitStrategy
    ) -> list[OutgoingMessage]:
        """Wait for RabbitMQ's answers to the oldest batch, and act on each of them."""
        batch = in_flight[0]
        await self._await_confirms(batch, waiting)
        lost = [each for each in batch.messages if isinstance(each.error, UnroutableError)]
        if lost:
            await self._redeclare_and_resend(batch, lost, waiting)
        await self._finish_batch(batch, waiting)
        for outgoing in batch.messages:  # of a million messages only those in flight have a body
            outgoing.body, outgoing.publication = b"", None
        return in_flight.popleft().messages

    async def _await_confirms(self, batch: PublishBatch, waiting: WaitStrategy) -> None:
        if batch.confirms is not None:
            await self._publisher.await_confirms(batch.confirms, batch.deadline, waiting)
        for outgoing in batch.messages:
            outgoing.finish_publish()

    async def _redeclare_and_resend(
        self, batch: PublishBatch, lost: Sequence[OutgoingMessage], waiting: WaitStrategy
    ) -> None:
        """Make the queues again, once: RabbitMQ may have lost its data."""
        names = {outgoing.queue.name for outgoing in lost}
        self._declarer.invalidate(names)
        problems = await self._declarer.declare(names, batch.deadline, waiting)
        for outgoing in lost:
            problem = problems.get(outgoing.queue.name)
            outgoing.publication = None
            if problem is None:
                outgoing.retry()
            elif isinstance(problem, OUTAGE_ERRORS):
                outgoing.refuse(problem)
            elif outgoing.error is not None:  # it says what to do; the other, why this could not
                outgoing.error.__cause__ = problem
        self._submit(batch, batch.pending)
        await self._await_confirms(batch, waiting)

    async def _finish_batch(self, batch: PublishBatch, waiting: WaitStrategy) -> None:
        """Store the messages that RabbitMQ could not take, and settle the rows of the rest."""
        published = [outgoing for outgoing in batch.messages if outgoing.state == "published"]
        self._clean_up_rows(published)
        if self._stored_count and published:
            logger.info("RabbitMQ takes jobs again; %d were stored meanwhile", self._stored_count)
            self._stored_count = 0
        lost = [outgoing for outgoing in batch.messages if is_retryable(outgoing)]
        if lost and self.has_fallback:
            await waiting.run_database_work(functools.partial(self._store, lost))
        refused = [each for each in batch.messages if each.is_leased and each.state == "refused"]
        if refused:
            await waiting.run_database_work(functools.partial(self._delete_unsent, refused))

    def _clean_up_rows(self, confirmed: Sequence[OutgoingMessage]) -> None:
        leased = [outgoing for outgoing in confirmed if outgoing.is_leased]
        if leased:
            kept = [outgoing.key for outgoing in leased if outgoing.queue.kind == "classic"]
            ended = [outgoing.key for outgoing in leased if outgoing.queue.kind != "classic"]
            self._cleaner.add("keep_until_done", kept)
            self._cleaner.add("delivered", ended)

    def _store(self, messages: Sequence[OutgoingMessage]) -> None:
        if not self._stored_count:
            logger.warning(
                "%s; jobs are stored in PostgreSQL, and a relay publishes them", messages[0].error
            )
        self._stored_count += len(messages)
        failed = outbox.release_to_relay(messages)
        for outgoing in messages:
            cause = failed.get(outgoing)
            if cause is None or outgoing.is_leased:  # a relay sends a leased one later, by itself
                outgoing.finish("stored")
            elif outgoing.error is not None:
                outgoing.refuse(outbox.combined_error(outgoing.error, cause))

    def _delete_unsent(self, messages: Sequence[OutgoingMessage]) -> None:
        failed = outbox.delete_rows_and_locks(messages)
        self._cleaner.add("cancelled", [outgoing.key for outgoing in failed])

    def _abandon(self, batch: PublishBatch) -> None:
        """Send nothing more of a batch whose sender was interrupted, and wait for nothing."""
        batch.is_abandoned = True
        if batch.confirms is None:
            self._drop_abandoned_rows(batch)
        else:
            self._publisher.withdraw(batch.confirms)
            batch.confirms.all_confirmed.add_callback(
                functools.partial(self._drop_abandoned_rows, batch)
            )

    def _drop_abandoned_rows(self, batch: PublishBatch) -> None:
        """Delete the rows of messages that were not sent; a relay resends those in doubt."""
        leased = [outgoing for outgoing in batch.messages if outgoing.is_leased]
        for outgoing in leased:
            outgoing.finish_publish()
        sent = [outgoing for outgoing in leased if outgoing.state == "published"]
        self._clean_up_rows(sent)
        unsent = [each for each in leased if each not in sent and not each.may_have_arrived]
        self._cleaner.add("cancelled", [outgoing.key for outgoing in unsent])

    def _mark_untried(
        self, messages: Sequence[Message], trouble: Exception | None
    ) -> list[OutgoingMessage]:
        untried = [
            OutgoingMessage(each, self._declared_queues[each.queue_name]) for each in messages
        ]
        for outgoing in untried:
            if trouble is not None:
                outgoing.refuse(
                    type(trouble)(f"not sent, because a message before it failed: {trouble}")
                )
        return untried


def is_retryable(outgoing: OutgoingMessage) -> bool:
    """Return whether RabbitMQ could not take a message now, and did not refuse it for good.

    A classic queue refuses messages while its node stops, and when it is full. The answer does not
    tell which.
    """
    stops = isinstance(outgoing.error, NackedError) and outgoing.queue.kind == "classic"
    return stops or isinstance(outgoing.error, OUTAGE_ERRORS)


def first_outage(messages: Sequence[OutgoingMessage]) -> Exception | None:
    """Return an error that the next message would meet as well."""
    kinds = (*OUTAGE_ERRORS, DatabaseUnreachableError)
    return next((each.error for each in messages if isinstance(each.error, kinds)), None)


def propagate_key_failures(messages: Sequence[OutgoingMessage]) -> None:
    """Refuse each duplicate of a message in the same call that failed."""
    failed = {each.message.message_id: each.error for each in messages if each.error}
    for outgoing in messages:
        holder = outgoing.key_holder
        if outgoing.error is None and holder in failed:
            outgoing.refuse(failed[holder])


def annotate_not_sent(problem: Exception | None) -> Exception | None:
    """Add to an outage's error that the message was not sent; ignore an invisible queue.

    A queue that this account may not see is no obstacle: RabbitMQ returns messages that no queue
    takes.
    """
    if isinstance(problem, UnseenQueueError):
        return None
    if isinstance(problem, OUTAGE_ERRORS):
        return type(problem)(f"{problem}; nothing was sent")
    return problem
