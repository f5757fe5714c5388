"""Settle many deliveries of a channel with few AMQP frames."""

from collections.abc import Iterable
from typing import Any, Literal

Settlement = Literal["ack", "reject", "requeue"]


class AckingChannel:
    """A consuming channel. Its delivery tags are 1, 2, 3 and so on, settled in any order."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._lowest_unsettled = 1
        self._settled_tags: set[int] = set()

    @property
    def is_open(self) -> bool:
        """Whether deliveries of this channel can still be settled."""
        return bool(self._channel.is_open)

    def settle(self, batch: Iterable[tuple[int, Settlement]]) -> None:
        """Settle each tag once; the acks up to the first unsettled tag share one frame.

        That frame names the highest tag that is acked now, because RabbitMQ closes the channel if a
        tag is settled twice.
        """
        acked = []
        for tag, verb in batch:
            self._settled_tags.add(tag)
            if verb == "ack":
                acked.append(tag)
            else:
                self._channel.basic_reject(tag, requeue=verb == "requeue")
        while self._lowest_unsettled in self._settled_tags:
            self._settled_tags.remove(self._lowest_unsettled)
            self._lowest_unsettled += 1
        together = [tag for tag in acked if tag < self._lowest_unsettled]
        if together:
            self._channel.basic_ack(max(together), multiple=True)
        for tag in acked:
            if tag >= self._lowest_unsettled:
                self._channel.basic_ack(tag)
