"""The model of `python -m bench.capacity`, and its page."""

import json
import shlex
import sys
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis.strategies import dictionaries, floats, integers, sampled_from

from bench import __main__ as bench
from bench.capacity import __main__ as model
from bench.capacity import arguments, figures, page
from bench.capacity.figures import (
    FIGURES_FILE,
    KINDS,
    MissingFigureError,
    read_figures,
    select_figures,
    store_figures,
)
from bench.capacity.model import Load, compute_need, mean_cost, process_rate
from bench.measurement import compare_with_peer, report_alone
from bench.scenarios import SCENARIOS
from bench.scenarios.hosts import JOBS, NAME
from bench.scenarios.vacuum import WAYS as WAYS_TO_VACUUM
from bench.scenarios.writes import FIGURES, JOB_KINDS
from bench.size import FULL
from tests import pages
from tests.transcripts import steps

FOUND = read_figures()
COMMANDS = pages.block("docs/capacity.md", "$ python -m bench.capacity")
SPECIAL = sorted(set(KINDS) - {"plain"})
shares = dictionaries(sampled_from(SPECIAL), floats(0, 1))
rates = floats(0, 100_000)
# Adding up a mean in another order may change its last digits.
ALMOST = 1e-9


@given(rate=rates, shares=shares, job_ms=floats(0, 1_000), more=floats(1, 10))
def test_more_jobs_never_need_less(rate, shares, job_ms, more):
    load = Load(rate, job_ms, job_ms / 2, shares)

    few, many = compute_need(load, FOUND), compute_need(replace(load, rate=rate * more), FOUND)

    assert all(b >= a for a, b in zip(astuple(few), astuple(many), strict=True))


def test_the_commands_of_the_page_are_understood(monkeypatch, capsys, tmp_path):
    """The command that measures for half an hour is only parsed."""
    for command, _ in steps(COMMANDS):
        words = shlex.split(
            command.replace("bench-results/bench.json", str(FIGURES_FILE)), comments=True
        )
        monkeypatch.setattr(sys, "argv", words[2:])
        if words[2] == "bench":
            assert bench.parse_arguments().only == ["ceiling", "writes"]
        else:
            assert model.main() == 0
            assert "worker processes of 8 threads" in capsys.readouterr().out


@given(rate=rates, shares=shares, kind=sampled_from(SPECIAL))
def test_resources_of_a_job_are_never_free(rate, shares, kind):
    without, with_it = {**shares, kind: 0.0}, {**shares, kind: 1.0}

    less, more = (
        compute_need(Load(rate, shares=without), FOUND),
        compute_need(Load(rate, shares=with_it), FOUND),
    )

    assert all(b >= a - ALMOST * abs(a) for a, b in zip(astuple(less), astuple(more), strict=True))


@given(rate=floats(0, 1_000), shares=shares, times=integers(1, 9))
def test_writes_are_proportional_to_the_number_of_jobs(rate, shares, times):
    one, all_of = (
        compute_need(Load(rate, shares=shares), FOUND),
        compute_need(Load(rate * times, shares=shares), FOUND),
    )

    for name in ("commits", "rows", "wal_bytes", "publish_rate", "relay_rate", "worker_cores"):
        assert getattr(all_of, name) == pytest.approx(times * getattr(one, name))


@given(shares=shares)
def test_a_mixture_costs_what_its_parts_cost(shares):
    plain, mixed = FOUND.costs["plain"], mean_cost(shares, FOUND)

    more = sum(
        share * max(0.0, FOUND.costs[kind].worker_us - plain.worker_us)
        for kind, share in shares.items()
    )
    assert mixed.worker_us == pytest.approx(plain.worker_us + more)


@given(
    rate=floats(1, 100_000), job_ms=floats(0, 1_000), threads=integers(1, 64), used=floats(0.1, 1)
)
def test_there_are_enough_processes_and_none_more(rate, job_ms, threads, used):
    load = Load(rate, job_ms, threads=threads, max_utilisation=used)

    each = process_rate(load, FOUND) * used

    assert compute_need(load, FOUND).processes * each >= rate * (1 - ALMOST)
    assert (compute_need(load, FOUND).processes - 1) * each < rate


def test_a_process_computes_on_one_core_however_many_threads_it_has():
    busy, waiting = Load(1, 10, 10, threads=64), Load(1, 10, 0, threads=64)

    assert process_rate(busy, FOUND) < 100
    assert process_rate(waiting, FOUND) > 5_000


def test_a_plain_job_costs_postgresql_nothing():
    found = compute_need(Load(10_000), FOUND)

    assert (found.commits, found.postgresql_share, found.relay_rate) == (0, 0, 0)
    assert found.relays == 1  # the failures


def test_a_queue_delivers_all_that_it_accepts():
    """Publishing at half its maximum takes half of its time, and delivering takes some more."""
    rate = FOUND.publish_rate / 2

    assert compute_need(Load(rate), FOUND).rabbitmq_share == pytest.approx(
        0.5 + rate / FOUND.delivery_rate
    )


