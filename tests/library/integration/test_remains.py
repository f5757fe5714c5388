"""Counts of ended processes are kept, but their files are not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workshed.health import shared_folder
from workshed.metrics import compaction, exposition
from workshed.metrics.compaction import MERGED, MOST_FILES

COUNT = """
import os
from workshed.health import shared_folder
from workshed.metrics import metric, meters
from workshed.settings import settings

shared_folder.join_folder(settings().shared_folder)
metric.set_enabled(on=True)
meters.JOBS.add("greet", "default", "succeeded", amount=3)
meters.JOB_RUN.observe(0.02, "greet", "default")
meters.WORKERS.set(1)
"""
THEIRS = """
from prometheus_client import Counter, Gauge, Summary
Counter("shop_orders", "Orders.", ["kind"]).labels('a "b"').inc(2)
Gauge("shop_open", "Open.", multiprocess_mode="livesum").set(1)
Gauge("shop_best", "Best.", multiprocess_mode="max").set(7)
Summary("shop_sizes", "Sizes.").observe(5)
"""


@pytest.fixture
def folder(tmp_path):
    """A folder that Workshed has made."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.fixture
def one_ends(folder):
    """`one_ends()`: run a process that counts and exits."""

    def run(code=COUNT):
        named = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "WORKSHED_SHARED_FOLDER": str(folder)}
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **named}, check=True)

    return run


def read_numbers(folder):
    """The numbers of the page."""
    lines = exposition.shared_metrics(folder).splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def files(folder):
    return sorted(file.suffix for file in folder.iterdir() if "-" not in file.name)


JOBS = 'workshed_jobs_total{actor="greet",outcome="succeeded",queue="default"}'
RUNS = 'workshed_job_run_seconds_%s{actor="greet",%squeue="default"}'


def test_the_files_of_ended_processes_are_merged_and_their_counts_kept(
    one_ends, folder, monkeypatch
):
    """A worker that dies whenever it starts would fill the disk, and slow down each scrape."""
    monkeypatch.setattr(compaction, "MOST_FILES", 0)
    for number in range(1, 4):
        one_ends()

        for _ in range(2):
            page = read_numbers(folder)
            assert page[JOBS] == f"{3.0 * number}"
            assert page[RUNS % ("bucket", 'le="0.01",')] == "0.0"
            assert page[RUNS % ("bucket", 'le="0.025",')] == f"{number:.1f}"
            assert page[RUNS % ("bucket", 'le="+Inf",')] == f"{number:.1f}"
            assert page[RUNS % ("count", "")] == f"{number:.1f}"
            assert float(page[RUNS % ("sum", "")]) == pytest.approx(0.02 * number)
            assert "workshed_workers" not in page

    assert [file.name for file in folder.iterdir() if "-" not in file.name] == [MERGED]


def test_a_few_files_of_ended_processes_stay_as_they_are(one_ends, folder):
    one_ends()
    one_ends()

    assert read_numbers(folder)[JOBS] == "6.0"
    assert files(folder) == [".values"] * 2
    assert MOST_FILES > 2


def test_what_an_application_measures_with_its_own_package_is_on_the_page(
    one_ends, folder, monkeypatch
):
    one_ends(THEIRS)
    one_ends(THEIRS)

    for most in (MOST_FILES, 0, 0):
        monkeypatch.setattr(compaction, "MOST_FILES", most)
        page = read_numbers(folder)
        assert page[r'shop_orders_total{kind="a \"b\""}'] == "4.0"
        assert page["shop_best"] == "7.0"
        assert (page["shop_sizes_count"], page["shop_sizes_sum"]) == ("2.0", "10.0")
        assert "shop_open" not in page


def test_the_file_of_a_living_process_is_not_merged(one_ends, folder, monkeypatch):
    """If it were merged and deleted, later counts of the process would be lost."""
    monkeypatch.setattr(compaction, "MOST_FILES", 0)
    one_ends()
    (file,) = folder.glob("*.values")
    mine = file.rename(shared_folder.values_file(folder))

    page = read_numbers(folder)

    assert page[JOBS] == "3.0"
    assert page["workshed_workers"] == "1.0"
    assert mine.exists()


def test_an_interrupted_merge_leaves_nothing_that_is_counted(one_ends, folder, monkeypatch):
    monkeypatch.setattr(compaction, "MOST_FILES", 0)
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("interrupted"))
    one_ends()
    with pytest.raises(pytest.fail.Exception):
        exposition.shared_metrics(folder)
    monkeypatch.undo()

    assert read_numbers(folder)[JOBS] == "3.0"
