"""An actor with a limit that records when it ran, so that concurrent runs can be counted.

Its leases are short, because an experiment has to wait for those of the workers it kills. As long
as there is a file `hold`, running jobs keep their slots.
"""

import os
import time
from datetime import timedelta
from pathlib import Path

import dramatiq

from workshed import Queue, broker, db
from workshed.jobs.locks import limits
from workshed.middleware import Limit
from workshed.middleware.concurrency import lease_renewal

AT_A_TIME = 3
HOLD = Path(__file__).with_name("hold")
limits.LEASE = timedelta(seconds=5)
lease_renewal.EVERY_S = 0.5

broker.add_queue(Queue("parts"))


@dramatiq.actor(broker=broker, queue_name="parts", limit=Limit.concurrent(AT_A_TIME))
def work(number):
    """Not idempotent: a second run writes a second row, even if the first run was killed."""
    began = "INSERT INTO runs (number, pid, began) VALUES (%s, %s, clock_timestamp()) RETURNING id"
    with db.transaction() as conn:
        (run,) = conn.execute(began, (number, os.getpid())).fetchone()
    time.sleep(0.05)
    while HOLD.exists():
        time.sleep(0.01)
    with db.transaction() as conn:
        conn.execute("UPDATE runs SET ended = clock_timestamp() WHERE id = %s", (run,))
