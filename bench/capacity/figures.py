"""The measured figures that the model needs.

`figures.json`, next to this file, has the schema of `bench-results/bench.json`, so either can be
read. If several files have a figure, the last file wins. A peer's figure is named after the
measurement and the peer: "…, raw pika". `python -m bench --capacity` writes `figures.json`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measurement import Measurement

FIGURES_FILE = Path(__file__).parent / "figures.json"
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
"""Scenarios of `bench` that measure what the model and its pages need."""
ROOT_SCENARIOS = ("hosts",)
HOST_JOBS = ("jobs that wait 50 ms", "jobs that do nothing")
VACUUM_WAYS = ("autovacuum as it comes", "a vacuum at each 5 000 dead rows")


class MissingFigureError(Exception):
    """No file has a figure that the model needs; the message says which run measures it."""

    def __init__(self, name: str) -> None:
        """Name the figure."""
        super().__init__(f"no file has {name!r}; `python -m bench --capacity` measures it")


@dataclass(frozen=True)
class Cost:
    """What one job costs, as measured by `bench/scenarios/writes.py`."""

    commits: float
    rows: float
    wal_bytes: float
    worker_us: float
    postgresql_us: float
    rabbitmq_us: float


@dataclass(frozen=True)
class Figures:
    """All figures that the model reads."""

    costs: Mapping[str, Cost]
    """By kind of job; the cost of "plain" is included in each of the others."""
    publish_rate: float
    """Confirmed publishes per second into one queue."""
    delivery_rate: float
    """Deliveries per second from one queue, each acknowledged."""
    commit_rate: float
    """Commits of one row per second, by eight concurrent connections."""
    lone_commit_rate: float
    """Commits of one row per second, by one connection."""
    relay_rate: float
    """Rows per second that one relay sends."""
    worker_bytes: float
    """Memory of one worker process, including the processes that run alongside it."""
    drain_rates: Mapping[str, float]
    """Jobs per second that one worker process did, by kind of job, all with history."""
    host_rates: Mapping[str, tuple[float, float]]
    """By kind of job: jobs per second of a worker on one host, and of one on each of two hosts."""
    table_mb: Mapping[str, float]
    """MB of `workshed.schedule` after 200 000 jobs, by how it was vacuumed."""
    surroundings: Mapping[str, Any]

    @property
    def queue_rate(self) -> float:
        """Messages per second through one queue: one process handles publishes and deliveries."""
        return 1 / (1 / self.publish_rate + 1 / self.delivery_rate)


def read_figures(paths: Iterable[Path] = (FIGURES_FILE,)) -> Figures:
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
    return select_figures(values, surroundings)


def store_figures(
    found: Iterable[Measurement], surroundings: Mapping[str, Any], path: Path = FIGURES_FILE
) -> None:
    """Replace those figures of the file that were measured again, each with today's date."""
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


def select_figures(values: Mapping[str, float], surroundings: Mapping[str, Any]) -> Figures:
    """Select the figures that the model needs by name; raises `MissingFigureError`."""

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
            for jobs in HOST_JOBS
        },
        {way: value(f"workshed.schedule, {way}") for way in VACUUM_WAYS},
        surroundings,
    )
