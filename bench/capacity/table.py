"""What a load needs, and what a job costs, as Markdown tables."""

from collections.abc import Callable, Iterable, Sequence

from bench.capacity.figures import KINDS, Figures
from bench.capacity.model import Load, Need, compute_need, process_rate

MIB = 1 << 20
SMALL = 10
RARELY = 0.05
"""Fewer commits per job than this come from the worker itself, not from its jobs."""
Row = tuple[str, Callable[[Need], str]]


def needs_table(loads: Sequence[Load], figures: Figures) -> str:
    """Return a column for each load."""
    found = [compute_need(load, figures) for load in loads]
    threads = {load.threads for load in loads}
    rows: list[Row] = [
        (f"worker processes of {min(threads)} threads", lambda n: format_number(n.processes)),
        ("cores they keep busy", lambda n: format_number(n.worker_cores)),
        ("their memory at most, MiB", lambda n: format_number(n.worker_bytes / MIB)),
        ("messages to RabbitMQ, per s", lambda n: format_number(n.publish_rate)),
        ("share of one queue's capacity", lambda n: format_share(n.rabbitmq_share)),
        ("queues at least", lambda n: format_number(n.queues)),
        ("cores RabbitMQ keeps busy", lambda n: format_number(n.rabbitmq_cores)),
        ("AMQP connections", lambda n: format_number(n.amqp_connections)),
        ("commits that write, per s", lambda n: format_number(n.commits)),
        ("share of one PostgreSQL's commits", lambda n: format_share(n.postgresql_share)),
        ("rows written, per s", lambda n: format_number(n.rows)),
        ("WAL, kB per s", lambda n: format_number(n.wal_bytes / 1e3)),
        ("cores PostgreSQL keeps busy", lambda n: format_number(n.postgresql_cores)),
        ("PostgreSQL connections at most", lambda n: format_number(n.postgresql_connections)),
        ("rows through relays, per s", lambda n: format_number(n.relay_rate)),
        ("relays", lambda n: format_number(n.relays)),
        ("groups", lambda n: format_number(n.groups)),
    ]
    heads = ["jobs per s", *(format_number(load.rate) for load in loads)]
    return format_table(heads, ([name, *map(cell, found)] for name, cell in rows))


def costs_table(figures: Figures) -> str:
    """Return a row for each kind of job: its cost, and how many jobs PostgreSQL can commit."""
    heads = [
        "a job that is",
        "commits",
        "rows",
        "WAL, bytes",
        "worker, µs of CPU",
        "PostgreSQL, µs",
        "RabbitMQ, µs",
        "jobs per s, at most",
    ]
    rows = []
    for kind in KINDS:
        one = figures.costs[kind]
        counts = [f"{one.commits:.1f}", f"{one.rows:.1f}"]
        used = (one.wal_bytes, one.worker_us, one.postgresql_us, one.rabbitmq_us)
        most = figures.commit_rate / one.commits if one.commits >= RARELY else None
        rows.append(
            [kind, *counts, *map(format_number, used), "-" if most is None else format_number(most)]
        )
    return format_table(heads, rows)


def model_check_table(figures: Figures) -> str:
    """Compare the model's prediction for one process with the measurement."""
    rows = []
    for kind, did in figures.drain_rates.items():
        load = Load(1.0, shares={kind: 1.0, "history": 1.0})
        says = process_rate(load, figures)
        rows.append([kind, format_number(says), format_number(did), f"{says / did:.2f} x"])
    return format_table(["a job that is", "by the model, jobs per s", "measured", "ratio"], rows)


def limits_table(figures: Figures) -> str:
    """Return the highest rates that were measured of one of each component."""
    rows = [
        ("one RabbitMQ queue: confirmed publishes", figures.publish_rate),
        ("one RabbitMQ queue: acknowledged deliveries", figures.delivery_rate),
        ("one RabbitMQ queue: messages in and out", figures.queue_rate),
        ("PostgreSQL: commits, eight connections", figures.commit_rate),
        ("PostgreSQL: commits, one connection", figures.lone_commit_rate),
        ("one relay: rows sent", figures.relay_rate),
    ]
    return format_table(
        ["one of each", "per s"], ((name, format_number(value)) for name, value in rows)
    )


def hosts_table(figures: Figures) -> str:
    """Return what a second host adds."""
    rows = (
        [jobs, format_number(one), format_number(two), f"{two / one:.2f} x"]
        for jobs, (one, two) in figures.host_rates.items()
    )
    return format_table(["jobs per s", "one host", "two", "ratio"], rows)


def vacuum_table(figures: Figures) -> str:
    """Return how large the schedule table became."""
    rows = ([way, format_number(size)] for way, size in figures.table_mb.items())
    return format_table(["`workshed.schedule` after 200 000 jobs", "MB"], rows)


def format_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format cells as a Markdown table; all columns but the first are numbers."""
    rule = ["---", *("--:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)) + "\n"


def format_number(value: float) -> str:
    """Format a small number with two digits, a larger one as an integer with spaces."""
    if value < SMALL:
        return f"{float(f'{value:.2g}'):f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}".replace(",", " ")


def format_share(value: float) -> str:
    """Format a share as a percentage."""
    return f"{format_number(value * 100)} %"
