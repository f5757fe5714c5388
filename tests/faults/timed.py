"""An actor that ends about when its time limit strikes, between slow hooks."""

import threading
import time

import dramatiq
from dramatiq.middleware import Middleware

from workshed import Queue, broker
from workshed.jobs import context
from workshed.middleware import OutcomeMiddleware

broker.add_queue(Queue("parts"))

ENDS_S = 0.06
SLOW_S = 0.02
here = threading.local()


class Slow(Middleware):
    """Takes a while before and after each job."""

    def before_process_message(self, broker, message):
        time.sleep(SLOW_S)

    def after_process_message(self, broker, message, *, result=None, exception=None):
        time.sleep(SLOW_S)


class Outcomes(OutcomeMiddleware):
    """Writes each outcome, and whether the function had returned; this is slow too."""

    def handles(self, job, outcome):
        return True

    def on_outcome(self, conn, job, outcome):
        returned = here.__dict__.get("returned") == job.run_id
        values = (*job.message.args, outcome.kind, returned)
        conn.execute("INSERT INTO outcomes VALUES (%s, %s, %s)", values)
        conn.execute("SELECT pg_sleep(%s)", (SLOW_S,))


broker.add_middleware(Slow())
broker.add_middleware(Outcomes())


@dramatiq.actor(broker=broker, queue_name="parts", max_retries=100, min_backoff=50, max_backoff=50)
def work(number):
    """Not idempotent: writes its outcome again. Its first run takes until about the limit."""
    job = context.current_job()
    run, until = job.run_id, time.monotonic() + (ENDS_S if job.attempt == 1 else 0)
    while time.monotonic() < until:
        time.sleep(0.001)
    here.returned = run  # CPython checks for interrupts in calls: none strikes from here to return
