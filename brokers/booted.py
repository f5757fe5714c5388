"""When a worker of `dramatiq` has told its master that it is up; no job runs before that."""

import multiprocessing
from multiprocessing.synchronize import Event

BOOT_S = 30.0
"""For so long a master waits, too, before it goes on without."""


def wait_until_told() -> None:
    """Return once the master of this process knows of it; at once where there is none.

    A worker says so by an event of `multiprocessing`, which has a lock. Killed at that moment, as
    by its first job, it would keep the lock, and its master wait for it for ever. The event is an
    argument of the process, and told to nobody else.
    """
    process = multiprocessing.current_process()
    if getattr(getattr(process, "_target", None), "__module__", None) != "dramatiq.cli":
        return
    for given in getattr(process, "_args", ()):
        if isinstance(given, Event):
            given.wait(BOOT_S)
