"""Celery jobs, acknowledged late like the others; `BENCH_CONFIRMS=1` confirms publishes."""

import os
import time
from typing import Any

from celery import Celery

from bench.jobs.recording import record_start
from bench.jobs.work import NAP_S, compute

app: Any = Celery("bench", broker=os.environ["BENCH_STOCK_URL"].replace("amqp://", "pyamqp://", 1))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue="celery0",
    worker_prefetch_multiplier=16,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True} if "BENCH_CONFIRMS" in os.environ else {},
)


@app.task(name="noop")
def noop(sent_ns: int) -> None:
    """Do nothing but record the start."""
    record_start(sent_ns)


@app.task(name="nap")
def nap(sent_ns: int) -> None:
    """Wait, like a job that calls a network service."""
    record_start(sent_ns)
    time.sleep(NAP_S)


@app.task(name="compute_1ms")
def compute_1ms(sent_ns: int) -> None:
    """Compute for 1 ms."""
    record_start(sent_ns)
    compute(1)


@app.task(name="compute_5ms")
def compute_5ms(sent_ns: int) -> None:
    """Compute for 5 ms."""
    record_start(sent_ns)
    compute(5)
