"""What `python -m bench` makes of its figures: medians with their ranges, words, and rows."""

import json
import statistics
import time
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis.strategies import floats, lists

from bench.jobs.work import compute
from bench.measurement import (
    MedianFigure,
    alternate_rounds,
    compare_with_peer,
    report_alone,
)
from bench.peers import find_peer_version, worker_command
from bench.report import as_json, as_table
from bench.scenarios.drain import PEERS, RATE_TARGETS, compare_peers, list_peers, title_of
from bench.scenarios.overhead import LEAST_US, subtract_work
from bench.size import FULL

KEYS_OF_THE_FIRST_SCHEMA = {
    *("name", "value", "unit", "peer", "peer_value"),
    *("ratio", "target", "met"),
}
OURS = MedianFigure.of([5_936.0, 5_610.0, 6_204.0])
STOCK = MedianFigure.of([3_380.0, 3_290.0, 3_502.0])
figures = lists(floats(0.001, 1e9), min_size=1)


@given(figures)
def test_a_median_lies_between_the_least_and_the_most(values):
    found = MedianFigure.of(values)

    assert found == statistics.median(values)
    assert found.minimum <= found <= found.maximum
    assert (found.minimum, found.maximum) == (min(values), max(values))
    assert found.rounds == len(values)


def test_each_round_begins_with_the_next_contender_and_every_figure_is_kept():
    order = []

    def measure(name):
        order.append(name)
        return {"rate": float(len(order))}

    found = alternate_rounds(3, ["a", "b", "c"], measure)

    assert order == [*"abc", *"bca", *"cab"]
    assert {name: one["rate"] for name, one in found.items()} == {"a": 6, "b": 4, "c": 5}
    rate = found["a"]["rate"]
    assert (rate.minimum, rate.maximum, rate.rounds) == (1, 8, 3)


def test_a_full_run_has_at_least_five_rounds():
    assert FULL.rounds >= 5


def test_a_row_has_the_ranges_of_both_sides_the_version_and_a_verdict():
    one = compare_with_peer("no-op drain", OURS, "jobs/s", "stock", STOCK, at_least=2)

    row = as_table([one]).splitlines()[-1]

    assert row == (
        f"| no-op drain | 5 936 (5 610–6 204) jobs/s "  # noqa: RUF001 -- a range
        f"| stock ({version('dramatiq')}): 3 380 (3 290–3 502) "  # noqa: RUF001
        "| 1.76 x, ours is faster | >= 2 x **missed** |"
    )


def test_a_row_of_one_round_has_no_range():
    one = compare_with_peer(
        "naps", MedianFigure.of([2.0]), "jobs/s", "with none", MedianFigure.of([4.0])
    )

    assert as_table([one, report_alone("alone", 3.0, "ms")]).splitlines()[2:] == [
        "| naps | 2 jobs/s | with none: 4 | 0.50 x, with none is faster |  |",
        "| alone | 3 ms |  |  |  |",
    ]


@pytest.mark.parametrize(
    ("unit", "ours", "peer", "verdict"),
    [
        ("jobs/s", [10, 11, 12], [5, 6, 7], "ours is faster"),
        ("jobs/s", [5, 6, 7], [10, 11, 12], "stock is faster"),
        ("µs/job", [5, 6, 7], [10, 11, 12], "ours takes less"),
        ("MiB", [10, 11, 12], [5, 6, 7], "stock takes less"),
        ("jobs/s", [10, 20, 21], [9, 9, 10], "too close, the ranges overlap"),
        ("ms", [9, 9, 10], [10, 20, 21], "too close, the ranges overlap"),
        ("ms", [5], [5], "equal"),
    ],
)
def test_a_verdict_says_who_is_better_only_if_no_round_contradicts_it(unit, ours, peer, verdict):
    one = compare_with_peer("x", MedianFigure.of(ours), unit, "stock", MedianFigure.of(peer))

    assert one.verdict == verdict


