"""Every metric of Workshed, defined once."""

from typing import Literal

from workshed.metrics.meter import METERS as ALL
from workshed.metrics.meter import Counter, Gauge, Histogram

__all__ = ["ALL"]

How = Literal["published", "stored", "scheduled", "duplicate", "refused"]
"""What became of a send."""

OTHER = "other"
"""Stands for each actor and queue that this program does not declare."""

# From a fast disk's confirm to the default deadline of `send`.
CONFIRM_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

# Jobs, told by workers.
JOBS = Counter(
    "jobs",
    "Deliveries by what became of them. `dead` is for good, `retry` runs again, `duplicate` was "
    "a copy.",
    ("actor", "queue", "outcome"),
)
RUN = Histogram("job_run_seconds", "How long the actor ran, each time.", ("actor", "queue"))
WAIT = Histogram(
    "job_wait_seconds",
    "From the publish to the start of the actor: in the queue, and in the worker's memory.",
    ("actor", "queue"),
)
RUNNING = Gauge("jobs_running", "Jobs that run, looked at every second.", ("actor", "queue"))
WITHOUT_LOCK = Counter(
    "unique_lock_lost",
    "Unique jobs that ran although their key was gone: it had expired, or was released by hand.",
    ("actor",),
)
LIMITED = Counter(
    "jobs_over_limit", "Starts that were put off, since the job was over a limit.", ("actor",)
)
GIVEN_BACK = Counter(
    "deliveries_requeued",
    "Deliveries that RabbitMQ got back: not started in time, or while their outcome could not be "
    "stored.",
)
DEAD_QUEUE = Counter(
    "deliveries_dead_lettered",
    "Deliveries sent to `<queue>.dead`: no outcome of theirs can be stored.",
)
UNREADABLE = Counter(
    "unreadable", "Messages that nobody could read, stored among the dead.", ("queue",)
)

SIGNATURE_PROBLEMS = Counter(
    "signature_problems",
    "Messages that the newest of `WORKSHED_SIGNING_KEYS` has not signed: an `older` one has. The "
    "others are unreadable with `WORKSHED_SIGNING=require`, and run with `accept`: a signature is "
    "`missing`, of an `unknown` key, or the message `altered`.",
    ("queue", "problem"),
)

HISTORY_ROWS_DROPPED = Counter(
    "history_rows_dropped", "Runs that are not in the history, since it could not keep up."
)

# Worker processes.
WORKERS = Gauge("workers", "Worker processes.")
THREADS = Gauge("worker_threads", "Threads that run jobs.")
BUSY = Gauge("worker_threads_busy", "Those of them that run one now, looked at every second.")
RELAY_ALIVE = Gauge(
    "relay_alive",
    "1 while any relay of the fleet beats, as its workers see it; else delays and retries wait.",
    mode="livemin",
)

# Connections to RabbitMQ, told by every process that has one.
UP = Gauge(
    "rabbitmq_up",
    "1 while connected; of several processes the least.",
    ("connection",),
    mode="livemin",
)
BLOCKED = Gauge(
    "rabbitmq_blocked",
    "1 while RabbitMQ takes no messages, being short of memory or disk; of several the most.",
    ("connection",),
    mode="livemax",
)

# PostgreSQL, told by workers and relays.
POSTGRESQL_UP = Gauge(
    "postgresql_up", "1 while PostgreSQL answers; of several processes the least.", mode="livemin"
)

# Sends, told by every process that sends.
SENDS = Counter(
    "sends",
    "Messages by what became of the send. `scheduled`: for later, or with a transaction; `stored`: "
    "for a relay, as RabbitMQ could not take it; `duplicate`: another has its key; `refused`: "
    "nobody took it, and its sender was told.",
    ("actor", "queue", "how"),
)
PUBLISH = Histogram(
    "publish_seconds",
    "How long RabbitMQ took to confirm what was sent at once: a message, or a window of 500.",
    buckets=CONFIRM_BUCKETS_S,
)

# The relay.
RELAY_SENT = Counter("relay_sent", "Jobs that relays have sent.", ("queue",))
RELAY_WINDOWS = Counter("relay_windows", "Windows, of 500 jobs at most, that relays have sent.")
RELAY_PUBLISH_FAILURES = Counter(
    "relay_publish_failures",
    "Jobs that RabbitMQ did not take from a relay, tried again in 5 s.",
    ("queue",),
)

# Clocks, and what relays make in their place.
CLOCK_TICK = Gauge(
    "clock_tick_timestamp_seconds",
    "When a clock last looked what is due, as Unix time; it looks every second.",
    mode="livemax",
)
PERIODIC_RUNS = Counter(
    "periodic_runs",
    "Runs of periodic jobs by who created them: a `clock`, or a relay (`catch_up`).",
    ("actor", "by"),
)

# What a relay sees of the whole, every 10 s or less often, so that it takes 1 % of the time at
# most. Every relay tells the same: take the `max`.
LAG = Gauge(
    "schedule_lag_seconds", "For how long the oldest due job waits for a relay.", mode="livemax"
)
SCHEDULE = Gauge(
    "schedule_jobs",
    "Jobs in PostgreSQL: `due` to be sent, `later`, or `sent` and kept until their outcome.",
    ("queue", "state"),
    mode="livemax",
)
DEAD = Gauge("dead_jobs", "Jobs that are dead, until somebody acts.", ("queue",), mode="livemax")
DEAD_AGE = Gauge(
    "dead_age_seconds",
    "How long ago the newest of the dead jobs died; not a number where none is dead.",
    ("queue",),
    mode="livemin",
)
READY = Gauge(
    "queue_ready",
    "Messages on RabbitMQ that no worker has; not a number while it cannot be asked.",
    ("queue",),
    mode="livemax",
)
CONSUMERS = Gauge(
    "queue_consumers", "Worker processes that consume it.", ("queue",), mode="livemax"
)
OLDEST = Gauge(
    "oldest_waiting_seconds",
    "For how long, at most, the oldest job waits that is due: in PostgreSQL, on RabbitMQ, or "
    "unstarted with a worker.",
    ("queue",),
    mode="livemax",
)

PERIODIC_LATE = Gauge(
    "periodic_late_seconds",
    "How long ago the oldest run of a periodic job was planned that nobody has made.",
    mode="livemax",
)
