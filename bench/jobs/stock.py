"""dramatiq jobs with dramatiq's own broker and middleware.

`BENCH_CONFIRMS=1` turns on publisher confirms. Queue types come from the virtual host's default.
"""

import os
import time

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench.jobs.recording import record_start
from bench.jobs.work import NAP_S, compute

QUEUES = [f"stock{n}" for n in range(int(os.environ.get("BENCH_QUEUES", "1")))]

broker = RabbitmqBroker(
    url=os.environ["BENCH_STOCK_URL"], confirm_delivery="BENCH_CONFIRMS" in os.environ
)
dramatiq.set_broker(broker)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0])
def noop(sent_ns: int) -> None:
    """Do nothing but record the start."""
    record_start(sent_ns)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0])
def nap(sent_ns: int) -> None:
    """Wait, like a job that calls a network service."""
    record_start(sent_ns)
    time.sleep(NAP_S)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0])
def compute_1ms(sent_ns: int) -> None:
    """Compute for 1 ms."""
    record_start(sent_ns)
    compute(1)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0])
def compute_5ms(sent_ns: int) -> None:
    """Compute for 5 ms."""
    record_start(sent_ns)
    compute(5)


for name in QUEUES[1:]:
    dramatiq.actor(noop.fn, broker=broker, queue_name=name, actor_name=f"noop_{name}")
