"""Short jobs to fill queues with, one actor for each queue."""

import time
from datetime import timedelta

import dramatiq

from workshed import actor

QUEUES = ("critical", "default", "imports", "emails", "low")
DURATION_S = 0.01


def declare_wait_actor(queue: str) -> dramatiq.Actor[[int], None]:
    """Declare the actor of a queue."""

    @actor(queue=queue, name=f"wait_in_{queue}", time_limit=timedelta(minutes=1))
    def wait(number: int) -> None:  # noqa: ARG001 -- distinguishes jobs
        """Wait a moment. Idempotent: a second run only waits again."""
        time.sleep(DURATION_S)

    return wait


ACTORS = {queue: declare_wait_actor(queue) for queue in QUEUES}
