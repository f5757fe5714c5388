"""What a worker without RabbitMQ needs of its broker."""

from workshed.settings import Settings
from workshed.third_party_programs.dramatiq_master import wait_until_registered
from workshed.transport.base import WorkshedBroker
from workshed.transport.consumption import Consumption
from workshed.transport.taking.table_consumer import TableConsumer
from workshed.transport.taking.table_inbox import TableInbox


class TakingConsumption(Consumption):
    """Takes jobs from PostgreSQL, in one thread."""

    def __init__(self, broker: WorkshedBroker, config: Settings) -> None:
        """Open nothing yet."""
        self.table_inbox = TableInbox()
        super().__init__(broker, self.table_inbox, config)

    def consume(self, queue_name: str, prefetch: int, timeout_s: float) -> TableConsumer:
        """Consume a declared queue, once this worker is up."""
        wait_until_registered()
        queue = self._broker.declared_queues[queue_name]
        return TableConsumer(
            self.table_inbox,
            queue,
            self.lifecycle.choose_prefetch(queue, prefetch),
            timeout_s,
            self.queue_deliveries,
            self.find_unrunnable,
        )
