"""Taskiq's job on RabbitMQ: an `async def`, or with `BENCH_SYNC=1` a function in a thread.

Its queue is a quorum queue and its publishes are confirmed, both by its defaults.
"""

import asyncio
import os
import time

from taskiq_aio_pika import AioPikaBroker, Queue

from bench.jobs.recording import record_start

QOS = 1_000
"""Deliveries that a worker prefetches; fewer were slower."""
WINDOW = 500
"""Publishes that wait for their confirms at once."""

broker = AioPikaBroker(os.environ["BENCH_STOCK_URL"], qos=QOS).with_queues(Queue(name="taskiq0"))


def noop(sent_ns: int) -> None:
    """Do nothing but record the start."""
    record_start(sent_ns)


async def noop_async(sent_ns: int) -> None:
    """Do nothing but record the start."""
    record_start(sent_ns)


tasks = {"noop": broker.register_task(noop if "BENCH_SYNC" in os.environ else noop_async, "noop")}


def send_many(job: str, count: int) -> None:
    """Publish with at most 500 unconfirmed."""
    asyncio.run(publish(job, count))


async def publish(job: str, count: int) -> None:
    """Publish window by window."""
    await broker.startup()
    for start in range(0, count, WINDOW):
        window = range(min(WINDOW, count - start))
        await asyncio.gather(*(tasks[job].kiq(time.time_ns()) for _ in window))
    await broker.shutdown()
