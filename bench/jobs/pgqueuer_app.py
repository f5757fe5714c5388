"""PgQueuer's worker and job, an `async def`, which it runs faster than a function in a thread."""

import asyncio
import os
import signal
import time

import asyncpg
from pgqueuer import Job, PgQueuer
from pgqueuer.queries import Queries

from bench.jobs.recording import record_start

URL = os.environ["BENCH_PGQUEUER_URL"]
BATCH = 100


async def work() -> None:
    """Run jobs until SIGTERM, as `pgq run --batch-size 100` does."""
    async with asyncpg.create_pool(URL, min_size=2) as pool:
        app = PgQueuer.from_asyncpg_pool(pool)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, app.shutdown.set)

        @app.entrypoint("noop")
        async def noop(job: Job) -> None:
            """Do nothing but record the start."""
            record_start(int(job.payload or b"0"))

        await app.run(batch_size=BATCH)


def send_many(job: str, count: int) -> None:
    """Store all jobs by one statement."""
    asyncio.run(store_jobs(job, count))


async def store_jobs(job: str, count: int) -> None:
    """Store jobs with the time at which each is sent."""
    conn = await asyncpg.connect(URL)
    try:
        queries = Queries.from_asyncpg_connection(conn)
        sent = [str(time.time_ns()).encode() for _ in range(count)]
        await queries.enqueue([job] * count, list(sent), [0] * count)
    finally:
        await conn.close()


if __name__ == "__main__":
    asyncio.run(work())
