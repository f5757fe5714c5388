"""Settle many deliveries of a channel with few frames."""

from collections.abc import Iterable
from typing import Any, Literal

Verb = Literal["ack", "reject", "requeue"]


class AckingChannel:
    """A channel that consumes. Its delivery tags are 1, 2, 3 and so on, settled in any order."""

    def __init__(self, channel: Any) -> None:
        """Nothing is settled; `channel` is pika's."""
        self._channel = channel
        self._low = 1
        self._settled: set[int] = set()

    @property
    def is_open(self) -> bool:
        """Tell whether RabbitMQ still waits for what it has sent here."""
        return bool(self._channel.is_open)

    def settle(self, batch: Iterable[tuple[int, Verb]]) -> None:
        """Settle each tag once; the acks up to the first unsettled tag share one frame.

        That frame names the highest tag acked now: RabbitMQ closes the channel over one that was
        settled before.
        """
        acked = []
        for tag, verb in batch:
            self._settled.add(tag)
            if verb == "ack":
                acked.append(tag)
            else:
                self._channel.basic_reject(tag, requeue=verb == "requeue")
        while self._low in self._settled:
            self._settled.remove(self._low)
            self._low += 1
        together = [tag for tag in acked if tag < self._low]
        if together:
            self._channel.basic_ack(max(together), multiple=True)
        for tag in acked:
            if tag >= self._low:
                self._channel.basic_ack(tag)
