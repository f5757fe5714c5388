"""What was measured, as far as the model needs it.

`figures.json` beside this has the schema of `bench-results/bench.json`, which may stand in for it:
a file that is named later has the word. What a peer did is named after both: "…, raw pika".
`python -m bench --capacity` writes it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measurement import Measurement

OURS = Path(__file__).parent / "figures.json"
DRAIN = "no-op drain -p 1, every middleware"
KINDS = (
    "plain",
    "history",
    "once",
    "unique",
    "limit on those that run",
    "limit on starts",
    "stored",
    "in a batch",
    "fails once",
)


SCENARIOS = ("ceiling", "relay", "footprint", "drain", "options", "writes", "vacuum")
"""Of `bench`: they measure what the model needs, and the pages."""
AS_ROOT = ("hosts",)
ON_HOSTS = ("jobs that wait 50 ms", "jobs that do nothing")
VACUUMED = ("autovacuum as it comes", "a vacuum at each 5 000 dead rows")


class MissingFigureError(Exception):
    """No file has a figure that the model needs; says which run measures it."""

    def __init__(self, name: str) -> None:
        """Name it."""
        super().__init__(f"no file has {name!r}; `python -m bench --capacity` measures it")


@dataclass(frozen=True)
class Cost:
    """What one job costs, by `bench/scenarios/writes.py`."""

    commits: float
    rows: float
    wal_bytes: float
    worker_us: float
    postgresql_us: float
    rabbitmq_us: float


@dataclass(frozen=True)
class Figures:
    """All that the model reads."""

    costs: Mapping[str, Cost]
    """By kind of job; that of "plain" is in each of the others."""
    published: float
    """Confirmed publishes per second into one queue."""
    taken: float
    """Deliveries per second from one queue, each acknowledged."""
    committed: float
    """Commits of one row per second, by eight connections at once."""
    committed_alone: float
    """The same by one connection, each after the other."""
    relayed: float
    """Rows per second that one relay sends."""
    worker_bytes: float
    """Memory of one worker process, with all that runs beside it."""
    drained: Mapping[str, float]
    """Jobs per second that one worker process did of some kinds, all with history."""
    hosts: Mapping[str, tuple[float, float]]
    """Jobs per second that a worker on one host did, and one on each of two, by kind of job."""
    vacuumed: Mapping[str, float]
    """MB of `workshed.schedule` after 200 000 jobs, by the way it was vacuumed."""
    surroundings: Mapping[str, Any]

    @property
    def passed(self) -> float:
        """Messages per second that go through one queue: it takes and gives in one process."""
        return 1 / (1 / self.published + 1 / self.taken)


def read(paths: Iterable[Path] = (OURS,)) -> Figures:
    """Read one or several runs; raises `MissingFigureError`."""
    values: dict[str, float] = {}
    surroundings: dict[str, Any] = {}
    for path in paths:
        run = json.loads(path.read_text("utf-8"))
        for one in run["measurements"]:
            values[one["name"]] = float(one["value"])
            if one.get("peer"):
                values[f"{one['name']}, {one['peer']}"] = float(one["peer_value"])
        surroundings |= run["surroundings"]
    return of(values, surroundings)


def keep(found: Iterable[Measurement], surroundings: Mapping[str, Any], path: Path = OURS) -> None:
    """Put new figures of what the file has in the place of the old ones, each with its day."""
    run = json.loads(path.read_text("utf-8"))
    new = {one.name: one for one in found}
    today = datetime.now(UTC).date().isoformat()
    kept = [
        {name: value for name, value in new[old["name"]].as_json().items() if name in old}
        | {"measured": today}
        if old["name"] in new
        else old
        for old in run["measurements"]
    ]
    measurements = ",\n".join("    " + json.dumps(one, ensure_ascii=False) for one in kept)
    said = json.dumps(dict(surroundings))
    path.write_text(
        f'{{\n  "measurements": [\n{measurements}\n  ],\n  "surroundings": {said}\n}}\n', "utf-8"
    )


def of(values: Mapping[str, float], surroundings: Mapping[str, Any]) -> Figures:
    """Pick what the model needs by its name; raises `MissingFigureError`."""

    def value(name: str) -> float:
        if name not in values:
            raise MissingFigureError(name)
        return values[name]

    def both(name: str, peer: str) -> tuple[float, float]:
        return value(f"{name}, {peer}"), value(name)

    parts = ("commits", "rows", "WAL", "worker CPU", "PostgreSQL CPU", "RabbitMQ CPU")
    return Figures(
        {kind: Cost(*(value(f"{kind}, {part}") for part in parts)) for kind in KINDS},
        value("RabbitMQ, confirmed publishes, 1 process"),
        value(f"{DRAIN}, raw pika"),
        value("PostgreSQL, commits of one row, 8 connections"),
        value("PostgreSQL, commits of one row, 1 connection"),
        value("relay"),
        value("memory with 1 queue") * (1 << 20),
        {
            "plain": value(DRAIN),
            "once": value("once, drain"),
            "unique": value("unique, drain"),
        },
        {
            jobs: both(f"{jobs}, drain by a worker on each of two hosts", "on one")
            for jobs in ON_HOSTS
        },
        {way: value(f"workshed.schedule, {way}") for way in VACUUMED},
        surroundings,
    )
