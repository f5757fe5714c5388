"""`python -m bench` runs and prints what its readers expect. Figures are not checked."""

import json
import os
import subprocess
import sys

import pytest

from bench.scenarios.hosts import JOBS, NAME, hosts
from bench.scenarios.vacuum import WAYS as WAYS_TO_VACUUM
from bench.scenarios.vacuum import vacuum
from bench.scenarios.writes import JOB_KINDS, writes
from bench.size import SMOKE
from bench.world import start_servers
from tests.root import ROOT

FIELDS = {"name", "value", "unit", "peer", "peer_value", "ratio", "target", "met"}


@pytest.mark.exhaustive
def test_it_measures_and_writes_json_and_a_plot(tmp_path):
    only = [word for name in ("enqueue", "naps", "relay") for word in ("--only", name)]

    done = subprocess.run(
        [sys.executable, "-m", "bench", "--smoke", "--json", *only],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"cores", "rabbitmq", "dramatiq", "celery"} <= found["surroundings"].keys()
    for one in found["measurements"]:
        assert one.keys() == FIELDS
        assert one["value"] > 0
        assert (one["peer"] is None) == (one["ratio"] is None)
        assert (one["target"] is None) == (one["met"] is None)
    names = {one["name"] for one in found["measurements"]}
    assert {"enqueue_many", "enqueue, 8 threads", "5 ms jobs -p 2", "relay"} <= names
    assert json.loads((tmp_path / "bench-results" / "bench.json").read_text()) == found
    assert (tmp_path / "bench-results" / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.exhaustive
def test_writes_of_a_job_are_counted():
    """A plain job costs PostgreSQL nothing; one with `once=True` costs a transaction of one row."""
    ways = {name: JOB_KINDS[name] for name in ("plain", "once")}

    with start_servers() as world:
        found = {one.name: one.value for one in writes(world, SMOKE, ways)}

    assert found["plain, commits"] < 0.1
    assert found["plain, rows"] < 0.1
    assert found["once, commits"] == pytest.approx(1, abs=0.1)
    assert found["once, rows"] == pytest.approx(1, abs=0.1)
    assert found["once, WAL"] > 100
    assert {f"once, {whose} CPU" for whose in ("worker", "PostgreSQL", "RabbitMQ")} <= found.keys()


@pytest.mark.exhaustive
def test_two_hosts_are_measured_and_compared_to_one():
    with start_servers() as world:
        found = {one.name: (one.value, one.peer_value) for one in hosts(world, SMOKE)}

    assert found.keys() == {f"{said}, {NAME}" for said in JOBS.values()}
    assert all(two > 0 and one > 0 for two, one in found.values())


@pytest.mark.exhaustive
def test_storage_is_measured_with_each_way_to_vacuum():
    with start_servers() as world:
        found = {one.name: one.value for one in vacuum(world, SMOKE)}

    assert found.keys() == {f"workshed.schedule, {way}" for way in WAYS_TO_VACUUM}
    assert all(size > 0 for size in found.values())
