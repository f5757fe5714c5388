"""The limit of the instructions of a job: its committed figures, and what is said about a cost."""

import json
import sys
import threading
from itertools import pairwise

import pytest

from bench.callgrind import read_parts
from bench.instructions_limit.figures import (
    FIGURES_FILE,
    JobCost,
    compare,
    describe_interpreter,
    read_figures,
    write_figure,
)
from bench.jobs import counted
from bench.jobs.counted import PART_JOBS, PREFETCH, JobCounter, count_jobs
from bench.jobs.fixed_loop import run_fixed_loop
from bench.processes import BenchError

HERE = "CPython 3.11.7, GCC 14.2.0, x86_64"
COMMITTED = {HERE: JobCost(job=400_000, loop_round=50_000)}


@pytest.mark.parametrize("job", [388_100, 400_000, 411_900])
def test_a_cost_within_three_percent_passes(job):
    verdict = compare(HERE, JobCost(job, 50_000), COMMITTED)

    assert verdict.is_ok
    assert verdict.text.startswith("within 3%")


def test_a_job_that_costs_more_fails_and_says_what_to_do():
    verdict = compare(HERE, JobCost(412_100, 50_000), COMMITTED)

    assert not verdict.is_ok
    assert verdict.text.startswith("TOO MANY")
    assert "+3.0%" in verdict.text
    assert "bench.instructions_limit --write" in verdict.text


def test_a_job_that_costs_less_fails_too_so_that_the_better_figure_is_committed():
    verdict = compare(HERE, JobCost(387_900, 50_000), COMMITTED)

    assert not verdict.is_ok
    assert verdict.text.startswith("FEWER THAN COMMITTED")
    assert "commit figures.json" in verdict.text


def test_what_makes_the_whole_interpreter_slow_does_not_count():
    assert compare(HERE, JobCost(440_000, 55_000), COMMITTED).is_ok


@pytest.mark.parametrize(("job", "is_ok"), [(100_000, True), (439_000, True), (441_000, False)])
def test_an_interpreter_without_a_figure_is_compared_loosely_and_says_so(job, is_ok):
    verdict = compare("CPython 3.15.0, Clang 20, aarch64", JobCost(job, 50_000), COMMITTED)

    assert verdict.is_ok is is_ok
    assert verdict.text.startswith("LOOSELY CHECKED" if is_ok else "TOO MANY")
    assert "no figure of CPython 3.15.0, Clang 20, aarch64 is committed" in verdict.text
    assert f"10% more than that of {HERE}" in verdict.text


def test_a_figure_of_the_same_version_is_preferred_to_others():
    figures = {
        "CPython 3.1.1, A, b": JobCost(1, 1),
        **COMMITTED,
        "CPython 3.9.9, A, b": JobCost(1, 1),
    }

    verdict = compare("CPython 3.11.2, GCC 12, x86_64", JobCost(410_000, 50_000), figures)

    assert f"that of {HERE}" in verdict.text


def test_without_any_figure_it_fails():
    verdict = compare(HERE, COMMITTED[HERE], {})

    assert not verdict.is_ok
    assert verdict.text.startswith("NOT CHECKED")


def test_a_stored_figure_is_read_again_and_those_of_other_interpreters_stay(tmp_path):
    path = tmp_path / "figures.json"

    write_figure("b", JobCost(2, 1), path)
    write_figure("a", JobCost(4, 2), path)
    write_figure("b", JobCost(3, 1), path)

    assert read_figures(path) == {"a": JobCost(4, 2), "b": JobCost(3, 1)}
    assert list(json.loads(path.read_text())) == ["a", "b"]
    assert path.read_text().endswith("}\n")


def test_a_missing_file_has_no_figures(tmp_path):
    assert read_figures(tmp_path / "figures.json") == {}


def test_the_committed_file_names_interpreters_and_costs_in_a_sane_range():
    figures = read_figures(FIGURES_FILE)

    assert figures
    for name, cost in figures.items():
        assert name.count(", ") == 2
        assert 1 < cost.ratio < 50


def test_the_running_interpreter_is_named_exactly():
    version = ".".join(str(part) for part in sys.version_info[:3])

    assert describe_interpreter().startswith(f"CPython {version}")


def test_parts_are_read_in_their_order_whatever_the_order_of_the_files():
    texts = [f"version: 1\npart: {n}\nevents: Ir\nfn=(1)\n0 7\ntotals: {n * 11}\n" for n in (2, 1)]

    assert read_parts([*texts, "part: 10\ntotals: 5\n"]) == [11, 22, 5]


def test_a_dump_without_a_total_is_an_error():
    with pytest.raises(BenchError, match="without a part or its total"):
        read_parts(["part: 1\n"])


def test_parts_end_after_equal_numbers_of_jobs(monkeypatch):
    jobs, ends = count_jobs(3), []
    counter = JobCounter(jobs)
    counter.count_received(jobs)
    monkeypatch.setattr(counted, "end_part", lambda: ends.append(counter._started))

    for _ in range(jobs):
        counter.start_job(0)

    assert [later - former for former, later in pairwise(ends)] == [PART_JOBS] * 3
    assert counter.all_started.is_set()


def test_the_first_job_of_a_portion_waits_for_all_that_the_prefetch_allows():
    counter = JobCounter(count_jobs(1))
    counter.count_received(PREFETCH)
    counter.start_job(0)  # its ack brings one more
    second = threading.Thread(target=counter.start_job, args=(0,), daemon=True)
    second.start()

    second.join(0.05)
    assert second.is_alive()
    counter.count_received(1)
    second.join(60)
    assert not second.is_alive()


def test_the_fixed_loop_does_the_same_each_time():
    assert run_fixed_loop() == run_fixed_loop()
