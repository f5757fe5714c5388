"""Workshed jobs with every middleware."""

import os
import time
from datetime import timedelta

import dramatiq

from bench.jobs import PREFETCH
from bench.jobs.recording import record_start
from bench.jobs.work import compute
from workshed import Queue, broker
from workshed.middleware import Limit, RetryOn, Unique

QUEUES = [f"bench{n}" for n in range(int(os.environ.get("BENCH_QUEUES", "1")))]
NAP_S = int(os.environ.get("BENCH_NAP_MS", "5")) / 1000
failed_once: set[int] = set()
"""Jobs that have failed in this process."""

for name in QUEUES:
    broker.add_queue(Queue(name, prefetch=PREFETCH))


@dramatiq.actor(broker=broker, queue_name=QUEUES[0], time_limit=60_000)
def noop(sent_ns: int) -> None:
    """Do nothing but record the start."""
    record_start(sent_ns)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0], time_limit=60_000)
def nap(sent_ns: int) -> None:
    """Wait, like a job that calls a network service."""
    record_start(sent_ns)
    time.sleep(NAP_S)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0], time_limit=60_000)
def compute_1ms(sent_ns: int) -> None:
    """Compute for 1 ms."""
    record_start(sent_ns)
    compute(1)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0], time_limit=60_000)
def compute_5ms(sent_ns: int) -> None:
    """Compute for 5 ms."""
    record_start(sent_ns)
    compute(5)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0], time_limit=60_000)
def padded(sent_ns: int, text: str) -> None:  # noqa: ARG001 -- it only has to travel
    """Do nothing, with a long argument."""
    record_start(sent_ns)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0], time_limit=60_000, once=True)
def once(sent_ns: int) -> None:
    """Do nothing, once."""
    record_start(sent_ns)


@dramatiq.actor(broker=broker, queue_name=QUEUES[0], time_limit=60_000, unique=Unique())
def unique(sent_ns: int) -> None:
    """Do nothing, one at a time for each argument."""
    record_start(sent_ns)


@dramatiq.actor(
    broker=broker, queue_name=QUEUES[0], time_limit=60_000, limit=Limit.concurrent(1_000)
)
def concurrent(sent_ns: int) -> None:
    """Do nothing, under a concurrency limit."""
    record_start(sent_ns)


@dramatiq.actor(
    broker=broker,
    queue_name=QUEUES[0],
    time_limit=60_000,
    limit=Limit.bucket(1_000_000, per=timedelta(seconds=1)),
)
def bucket(sent_ns: int) -> None:
    """Do nothing, under a rate limit."""
    record_start(sent_ns)


@dramatiq.actor(
    broker=broker,
    queue_name=QUEUES[0],
    time_limit=60_000,
    retry_on=RetryOn(ConnectionError, attempts=2, wait=timedelta(seconds=1)),
)
def fail(sent_ns: int) -> None:
    """Fail, and be retried after a second."""
    record_start(sent_ns)
    raise ConnectionError("it always fails")


@dramatiq.actor(
    broker=broker,
    queue_name=QUEUES[0],
    time_limit=60_000,
    retry_on=RetryOn(ConnectionError, attempts=2, wait=timedelta(milliseconds=100)),
)
def flaky(sent_ns: int) -> None:
    """Fail on the first attempt; needs a worker of one process."""
    record_start(sent_ns)
    if sent_ns not in failed_once:
        failed_once.add(sent_ns)
        raise ConnectionError("the first attempt fails")


for name in QUEUES[1:]:
    dramatiq.actor(noop.fn, broker=broker, queue_name=name, actor_name=f"noop_{name}")
