"""A broker for unit tests, which checks and records sends."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

import dramatiq
from dramatiq.errors import QueueJoinTimeout
from dramatiq.worker import Worker

from workshed.errors import WorkshedError
from workshed.transport.base import WorkshedBroker
from workshed.transport.queue_join import JoinCounts

R = TypeVar("R")


class Stub(WorkshedBroker):
    """`WORKSHED_BROKER_URL=stub://`: plain sends are checked and kept in `sent`, oldest first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sent: list[dramatiq.Message[Any]] = []

    def enqueue(
        self, message: dramatiq.Message[R], *, delay: int | None = None
    ) -> dramatiq.Message[R]:
        """Record a plain send."""
        if delay:
            raise WorkshedError("stub:// has no schedule: a delayed job needs PostgreSQL")
        self.check_message(message)
        self._before_send(message, delay)
        self.sent.append(message)
        self.emit_after("enqueue", message, delay)
        return message

    def enqueue_at(
        self,
        message: dramatiq.Message[R],
        at: datetime,  # noqa: ARG002 -- nothing is due here
    ) -> dramatiq.Message[R]:
        """Refuse: nothing can be delayed here."""
        return self.enqueue(message, delay=1)

    def enqueue_many(
        self, messages: Iterable[dramatiq.Message[Any]]
    ) -> list[dramatiq.Message[Any]]:
        """Record plain sends, once all of them are checked."""
        batch = list(messages)
        for message in batch:
            self.check_message(message)
        return [self.enqueue(message) for message in batch]

    async def send_async(
        self, message: dramatiq.Message[R], *, delay: timedelta | None = None
    ) -> dramatiq.Message[R]:
        """Record a plain send."""
        wait = None if delay is None else delay // timedelta(milliseconds=1)
        return self.enqueue(message, delay=wait)

    def write_outcome(self, *_: object, **__: object) -> NoReturn:
        """Refuse: no job runs here. The test kit replaces this method, for `OncePerMessage`."""
        self.consume()

    def check_worker(self, worker: Worker) -> NoReturn:  # noqa: ARG002 -- none can work here
        """Refuse: nothing can be consumed here."""
        self.consume()

    def consume(self, *_: object, **__: object) -> NoReturn:
        """Refuse: nothing can be consumed here."""
        raise WorkshedError("stub:// only records sends; set WORKSHED_BROKER_URL to a RabbitMQ")

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Return if nothing was sent to a queue; otherwise raise, because nothing runs here.

        Raises dramatiq's `QueueJoinTimeout` if there is a `timeout` (milliseconds). Without one,
        raises `WorkshedError`, because it would wait forever.
        """
        self._check_queue(queue_name)
        if not any(message.queue_name == queue_name for message in self.sent):
            return
        if timeout is not None:
            raise QueueJoinTimeout(queue_name)  # type: ignore[no-untyped-call]  # dramatiq's
        raise WorkshedError(
            "stub:// only records sends, so this would never return; in tests that run jobs use "
            "the fixture `jobs` (docs/testing.md)"
        )

    def get_queue_message_counts(self, queue_name: str) -> JoinCounts:
        """Count the messages sent to a queue; none is delayed or dead here."""
        self._check_queue(queue_name)
        return JoinCounts(sum(one.queue_name == queue_name for one in self.sent), 0, 0)

    def flush(self, queue_name: str) -> None:
        """Forget what was sent to a queue."""
        self.sent = [message for message in self.sent if message.queue_name != queue_name]

    def flush_all(self) -> None:
        """Forget all that was sent."""
        self.sent.clear()
