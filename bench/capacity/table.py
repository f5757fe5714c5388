"""What a load needs, and what a job costs, as Markdown tables."""

from collections.abc import Callable, Iterable, Sequence

from bench.capacity.figures import KINDS, Figures
from bench.capacity.model import Load, Need, need, of_one_process

MIB = 1 << 20
SMALL = 10
RARELY = 0.05
"""Fewer commits per job than this come from the worker itself, not from its jobs."""
Row = tuple[str, Callable[[Need], str]]


def needs(loads: Sequence[Load], figures: Figures) -> str:
    """Return a column for each load."""
    found = [need(load, figures) for load in loads]
    threads = {load.threads for load in loads}
    rows: list[Row] = [
        (f"worker processes of {min(threads)} threads", lambda n: number(n.processes)),
        ("cores they keep busy", lambda n: number(n.worker_cores)),
        ("their memory at most, MiB", lambda n: number(n.worker_bytes / MIB)),
        ("messages to RabbitMQ, per s", lambda n: number(n.published)),
        ("share of one queue's capacity", lambda n: share(n.rabbitmq_share)),
        ("queues at least", lambda n: number(n.queues)),
        ("cores RabbitMQ keeps busy", lambda n: number(n.rabbitmq_cores)),
        ("AMQP connections", lambda n: number(n.amqp_connections)),
        ("commits that write, per s", lambda n: number(n.commits)),
        ("share of one PostgreSQL's commits", lambda n: share(n.postgresql_share)),
        ("rows written, per s", lambda n: number(n.rows)),
        ("WAL, kB per s", lambda n: number(n.wal_bytes / 1e3)),
        ("cores PostgreSQL keeps busy", lambda n: number(n.postgresql_cores)),
        ("PostgreSQL connections at most", lambda n: number(n.postgresql_connections)),
        ("rows through relays, per s", lambda n: number(n.relayed)),
        ("relays", lambda n: number(n.relays)),
        ("groups", lambda n: number(n.groups)),
    ]
    heads = ["jobs per s", *(number(load.rate) for load in loads)]
    return table(heads, ([name, *map(cell, found)] for name, cell in rows))


def costs(figures: Figures) -> str:
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
        most = figures.committed / one.commits if one.commits >= RARELY else None
        rows.append([kind, *counts, *map(number, used), "-" if most is None else number(most)])
    return table(heads, rows)


def checked(figures: Figures) -> str:
    """Compare the model's prediction for one process with the measurement."""
    rows = []
    for kind, did in figures.drained.items():
        load = Load(1.0, shares={kind: 1.0, "history": 1.0})
        says = of_one_process(load, figures)
        rows.append([kind, number(says), number(did), f"{says / did:.2f} x"])
    return table(["a job that is", "by the model, jobs per s", "measured", "ratio"], rows)


def ends(figures: Figures) -> str:
    """Return the highest rates that were measured of one of each component."""
    rows = [
        ("one RabbitMQ queue: confirmed publishes", figures.published),
        ("one RabbitMQ queue: acknowledged deliveries", figures.taken),
        ("one RabbitMQ queue: messages in and out", figures.passed),
        ("PostgreSQL: commits, eight connections", figures.committed),
        ("PostgreSQL: commits, one connection", figures.committed_alone),
        ("one relay: rows sent", figures.relayed),
    ]
    return table(["one of each", "per s"], ((name, number(value)) for name, value in rows))


def hosts(figures: Figures) -> str:
    """Return what a second host adds."""
    rows = (
        [jobs, number(one), number(two), f"{two / one:.2f} x"]
        for jobs, (one, two) in figures.hosts.items()
    )
    return table(["jobs per s", "one host", "two", "ratio"], rows)


def vacuum(figures: Figures) -> str:
    """Return how large the schedule table became."""
    rows = ([way, number(size)] for way, size in figures.vacuumed.items())
    return table(["`workshed.schedule` after 200 000 jobs", "MB"], rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format cells as a Markdown table; all columns but the first are numbers."""
    rule = ["---", *("--:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)) + "\n"


def number(value: float) -> str:
    """Format a small number with two digits, a larger one as an integer with spaces."""
    if value < SMALL:
        return f"{float(f'{value:.2g}'):f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}".replace(",", " ")


def share(value: float) -> str:
    """Format a share as a percentage."""
    return f"{number(value * 100)} %"
