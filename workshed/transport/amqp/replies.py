"""What RabbitMQ's error replies mean, and what to do about them."""

from workshed.transport.errors import NackedError, PublishRefusedError, UnroutableError

ACCESS_REFUSED = 403
NOT_FOUND = 404
PRECONDITION_FAILED = 406
INTERNAL_ERROR = 541
HINTS = {
    ACCESS_REFUSED: "the user may not write to the exchange",
    NOT_FOUND: "run `workshed broker setup`, which creates the exchange",
    PRECONDITION_FAILED: "another message in flight was too large",
}

UNAVAILABLE_PHRASES = ("home node", "stopped by supervisor", "due to timeout")


def is_queue_unavailable(error: object) -> bool:
    """Return whether a queue is on a node that is stopping or down, which is also a 404."""
    return any(_is_not_found(error, words) for words in UNAVAILABLE_PHRASES)


def is_queue_missing(error: object) -> bool:
    """Return whether there is no such queue."""
    return _is_not_found(error, "no queue")


def is_unknown_argument(error: object) -> bool:
    """Return whether a 406 means an unknown argument, rather than a queue with other arguments."""
    text = str(getattr(error, "reply_text", error))
    return getattr(error, "reply_code", 0) == PRECONDITION_FAILED and "- invalid arg" in text


def is_internal_error(error: object) -> bool:
    """Return whether RabbitMQ reported an internal error."""
    return getattr(error, "reply_code", 0) == INTERNAL_ERROR


def _is_not_found(error: object, words: str) -> bool:
    text = str(getattr(error, "reply_text", error))
    return getattr(error, "reply_code", 0) == NOT_FOUND and words in text


def describe_unseen_queue(queue: str, reason: str) -> str:
    """Explain that an account may not see a queue, for which RabbitMQ 4.3 needs a permission."""
    return (
        f"queue {queue!r}: this account may not see whether it exists or how full it is "
        f"({reason}). Import the output of `workshed broker definitions`, which grants that"
    )


def channel_closed_error(error: Exception) -> PublishRefusedError:
    """Return an error that says why RabbitMQ closed the channel, and what to do."""
    code = getattr(error, "reply_code", 0)
    hint = HINTS.get(code, "see the log of RabbitMQ")
    kind = UnroutableError if code == NOT_FOUND else PublishRefusedError
    return kind(f"RabbitMQ closed the channel: {error}; {hint}; a copy may have arrived")


def unroutable_error(queue: str, exchange: str, reason: str) -> UnroutableError:
    """Return an error that says that no queue is bound for the message."""
    return UnroutableError(
        f"no queue {queue!r} behind exchange {exchange!r} ({reason}): "
        "run `workshed broker setup`, or start a worker on it"
    )


def nack_error(queue: str) -> NackedError:
    """Return an error that says that the queue itself did not take the message."""
    return NackedError(f"queue {queue!r} refused the message: it is full or has no leader")
