"""The broker without RabbitMQ: the schedule in PostgreSQL is the queue."""

import contextlib
import functools
import importlib
from collections.abc import Generator, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import dramatiq
from dramatiq.middleware import Middleware

from workshed import db
from workshed.database.adapters import run_on
from workshed.errors import DatabaseUnreachableError
from workshed.middleware.composition.callbacks import strip_delay
from workshed.queues import Queue
from workshed.settings import Settings
from workshed.transport import queue_join
from workshed.transport.base import whole_ms
from workshed.transport.consuming_broker import ConsumingBroker
from workshed.transport.errors import PartialSendError
from workshed.transport.publishing.outgoing import Message
from workshed.transport.taking.wake import WakeSender
from workshed.transport.waiting import EventLoopWait, refuse_while_finalizing

if TYPE_CHECKING:
    from workshed.jobs.outbox.schedule import Reason
    from workshed.transport.messages.signing import Signing
    from workshed.transport.taking.table_consumer import TableConsumer
    from workshed.transport.taking.taking_consumption import TakingConsumption

R = TypeVar("R")


class PostgreSQLBroker(ConsumingBroker["TakingConsumption"]):
    """Stores each message as a row, which a worker claims, runs, and deletes with its outcome."""

    consumption_module = "workshed.transport.taking.taking_consumption"
    signing: "Signing | None" = None
    """Rows are not signed: who may write them may write anything."""

    def __init__(
        self, queues: dict[str, Queue], middleware: list[Middleware], config: Settings
    ) -> None:
        """Take the settings; connections open on first use."""
        self._config = config
        self._wake = WakeSender()
        super().__init__(queues, middleware)

    def _make_consumption(self) -> "TakingConsumption":
        module: Any = importlib.import_module(self.consumption_module)
        made: TakingConsumption = module.TakingConsumption(self, self._config)
        return made

    def enqueue(
        self, message: dramatiq.Message[R], *, delay: int | None = None
    ) -> dramatiq.Message[R]:
        """Store a message, due now or after `delay` milliseconds; returns once it is committed.

        Raises what `check_message` raises, or `DatabaseUnreachableError`. A message whose
        `unique_key` another job has is not stored; the one returned has that job's ID.
        """
        refuse_while_finalizing()
        if (conn := self.open_transaction()) is not None:
            return self.send_on(conn, [message], delay=delay)[0]
        return self._store_message(message, delay)

    def enqueue_at(self, message: dramatiq.Message[R], at: datetime) -> dramatiq.Message[R]:
        """Store a message that is due at `at`; raises as in the base class."""
        refuse_while_finalizing()
        with report_outage():
            return super().enqueue_at(message, at)

    async def send_async(
        self, message: dramatiq.Message[R], *, delay: timedelta | None = None
    ) -> dramatiq.Message[R]:
        """Do as `enqueue` does in another thread, without blocking the event loop."""
        refuse_while_finalizing()
        work = functools.partial(self._store_message, message, whole_ms(delay))
        return await EventLoopWait().run_database_work(work)

    def enqueue_many(self, messages: Iterable[Message]) -> list[Message]:
        """Store many messages in one transaction, once all are checked.

        Raises `PartialSendError` if some cannot be stored, such as those with `on_conflict="raise"`
        whose key another job has; it lists them, and those that are stored.
        """
        refuse_while_finalizing()
        if (conn := self.open_transaction()) is not None:
            return self.send_on(conn, messages)
        batch = list(messages)
        for message in batch:
            self.check_message(message)
        sent, unsent = self._store_each(batch)
        if unsent:
            raise PartialSendError(sent, unsent)
        return sent

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30_000) -> "TableConsumer":
        """Take the jobs of a declared queue, once this worker is up; `timeout` in milliseconds."""
        return self._consumption.consume(queue_name, prefetch, timeout / 1000)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue is empty, as dramatiq's brokers do; `timeout` in milliseconds.

        For tests, before `worker.join()`. It also waits for delayed jobs and retries. Raises
        dramatiq's QueueJoinTimeout after `timeout`, and `UndeclaredQueueError`.
        """
        self._check_queue(queue_name)
        count = functools.partial(queue_join.count_rows, queue_name)
        queue_join.wait_until_empty(count, queue_name, self._execution, timeout)

    def get_queue_message_counts(self, queue_name: str) -> queue_join.JoinCounts:
        """Count the messages of a queue that are due, stored for later, and dead.

        Raises `UndeclaredQueueError`.
        """
        self._check_queue(queue_name)
        return queue_join.count_rows(queue_name)

    def flush(self, queue_name: str) -> None:
        """Drop all messages of a queue, including delayed and dead ones; for tests.

        Each ends as a cancelled job, which frees its unique key and counts in its batch. Raises
        `UndeclaredQueueError`.
        """
        from workshed.transport import queue_flush  # noqa: PLC0415 -- only tests need it

        self._check_queue(queue_name)
        queue_flush.flush_rows(self, self.declared_queues[queue_name])
        queue_flush.discard_dead(queue_name)

    def close(self) -> None:
        """Settle the last jobs, and disconnect."""
        if self._made_consumption is not None:
            self._consumption.inbox.close()
        self._wake.close()

    @db.move_to_joined_thread
    def _store_message(self, message: Message, delay: int | None) -> Message:
        """Store a message with its key, if it has one, in one statement.

        The first step of a pipeline may carry a delay of its own: the longer one counts.
        """
        own = message.options.get("delay")
        if isinstance(own, int) and own <= (delay or 0):
            message = strip_delay(message)
        span = None if delay is None else timedelta(milliseconds=delay)
        reason: Reason = "delayed" if delay else "transactional"
        message, statement = self.outbox_statement(message, span, None, reason)
        with report_outage(), db.limited_wait(), db.autocommit_statement() as conn:
            found = conn.execute(*statement)
            row = found.fetchone() if found.description else None
        if not delay and db.joined_connection() is None:
            self._wake.send()
        return self.finish_send(message, span, None if row is None else row[0])

    def _store_each(
        self, batch: list[Message]
    ) -> tuple[list[Message], list[tuple[Message, Exception]]]:
        """Do as `_store_messages`; if PostgreSQL refuses a message, store each by itself."""
        try:
            return self._store_messages(batch)
        except db.errors.Error as err:
            if len(batch) == 1:
                return [], [(batch[0], err)]
        stored = [self._store_each([message]) for message in batch]
        return [one for sent, _ in stored for one in sent], [
            one for _, unsent in stored for one in unsent
        ]

    @db.move_to_joined_thread
    def _store_messages(
        self, batch: list[Message]
    ) -> tuple[list[Message], list[tuple[Message, Exception]]]:
        """Store messages; return those that are stored, and those whose key another job has."""
        unsent: list[tuple[Message, Exception]] = []
        steps = self.outbox_statements(batch, None, None, "transactional", unsent)
        with report_outage(), db.limited_wait(), db.transaction() as conn:
            sent = run_on(conn, steps)
        if db.joined_connection() is None:
            self._wake.send()
        return sent, unsent


@contextlib.contextmanager
def report_outage() -> Generator[None]:
    """Turn the errors of a PostgreSQL that does not answer into `DatabaseUnreachableError`.

    In a transaction that this thread has joined, the error is that of all its work, which is tried
    again with it: that of a job with `once=True`, or of an outcome and its callbacks.
    """
    try:
        yield
    except db.TRANSIENT_ERRORS as err:
        if db.joined_connection() is not None:
            raise
        was = "may have been" if db.commit_is_unknown(err) else "was not"
        raise DatabaseUnreachableError(f"{db.describe_outage(err)}; the job {was} stored") from err
