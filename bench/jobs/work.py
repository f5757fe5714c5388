"""What jobs do that compute, and for how long those wait that wait."""

import time

NAP_S = 0.005


def compute(cpu_ms: int) -> None:
    """Use so much CPU time in this thread; time in which it does not run is not counted."""
    end_ns = time.thread_time_ns() + cpu_ms * 1_000_000
    while time.thread_time_ns() < end_ns:
        pass