def test_one_queue_is_enough_up_to_the_given_utilisation():
    most = 1 / (1 / FOUND.publish_rate + 1 / FOUND.delivery_rate)

    within, beyond = (compute_need(Load(most * used), FOUND) for used in (0.69, 0.71))

    assert (within.queues, beyond.queues) == (1, 2)
    assert beyond.groups == 1  # another queue is needed before another PostgreSQL


def test_one_server_is_enough_up_to_the_given_utilisation():
    """The model returns the number of groups; one more would be idle."""
    most = FOUND.commit_rate / FOUND.costs["once"].commits

    within = compute_need(Load(most * 0.69, shares={"once": 1.0}), FOUND)
    beyond = compute_need(Load(most * 0.71, shares={"once": 1.0}), FOUND)

    assert (within.groups, beyond.groups) == (1, 2)


def test_the_model_is_within_a_factor_of_two_of_the_measurements():
    """The model counts only the workers' cores; in the measurement both servers shared them."""
    for kind, did in FOUND.drain_rates.items():
        says = process_rate(Load(1, shares={kind: 1.0, "history": 1.0}), FOUND)
        assert did / 2 <= says <= did * 2


def test_the_bench_measures_what_the_model_reads():
    values = {f"{name}, {figure}" for name in JOB_KINDS for figure, _ in FIGURES}
    held = {one["name"] for one in json.loads(FIGURES_FILE.read_text("utf-8"))["measurements"]}

    assert set(JOB_KINDS) == set(KINDS)
    assert values <= held


def test_a_figure_that_is_missing_is_named_with_the_run_that_measures_it():
    with pytest.raises(MissingFigureError, match="bench --capacity"):
        select_figures({}, {})


def test_your_own_measurements_take_precedence(tmp_path):
    own = tmp_path / "bench.json"
    faster = [{"name": "PostgreSQL, commits of one row, 8 connections", "value": 50_000}]
    own.write_text(json.dumps({"measurements": faster, "surroundings": {"cores": 16}}))

    found = read_figures([FIGURES_FILE, own])

    assert found.commit_rate == 50_000
    assert found.relay_rate == FOUND.relay_rate
    assert found.surroundings["cores"] == 16


PARTS = {
    "capacity.md": {
        *("costs", "checked", "ends", "hosts"),
        "capacity --rate 1 --rate 10 --rate 100 --rate 1000 --rate 10000",
    },
    "roles.md": {"vacuum"},
}


@pytest.mark.parametrize("file", page.PAGES, ids=lambda file: file.name)
def test_a_page_has_what_was_measured_and_what_the_model_says(file):
    text = file.read_text("utf-8")

    assert page.update_tables(text, FOUND) == text, "run `make reference`"
    assert all(f"<!-- {part}" in text for part in PARTS[file.name])


def test_the_bench_measures_what_the_pages_show():
    held = {one["name"] for one in json.loads(FIGURES_FILE.read_text("utf-8"))["measurements"]}
    measured = {f"{said}, {NAME}" for said in JOBS.values()}
    measured |= {f"workshed.schedule, {way}" for way in WAYS_TO_VACUUM}

    assert measured <= held
    assert set(FOUND.host_rates) == set(JOBS.values())
    assert set(FOUND.table_mb) == set(WAYS_TO_VACUUM)
    assert SCENARIOS.keys() >= {*figures.SCENARIOS, *figures.ROOT_SCENARIOS}
    assert FULL.vacuum_jobs == 200_000  # as the page says


@pytest.mark.parametrize(
    "words", [["--once", "1.1"], ["--rate", "-1"], ["--threads", "0"], ["--rate", "inf"]]
)
def test_invalid_options_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        arguments.build_parser().parse_args(words)

    assert words[1] in capsys.readouterr().err


def test_a_job_cannot_compute_for_longer_than_it_takes():
    words = arguments.build_parser().parse_args(["--job-ms", "5", "--cpu-ms", "6"])

    with pytest.raises(SystemExit, match="cannot be more"):
        arguments.build_loads(words)


def test_new_figures_are_kept_where_the_old_ones_were(tmp_path):
    file = tmp_path / "figures.json"
    file.write_text(FIGURES_FILE.read_text("utf-8"), "utf-8")
    drain = "no-op drain -p 1, every middleware"
    found = [
        compare_with_peer(drain, 7_000.123, "jobs/s", "raw pika", 40_000.0),
        report_alone("relay", 1.0, "rows/s", at_least=2),
        report_alone("what the model does not read", 5.0, "/s"),
    ]

    store_figures(found, {"cores": 64}, file)

    before, after = read_figures(), read_figures([file])
    assert (after.drain_rates["plain"], after.delivery_rate, after.relay_rate) == (7_000, 40_000, 1)
    assert after.surroundings == {"cores": 64}
    same = {
        "drain_rates": before.drain_rates,
        "delivery_rate": before.delivery_rate,
        "relay_rate": before.relay_rate,
    }
    assert replace(after, surroundings=before.surroundings, **same) == before
    names = [one["name"] for one in json.loads(FIGURES_FILE.read_text("utf-8"))["measurements"]]
    assert [one["name"] for one in json.loads(file.read_text("utf-8"))["measurements"]] == names
