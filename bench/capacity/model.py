"""The capacity model: a load, and what it needs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from bench.capacity.figures import Cost, Figures
from workshed.console.doctor.postgresql import OUTSIDE_POOL, RELAY_CONNECTIONS

AMQP_PER_WORKER = 2
AMQP_PER_RELAY = 1
ONE_CORE = 1.0
"""Cores that a worker process can use: its interpreter runs one thread at a time."""
RELAYED_KINDS = ("stored", "in a batch", "fails once")


@dataclass(frozen=True)
class Load:
    """Jobs of one kind, or a mix of kinds described by the mean of each figure."""

    rate: float
    """Jobs per second."""
    job_ms: float = 0.0
    """How long a job itself takes, including what it waits for."""
    cpu_ms: float = 0.0
    """How much of that is CPU time."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Share of jobs of each kind in `figures.KINDS`, 0 to 1; a job may be of several kinds."""
    threads: int = 8
    pool: int = 8
    """`WORKSHED_POOL_SIZE`."""
    max_utilisation: float = 0.7
    """How much of each resource may be used; the rest is headroom for peaks and failures."""


@dataclass(frozen=True)
class Need:
    """What a load needs; cores are as fast as those on which the figures were measured."""

    worker_cores: float
    processes: int
    """Worker processes, limited by their cores or by the jobs that wait in them concurrently."""
    worker_bytes: float
    """Memory of all worker processes."""
    publish_rate: float
    """Messages per second to RabbitMQ."""
    rabbitmq_cores: float
    amqp_connections: int
    """Of workers and relays."""
    commits: float
    """Transactions that write, per second; those of the jobs' own work come on top."""
    rows: float
    """Per second."""
    wal_bytes: float
    """Per second, without the full-page images that follow each checkpoint."""
    postgresql_cores: float
    postgresql_connections: int
    """Of workers and relays, at most."""
    relay_rate: float
    """Rows per second that relays send."""
    relays: int
    rabbitmq_share: float
    """Share of the messages that can go through one RabbitMQ queue."""
    queues: int
    """Queues to spread the load over, so that each stays within `Load.max_utilisation`."""
    postgresql_share: float
    """Share of the commits that one PostgreSQL can make."""
    groups: int
    """Groups to divide the load into, so each PostgreSQL stays within `Load.max_utilisation`."""


def compute_need(load: Load, figures: Figures) -> Need:
    """Multiply the cost of a job by the number of jobs."""
    each = mean_cost(load.shares, figures)
    starts = 1 + load.shares.get("fails once", 0.0)
    relayed = load.rate * sum(load.shares.get(kind, 0.0) for kind in RELAYED_KINDS)
    cores = load.rate * (each.worker_us / 1e6 + starts * load.cpu_ms / 1e3)
    processes = max(1, math.ceil(load.rate / (process_rate(load, figures) * load.max_utilisation)))
    relays = max(1, math.ceil(relayed / (figures.relay_rate * load.max_utilisation)))
    published, commits = load.rate * starts, load.rate * each.commits
    rabbitmq_share, postgresql_share = published / figures.queue_rate, commits / figures.commit_rate
    return Need(
        worker_cores=cores,
        processes=processes,
        worker_bytes=processes * figures.worker_bytes,
        publish_rate=published,
        rabbitmq_cores=load.rate * each.rabbitmq_us / 1e6,
        amqp_connections=processes * AMQP_PER_WORKER + relays * AMQP_PER_RELAY,
        commits=commits,
        rows=load.rate * each.rows,
        wal_bytes=load.rate * each.wal_bytes,
        postgresql_cores=load.rate * each.postgresql_us / 1e6,
        postgresql_connections=processes * (load.pool + OUTSIDE_POOL) + relays * RELAY_CONNECTIONS,
        relay_rate=relayed,
        relays=relays,
        rabbitmq_share=rabbitmq_share,
        queues=max(1, math.ceil(rabbitmq_share / load.max_utilisation)),
        postgresql_share=postgresql_share,
        groups=max(1, math.ceil(postgresql_share / load.max_utilisation)),
    )


def mean_cost(shares: Mapping[str, float], figures: Figures) -> Cost:
    """Return the mean cost of a job: a plain job, plus what each kind adds times its share."""
    plain = figures.costs["plain"]

    def mean(name: str) -> float:
        least = float(getattr(plain, name))
        more = (
            share * max(0.0, getattr(figures.costs[kind], name) - least)
            for kind, share in shares.items()
        )
        return float(least + sum(more))

    return Cost(*(mean(one.name) for one in fields(Cost)))


def process_rate(load: Load, figures: Figures) -> float:
    """Return how many jobs per second of this load one worker process can run.

    CPU time occupies the interpreter. CPU time and waits, including the wait for commits, occupy
    the threads.
    """
    each = mean_cost(load.shares, figures)
    starts = 1 + load.shares.get("fails once", 0.0)
    cpu_s = each.worker_us / 1e6 + starts * load.cpu_ms / 1e3
    waits_s = starts * (load.job_ms - load.cpu_ms) / 1e3 + each.commits / figures.lone_commit_rate
    return min(rate_per_second(ONE_CORE, cpu_s), rate_per_second(load.threads, cpu_s + waits_s))


def rate_per_second(available: float, each_s: float) -> float:
    """Return how many operations fit into a second; infinity if one takes no time."""
    return available / each_s if each_s else math.inf
