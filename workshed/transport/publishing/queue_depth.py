"""Ask RabbitMQ how many messages wait in a queue, over the publishing connection."""

import time
from concurrent.futures import Future
from typing import Any, NamedTuple

from pika.exceptions import AMQPError

from workshed.transport.amqp import replies
from workshed.transport.errors import BrokerUnreachableError, UnseenQueueError
from workshed.transport.publishing.publisher import Publisher

STAT_TIMEOUT_S = 0.25
"""RabbitMQ answers "empty, without consumers" if a quorum queue's leader is silent for so long."""
FAR_ANSWERS = 3
"""After this many late answers, it counts whether the server is merely far away."""


class QueueDepth(NamedTuple):
    """The answer to a passive declaration; messages held by a consumer are not `ready`."""

    ready: int
    consumers: int


DepthFuture = Future[QueueDepth | None]


class DepthCheck:
    """Decides whether an answer is one, or only says that the leader of the queue was silent.

    A quorum queue whose leader is busy or moves to another node is reported as empty, which a drain
    or a health check would believe. Such an answer comes late, and so does any from a server that
    is far away: that one also takes long to open a channel, which no leader takes part in.
    """

    def __init__(self) -> None:
        self._late = 0
        self._round_trip_s = float("inf")

    def note_round_trip(self, duration_s: float) -> None:
        """Note how long the server took for a request that it answers itself."""
        self._round_trip_s = min(self._round_trip_s, duration_s)

    def is_silence(self, found: QueueDepth, duration_s: float) -> bool:
        """Return whether to ask again; `duration_s` is how long the answer took."""
        if found.ready or found.consumers or duration_s < STAT_TIMEOUT_S:
            return False
        self._late += 1
        return self._late < FAR_ANSWERS or duration_s - self._round_trip_s > STAT_TIMEOUT_S / 2


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

        Raises `BrokerUnreachableError` without an answer, also while RabbitMQ is blocked or the
        leader of the queue is silent, and `UnseenQueueError` if this account may not see the queue.
        """
        request = DepthRequest(self._prefix + queue, time.monotonic() + timeout_s)
        self._ensure_link().call_soon(lambda: self._request_depth(request))
        try:
            return request.answer.result(timeout_s)
        except TimeoutError:
            raise BrokerUnreachableError(
                f"RabbitMQ did not say within {timeout_s:g} s how full queue {queue!r} is"
            ) from None

    def _request_depth(self, request: "DepthRequest") -> None:
        if self._channel is None:
            request.answer.set_exception(BrokerUnreachableError(self._ensure_link().last_error))
            return
        request.start(self._channel.connection)


class DepthRequest:
    """A question about one queue, asked until its leader has answered; each time on a new channel.

    Its methods run in the thread of the connection.
    """

    def __init__(self, queue: str, deadline: float) -> None:
        """Ask nothing yet. `deadline` is a time of `time.monotonic`."""
        self.answer: DepthFuture = Future()
        self._queue = queue
        self._deadline = deadline
        self._check = DepthCheck()
        self._started_at = 0.0
        self._is_asking_again = False

    def start(self, connection: Any) -> None:
        """Open a channel and ask on it."""
        self._started_at = time.monotonic()
        self._is_asking_again = False
        try:
            connection.channel(on_open_callback=self._ask)
        except AMQPError as err:  # it is being closed
            self.answer.set_exception(BrokerUnreachableError(str(err)))

    def _ask(self, channel: Any) -> None:
        asked_at = time.monotonic()
        self._check.note_round_trip(asked_at - self._started_at)
        channel.add_on_close_callback(self._end)
        channel.queue_declare(
            self._queue,
            passive=True,
            callback=lambda found: self._take(channel, found.method, time.monotonic() - asked_at),
        )

    def _take(self, channel: Any, found: Any, duration_s: float) -> None:
        depth = QueueDepth(found.message_count, found.consumer_count)
        if not self._check.is_silence(depth, duration_s):
            self.answer.set_result(depth)
        elif time.monotonic() + STAT_TIMEOUT_S < self._deadline:
            self._is_asking_again = True
        else:
            self.answer.set_exception(BrokerUnreachableError(describe_silence(self._queue)))
        channel.close()

    def _end(self, channel: Any, error: Any) -> None:
        if self._is_asking_again and channel.connection.is_open:
            self.start(channel.connection)
        else:
            resolve_depth(self.answer, self._queue, error)


def describe_silence(queue: str) -> str:
    """Say that RabbitMQ cannot know the depth of a queue."""
    return f"RabbitMQ cannot say how full queue {queue!r} is: its leader does not answer"


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
