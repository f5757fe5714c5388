"""What a worker needs of the RabbitMQ broker."""

from collections.abc import Callable

from workshed.middleware.retrying.retries import retry_queues
from workshed.settings import Settings
from workshed.third_party_programs.dramatiq_master import wait_until_registered
from workshed.transport.base import WorkshedBroker
from workshed.transport.consuming.consumer import ConsumerConnection, QueueConsumer
from workshed.transport.consumption import Consumption
from workshed.transport.messages.signing import Signing
from workshed.transport.worker.lifecycle import check_time_limits


class RabbitMQConsumption(Consumption):
    """Consumes through one connection."""

    def __init__(
        self, broker: WorkshedBroker, urls: list[str], signing: Signing | None, config: Settings
    ) -> None:
        """Open nothing yet."""
        self.connection = ConsumerConnection(urls, "consumer", signing)
        super().__init__(broker, self.connection, config)

    def consume(
        self, queue_name: str, prefetch: int, timeout_s: float, missing: Callable[[str], None]
    ) -> QueueConsumer:
        """Consume a declared queue, once this worker is up; `missing` is called with a lost one."""
        wait_until_registered()
        queue = self._broker.declared_queues[queue_name]
        actors = [
            (actor.actor_name, actor.fn.__module__)
            for actor in self._broker.actors.values()
            if queue_name in (actor.queue_name, *retry_queues(actor))
        ]
        return QueueConsumer(
            self.connection,
            queue,
            self.lifecycle.choose_prefetch(queue, prefetch),
            timeout_s,
            self.queue_deliveries,
            self.find_unrunnable,
            missing,
            actors,
        )

    def check_time_limits(self, names: set[str]) -> None:
        """Refuse time limits that are too long for these queues; raises `WorkshedError`."""
        check_time_limits(self._broker, names)
