"""All scenarios by name; each function returns its measurements."""

from collections.abc import Callable

from bench.measurement import Measurement
from bench.scenarios.ceiling import ceiling
from bench.scenarios.console import console
from bench.scenarios.drain import drain, naps
from bench.scenarios.enqueue import enqueue
from bench.scenarios.footprint import footprint, idle
from bench.scenarios.growth import growth
from bench.scenarios.hosts import hosts
from bench.scenarios.imports import imports
from bench.scenarios.instructions import instructions
from bench.scenarios.latency import both, latency
from bench.scenarios.mails import mails
from bench.scenarios.options import options
from bench.scenarios.overhead import overhead
from bench.scenarios.pictures import pictures
from bench.scenarios.postgresql import postgresql
from bench.scenarios.relay import lateness, relay
from bench.scenarios.reports import reports
from bench.scenarios.signing import signing
from bench.scenarios.steady import steady
from bench.scenarios.vacuum import vacuum
from bench.scenarios.writes import writes
from bench.size import Size
from bench.world import World

Scenario = Callable[[World, Size], list[Measurement]]

SCENARIOS: dict[str, Scenario] = {
    "enqueue": enqueue,
    "drain": drain,
    "naps": naps,
    "overhead": overhead,
    "instructions": instructions,
    "both": both,
    "latency": latency,
    "postgresql": postgresql,
    "relay": relay,
    "lateness": lateness,
    "footprint": footprint,
    "idle": idle,
    "options": options,
    "signing": signing,
    "pictures": pictures,
    "imports": imports,
    "reports": reports,
    "mails": mails,
    "console": console,
    "growth": growth,
    "ceiling": ceiling,
    "writes": writes,
    "hosts": hosts,
    "vacuum": vacuum,
    "steady": steady,
}
SLOW_SCENARIOS = (
    "overhead",
    "postgresql",
    "footprint",
    "idle",
    "options",
    "signing",
    "imports",
    "mails",
    "growth",
    "ceiling",
    "writes",
)
"""Scenarios that `--quick` leaves out; `--only` runs one of them."""
OPTIONAL_SCENARIOS = ("hosts", "instructions", "vacuum", "steady")
"""Scenarios that only `--only` and `--capacity` run.

`hosts` makes networks, so it needs root; `instructions` needs valgrind; `steady` takes an hour.
"""
