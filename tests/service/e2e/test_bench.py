"""`python -m bench` runs and prints what its readers expect. Figures are not checked."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from bench import sidekiq
from bench.processes import list_family
from bench.scenarios.drain import PEERS, measure_drain
from bench.scenarios.hosts import JOBS as HOST_JOBS
from bench.scenarios.hosts import NAME, hosts
from bench.scenarios.instructions import PEERS as COUNTED
from bench.scenarios.instructions import count_per_job
from bench.scenarios.overhead import overhead
from bench.scenarios.steady import steady
from bench.scenarios.vacuum import WAYS as WAYS_TO_VACUUM
from bench.scenarios.vacuum import vacuum
from bench.scenarios.writes import JOB_KINDS, writes
from bench.size import SMOKE
from bench.world import start_servers
from tests.root import ROOT

FIELDS = {
    *("name", "value", "unit", "peer", "peer_value", "ratio", "target", "met"),
    *("peer_version", "rounds", "minimum", "maximum", "peer_minimum", "peer_maximum", "verdict"),
}
WITHIN_S = 120.0
JOBS = 50


@pytest.fixture(scope="module")
def world():
    with start_servers() as world:
        yield world


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

    assert found.keys() == {f"{said}, {NAME}" for said in HOST_JOBS.values()}
    assert all(two > 0 and one > 0 for two, one in found.values())


@pytest.mark.exhaustive
def test_storage_is_measured_with_each_way_to_vacuum():
    with start_servers() as world:
        found = {one.name: one.value for one in vacuum(world, SMOKE)}

    assert found.keys() == {f"workshed.schedule, {way}" for way in WAYS_TO_VACUUM}
    assert all(size > 0 for size in found.values())


@pytest.mark.exhaustive
def test_the_table_of_a_worker_without_rabbitmq_is_watched_at_an_even_pace():
    with start_servers() as world:
        found = {one.name.partition(", ")[2]: one.value for one in steady(world, SMOKE)}

    assert {"jobs that wait, most", "dead rows, most", "growth in the last third"} < found.keys()
    assert found["table and indexes"] > found["index of ready jobs"] > 0


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("peer", "processes"),
    [
        *((peer, 1) for peer in (*PEERS, "ours postgresql", "pgqueuer")),
        ("sidekiq", 2),
        ("procrastinate", 2),
        ("taskiq async", 2),
    ],
)
def test_each_peer_runs_every_job_once_and_none_before_the_gate_opens(world, peer, processes):
    world.reset()
    world.send("raw window" if peer == "raw" else peer, "bulk", JOBS)
    with world.run_worker(peer, processes, gated=True) as (tree, marks):
        tree.wait_until_idle(WITHIN_S)
        before = marks.count
        marks.gate.open()
        tree.wait_until(lambda: marks.count >= JOBS, WITHIN_S)
        family = list_family(tree.process.pid)

    assert before == 0
    assert marks.count == JOBS
    assert len(family) > processes or processes == 1  # each copy has a parent
    assert not [pid for pid in family if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110


@pytest.mark.exhaustive
def test_a_peer_drains_and_its_cpu_is_counted(world):
    found = measure_drain(world, "sidekiq", "noop", JOBS, 1)

    assert found["rate"] > 0
    assert found["cpu_with_servers"] >= found["cpu"] > 0


@pytest.mark.exhaustive
def test_only_the_durable_redis_writes_jobs_to_the_disk(world):
    world.reset()
    for peer in sidekiq.SETTINGS:
        world.send(peer, "bulk", JOBS)

    settings = {
        peer: server.call("CONFIG", "GET", "append*").split()
        for peer, server in world.redis.items()
    }
    files = {
        peer: sum(file.stat().st_size for file in server.folder.rglob("*.aof"))
        for peer, server in world.redis.items()
    }

    durable, other = settings["sidekiq durable"], settings["sidekiq"]
    assert durable[durable.index("appendonly") + 1] == "yes"
    assert durable[durable.index("appendfsync") + 1] == "always"
    assert other[other.index("appendonly") + 1] == "no"
    assert files["sidekiq"] == 0
    assert files["sidekiq durable"] > JOBS * 100


@pytest.mark.exhaustive
def test_a_job_of_sidekiq_uses_the_cpu_time_that_it_should(world):
    program = "b = thread_cpu_ns; compute(5); print (thread_cpu_ns - b) / 1e6"

    done = subprocess.run(
        [sidekiq.find_program("ruby"), "-r", str(sidekiq.JOBS), "-e", program],
        env={**os.environ, **world.environment("sidekiq")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert 5 <= float(done.stdout) < 5.5


@pytest.mark.exhaustive
def test_overhead_is_measured_for_each_kind_of_job(world):
    # As many threads as a worker has are within a job when its CPU is read: few of so many.
    found = overhead(world, replace(SMOKE, compute_jobs=300))

    kinds = ("no-op jobs", "jobs of 1 ms CPU", "jobs of 5 ms CPU", "jobs that wait 5 ms")
    assert {one.name for one in found} == {
        f"{kind} -p 1{what}" for kind in kinds for what in ("", ", CPU", ", overhead CPU")
    }
    assert {one.peer for one in found} == {"stock", "celery threads", "sidekiq"}
    computing = [one for one in found if one.name == "jobs of 5 ms CPU -p 1, CPU"]
    assert all(min(one.value, one.peer_value) > 4_500 for one in computing)


@pytest.mark.exhaustive
@pytest.mark.parametrize("peer", COUNTED)
def test_instructions_of_a_job_are_counted(world, peer):
    """A job costs some hundred thousand; a run that had not subtracted its start, millions."""
    assert 10_000 < count_per_job(world, peer, 400) < 2_000_000