def test_json_keeps_its_keys_and_has_the_least_and_the_most_of_both_sides():
    one = compare_with_peer("no-op drain", OURS, "jobs/s", "stock", STOCK)

    [found] = json.loads(as_json([one], {}))["measurements"]

    assert found.keys() >= KEYS_OF_THE_FIRST_SCHEMA
    assert (found["minimum"], found["value"], found["maximum"]) == (5_610, 5_936, 6_204)
    assert (found["peer_minimum"], found["peer_value"], found["peer_maximum"]) == (
        *(3_290, 3_380, 3_502),
    )
    assert (found["rounds"], found["peer_version"]) == (3, version("dramatiq"))
    assert found["verdict"] == "ours is faster"


def test_a_difference_of_medians_has_no_range():
    one = report_alone("added", OURS - STOCK, "ms")

    assert (one.value, one.minimum, one.maximum, one.rounds) == (2_556, None, None, None)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("stock, quorum and confirms", "dramatiq"),
        ("celery threads", "celery"),
        ("raw pika", "pika"),
        ("pgqueuer", "pgqueuer"),
        ("procrastinate", "procrastinate"),
        ("taskiq async", "taskiq"),
    ],
)
def test_each_peer_has_its_version(name, package):
    assert find_peer_version(name) == version(package)


def test_what_is_not_a_peer_has_no_version():
    assert find_peer_version("with 1 thread") is None


@pytest.mark.parametrize("processes", [1, 2])
def test_a_drain_is_compared_with_each_peer_by_rate_and_by_cpu(processes):
    figures = {"rate": 2.0, "cpu": 3.0, "cpu_with_servers": 4.0}
    found = {
        peer: {name: MedianFigure.of([value] * 5) for name, value in figures.items()}
        for peer in PEERS
        if peer != "raw" or processes == 1
    }

    made = compare_peers(processes, found)

    name = f"no-op drain -p {processes}, every middleware"
    rates = [one.peer for one in made if one.name == name]
    servers = [one.peer for one in made if one.name == f"{name}, CPU with servers"]
    assert len(rates) == len(found) - 2  # ours and lean
    assert servers == [peer for peer in rates if peer != "raw pika"]
    assert {"sidekiq durable", "sidekiq not durable", "procrastinate"} <= set(rates)
    assert {"taskiq async", "taskiq sync", "stock, quorum and confirms"} <= set(rates)
    targets = {one.peer for one in made if one.name == name and one.target}
    assert targets == {title_of(peer) for peer in RATE_TARGETS["ours", processes]}


def test_sidekiq_is_left_out_with_a_reason_where_it_is_not_installed(capsys):
    found = list_peers(SimpleNamespace(redis={}), 2)

    assert set(PEERS) - set(found) == {"raw", "sidekiq", "sidekiq durable"}
    assert "install ruby-sidekiq" in capsys.readouterr().err


def test_overhead_is_what_remains_without_the_work_of_the_job():
    assert subtract_work({"rate": 1.0, "cpu": 1_155.0}, 1_000.0)["overhead"] == 155
    assert subtract_work({"rate": 1.0, "cpu": 999.0}, 1_000.0)["overhead"] == LEAST_US


@pytest.mark.parametrize("cpu_ms", [1, 5])
def test_a_job_computes_for_its_cpu_time_and_hardly_longer(cpu_ms):
    used = []
    for _ in range(20):
        began = time.thread_time_ns()
        compute(cpu_ms)
        used.append((time.thread_time_ns() - began) / 1e6)

    assert min(used) >= cpu_ms
    assert statistics.median(used) < cpu_ms + 0.1


def test_workers_of_one_process_each_are_run_several_times():
    one, two = (worker_command("procrastinate", processes, 8) for processes in (1, 2))

    assert two[1:4] == ["-m", "bench.copies", "2"]
    assert two[4:] == one


def test_an_unknown_peer_is_refused():
    with pytest.raises(ValueError, match="no peer is named"):
        worker_command("", 1, 8)
