"""Every metric of Workshed, defined once."""

from typing import Literal

from workshed.metrics.metric import METRICS as ALL
from workshed.metrics.metric import Counter, Gauge, Histogram

__all__ = ["ALL"]

SendResult = Literal["published", "stored", "scheduled", "duplicate", "refused"]
"""The result of a send."""

OTHER = "other"
"""The label for every actor and queue that this program does not declare."""

# From the confirm of a fast disk to the default deadline of `send()`.
CONFIRM_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

# Jobs, reported by workers.
JOBS = Counter(
    "jobs",
    "Deliveries by outcome: `retry`, `dead` and `poison` failed, `duplicate` was a copy.",
    ("actor", "queue", "outcome"),
)
JOB_RUN = Histogram("job_run_seconds", "Run time of the actor, per attempt.", ("actor", "queue"))
JOB_WAIT = Histogram(
    "job_wait_seconds",
    "Time from publish to the start of the actor: in the queue, and in the worker's memory.",
    ("actor", "queue"),
)
JOBS_RUNNING = Gauge("jobs_running", "Running jobs, sampled every second.", ("actor", "queue"))
UNIQUE_LOCK_LOST = Counter(
    "unique_lock_lost",
    "Unique jobs that ran without their key, because it had expired or was released manually.",
    ("actor",),
)
ONCE_UNUSED = Counter(
    "once_unused",
    "Jobs with once=True that did not use their transaction, so what they wrote may happen twice.",
    ("actor",),
)
JOBS_OVER_LIMIT = Counter(
    "jobs_over_limit", "Starts postponed because the job was over a limit.", ("actor",)
)
DELIVERIES_REQUEUED = Counter(
    "deliveries_requeued",
    "Deliveries requeued: not started in time, or while their outcome could not be stored.",
)
DELIVERIES_DEAD_LETTERED = Counter(
    "deliveries_dead_lettered",
    "Deliveries sent to `<queue>.dead`, because their outcome cannot be stored.",
)
UNREADABLE = Counter(
    "unreadable", "Messages that could not be read, stored as dead jobs.", ("queue",)
)

SIGNATURE_PROBLEMS = Counter(
    "signature_problems",
    "Messages not signed with the newest of `WORKSHED_SIGNING_KEYS`. `older`: signed with an older "
    "key. The others are unreadable with `WORKSHED_SIGNING=require` and run with `accept`: the "
    "signature is `missing`, from an `unknown` key, or the message was `altered`.",
    ("queue", "problem"),
)

HISTORY_ROWS_DROPPED = Counter(
    "history_rows_dropped", "Runs missing from the history, because it could not keep up."
)

# Worker processes.
WORKERS = Gauge("workers", "Worker processes.")
WORKER_THREADS = Gauge("worker_threads", "Threads that run jobs.")
WORKER_THREADS_BUSY = Gauge(
    "worker_threads_busy", "Threads that are running a job, sampled every second."
)
RELAY_ALIVE = Gauge(
    "relay_alive",
    "1 while any relay has a heartbeat, as workers see it; if 0, delayed jobs and retries wait.",
    mode="livemin",
)

# Connections to RabbitMQ, reported by every process that has one.
RABBITMQ_UP = Gauge(
    "rabbitmq_up",
    "1 while connected; the minimum over processes.",
    ("connection",),
    mode="livemin",
)
RABBITMQ_BLOCKED = Gauge(
    "rabbitmq_blocked",
    "1 while RabbitMQ takes no messages, because it is short of memory or disk; the maximum over "
    "processes.",
    ("connection",),
    mode="livemax",
)

# PostgreSQL, reported by workers and relays.
POSTGRESQL_UP = Gauge(
    "postgresql_up", "1 while PostgreSQL answers; the minimum over processes.", mode="livemin"
)

