"""Procrastinate's job: an `async def`, which it runs faster than a function in a thread."""

import os
import time

from procrastinate import App, PsycopgConnector

from bench.jobs.recording import record_start

POOL = 10
"""Connections: one for each of eight jobs, and two for what the worker itself asks."""

app = App(
    connector=PsycopgConnector(
        conninfo=os.environ["BENCH_PROCRASTINATE_URL"], min_size=POOL, max_size=POOL
    )
)


@app.task(name="noop")
async def noop(sent_ns: int) -> None:
    """Do nothing but record the start."""
    record_start(sent_ns)


def send_many(job: str, count: int) -> None:
    """Store all jobs by one statement."""
    with app.open():
        app.tasks[job].batch_defer(*({"sent_ns": time.time_ns()} for _ in range(count)))
