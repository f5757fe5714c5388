"""What a load needs, and what a job costs, as tables of Markdown."""

from collections.abc import Callable, Iterable, Sequence

from bench.capacity.figures import KINDS, Figures
from bench.capacity.model import Load, Need, need, of_one_process

MIB = 1 << 20
SMALL = 10
RARELY = 0.05
"""Commits per job that are those of the worker itself, and not of its jobs."""
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
        ("of what one queue took and gave", lambda n: share(n.rabbitmq_share)),
        ("queues at least", lambda n: number(n.queues)),
        ("cores RabbitMQ keeps busy", lambda n: number(n.rabbitmq_cores)),
        ("AMQP connections", lambda n: number(n.amqp_connections)),
        ("commits that write, per s", lambda n: number(n.commits)),
        ("of what one PostgreSQL made", lambda n: share(n.postgresql_share)),
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
    """Return a row for each kind of job: what it costs, and how many PostgreSQL can commit."""
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
    """Return what the model says of one process beside what it did."""
    rows = []
    for kind, did in figures.drained.items():
        load = Load(1.0, shares={kind: 1.0, "history": 1.0})
        says = of_one_process(load, figures)
        rows.append([kind, number(says), number(did), f"{says / did:.2f} x"])
    return table(["a job that is", "by the model, jobs per s", "measured", "ratio"], rows)


def ends(figures: Figures) -> str:
    """Return what one of each did at most."""
    rows = [
        ("a queue of RabbitMQ took, confirmed", figures.published),
        ("and gave, acknowledged", figures.taken),
        ("so that through it can go", figures.passed),
        ("PostgreSQL committed, asked by eight connections", figures.committed),
        ("asked by one", figures.committed_alone),
        ("a relay sent", figures.relayed),
    ]
    return table(["one of each", "per s"], ((name, number(value)) for name, value in rows))


def hosts(figures: Figures) -> str:
    """Return what a second host brought."""
    rows = (
        [jobs, number(one), number(two), f"{two / one:.2f} x"]
        for jobs, (one, two) in figures.hosts.items()
    )
    return table(["jobs per s", "one host", "two", "ratio"], rows)


def vacuum(figures: Figures) -> str:
    """Return how large the table of what is stored became."""
    rows = ([way, number(size)] for way, size in figures.vacuumed.items())
    return table(["`workshed.schedule` after 200 000 jobs", "MB"], rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write cells as Markdown; all but the first column are numbers."""
    rule = ["---", *("--:" for _ in heads[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)) + "\n"


def number(value: float) -> str:
    """Write a number with two digits, or whole ones and spaces between thousands."""
    if value < SMALL:
        return f"{float(f'{value:.2g}'):f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}".replace(",", " ")


def share(value: float) -> str:
    """Write a share in per cent."""
    return f"{number(value * 100)} %"