# Sends, reported by every process that sends.
SENDS = Counter(
    "sends",
    "Messages by result of the send. `scheduled`: for later, or with a transaction; `stored`: for "
    "a relay, because RabbitMQ could not take it; `duplicate`: another job holds its key; "
    "`refused`: not accepted, and the sender got an error.",
    ("actor", "queue", "how"),
)
PUBLISH = Histogram(
    "publish_seconds",
    "Time until RabbitMQ confirmed a publish: a single message, or a window of 500.",
    buckets=CONFIRM_BUCKETS_S,
)

# The relay.
RELAY_SENT = Counter("relay_sent", "Jobs published by relays.", ("queue",))
RELAY_WINDOWS = Counter("relay_windows", "Windows of at most 500 jobs published by relays.")
RELAY_PUBLISH_FAILURES = Counter(
    "relay_publish_failures",
    "Jobs that RabbitMQ did not take from a relay; retried after 5 s.",
    ("queue",),
)

# Clocks, and the runs that relays create instead.
CLOCK_TICK = Gauge(
    "clock_tick_timestamp_seconds",
    "When a clock last checked for due runs, as Unix time; it checks every second.",
    mode="livemax",
)
PERIODIC_RUNS = Counter(
    "periodic_runs",
    "Runs of periodic jobs by who created them: a `clock`, or a relay (`catch_up`).",
    ("actor", "by"),
)

# Figures of the whole system, measured by relays every 10 s, or less often so that this takes at
# most 1 % of the time. Every relay reports the same: use `max`.
SCHEDULE_LAG = Gauge(
    "schedule_lag_seconds", "How long the oldest due job has waited for a relay.", mode="livemax"
)
SCHEDULE_JOBS = Gauge(
    "schedule_jobs",
    "Jobs in PostgreSQL: `due` now, due `later`, or `sent` and kept until their outcome is stored.",
    ("queue", "state"),
    mode="livemax",
)
DEAD_JOBS = Gauge(
    "dead_jobs", "Dead jobs, until they are retried or discarded.", ("queue",), mode="livemax"
)
DEAD_AGE = Gauge(
    "dead_age_seconds",
    "How long ago the newest dead job died; NaN if no job is dead.",
    ("queue",),
    mode="livemin",
)
QUEUE_READY = Gauge(
    "queue_ready",
    "Messages on RabbitMQ that no worker holds, NaN while RabbitMQ does not answer; without "
    "RabbitMQ, due jobs that no worker has claimed.",
    ("queue",),
    mode="livemax",
)
SCHEDULE_ENDED_RATE = Gauge(
    "schedule_ended_per_second",
    "Without RabbitMQ: rows of the schedule deleted per second, one for each attempt that ended, "
    "over the last minute. From about 500 on, move to RabbitMQ.",
    mode="livemax",
)
SCHEDULE_DEAD_ROWS = Gauge(
    "schedule_dead_rows",
    "Without RabbitMQ: versions of rows of the schedule that vacuum has yet to remove.",
    mode="livemax",
)
SCHEDULE_INDEX_BYTES = Gauge(
    "schedule_index_bytes",
    "Without RabbitMQ: size of the indexes of the schedule, in bytes.",
    mode="livemax",
)
QUEUE_CONSUMERS = Gauge(
    "queue_consumers", "Worker processes that consume the queue.", ("queue",), mode="livemax"
)
OLDEST_WAITING = Gauge(
    "oldest_waiting_seconds",
    "How long, at most, the oldest due job has waited: in PostgreSQL, on RabbitMQ, or unstarted in "
    "a worker.",
    ("queue",),
    mode="livemax",
)

PERIODIC_LATE = Gauge(
    "periodic_late_seconds",
    "How overdue the oldest periodic run is that no clock or relay has created.",
    mode="livemax",
)

# The web console, with `--metrics-port`.
CONSOLE_LOGINS = Counter(
    "console_logins",
    "Logins with a password: `succeeded`, `failed` (wrong name or password), or `refused` without "
    "a check, because too many had failed or were under way.",
    ("outcome",),
)
