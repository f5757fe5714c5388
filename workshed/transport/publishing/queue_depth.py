"""Ask RabbitMQ how many messages wait in a queue, over the publishing connection."""

from concurrent.futures import Future
from typing import Any, NamedTuple

from pika.exceptions import AMQPError

from workshed.transport.amqp import replies
from workshed.transport.errors import BrokerUnreachableError, UnseenQueueError
from workshed.transport.publishing.publisher import Publisher


class QueueDepth(NamedTuple):
    """The answer to a passive declaration; messages held by a consumer are not `ready`."""

    ready: int
    consumers: int


DepthFuture = Future[QueueDepth | None]


class QueueDepthClient(Publisher):
    """A publisher that can ask how full a queue is, each time on a temporary channel."""

    @property
    def urls(self) -> list[str]:
        """The servers it publishes to."""
        return self._urls

    @property
    def prefix(self) -> str:
        """The prefix of queue names on RabbitMQ."""
        return self._prefix

    def count_ready(self, queue: str, timeout_s: float) -> int | None:
        """Return how many messages of a queue no consumer holds; raises like `depth`."""
        found = self.fetch_depth(queue, timeout_s)
        return None if found is None else found.ready

    def fetch_depth(self, queue: str, timeout_s: float) -> QueueDepth | None:
        """Return the depth of a queue; `None` if there is no such queue.

        Raises `BrokerUnreachableError` without an answer, also while RabbitMQ is blocked, and
        `UnseenQueueError` if this account may not see the queue.
        """
        answer: DepthFuture = Future()
        self._ensure_link().call_soon(lambda: self._request_depth(queue, answer))
        try:
            return answer.result(timeout_s)
        except TimeoutError:
            raise BrokerUnreachableError(
                f"RabbitMQ did not say within {timeout_s:g} s how full queue {queue!r} is"
            ) from None

    def _request_depth(self, queue: str, answer: DepthFuture) -> None:
        if self._channel is None:
            answer.set_exception(BrokerUnreachableError(self._ensure_link().last_error))
            return

        name = self._prefix + queue

        def ask(channel: Any) -> None:
            channel.add_on_close_callback(lambda _, error: resolve_depth(answer, name, error))
            channel.queue_declare(name, passive=True, callback=lambda found: report(channel, found))

        def report(channel: Any, found: Any) -> None:
            answer.set_result(QueueDepth(found.method.message_count, found.method.consumer_count))
            channel.close()

        try:
            self._channel.connection.channel(on_open_callback=ask)
        except AMQPError as err:  # it is being closed
            answer.set_exception(BrokerUnreachableError(str(err)))


def resolve_depth(answer: DepthFuture, queue: str, error: Any) -> None:
    """Set the answer, or the error that explains why there is none."""
    if answer.done():  # we closed the channel ourselves
        return
    if replies.is_queue_missing(error):
        answer.set_result(None)
    elif getattr(error, "reply_code", 0) == replies.ACCESS_REFUSED:
        answer.set_exception(
            UnseenQueueError(replies.describe_unseen_queue(queue, str(error.reply_text)))
        )
    else:
        text = str(getattr(error, "reply_text", error))
        answer.set_exception(BrokerUnreachableError(text))
