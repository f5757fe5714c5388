"""An actor on each queue, for code that inspects the actors of an application."""

import dramatiq

from tests.library.queues import QUEUES
from workshed import broker
from workshed.duration import ms

for name in (queue.name for queue in QUEUES):
    declare = dramatiq.actor(
        broker=broker, queue_name=name, actor_name=f"to_{name}", time_limit=ms(minutes=1)
    )
    declare(print)
