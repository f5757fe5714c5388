"""The priorities of Django's tasks as those of RabbitMQ."""

HIGHEST = 100
"""The highest priority of a task."""
LEVELS = 10
"""The levels of queues that the backend declares."""


def to_level(priority: int, levels: int) -> int:
    """Return RabbitMQ's priority on a queue with this many levels.

    Priorities from -100 to 0 are level 0, which the jobs of actors have by default. The levels
    above divide 1 to 100 evenly. Priorities below 0 have no level of their own: then tasks with
    the default priority would start before all jobs of actors, and no delivery would show how old
    the oldest job of the queue is.
    """
    return max(0, -(-priority * levels // HIGHEST))
