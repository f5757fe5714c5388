"""Counts of dead processes are kept, but their files are not."""

import os
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from workshed.metrics import compaction, exposition

COUNT = """
from workshed.metrics import metric, meters
metric.set_enabled(on=True)
meters.JOBS.add("greet", "default", "succeeded", amount=3)
meters.JOB_RUN.observe(0.02, "greet", "default")
"""


@pytest.fixture
def one_dies(tmp_path):
    """Return a function that runs a process which counts and exits."""

    def run():
        env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", COUNT], env=env, check=True)

    return run


def told(folder):
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    labels = {"actor": "greet", "queue": "default"}
    return (
        registry.get_sample_value("workshed_jobs_total", {**labels, "outcome": "succeeded"}),
        registry.get_sample_value("workshed_job_run_seconds_bucket", {**labels, "le": "0.025"}),
        registry.get_sample_value("workshed_job_run_seconds_bucket", {**labels, "le": "0.01"}),
    )


def test_the_files_of_dead_processes_are_merged_and_their_counts_kept(
    one_dies, tmp_path, monkeypatch
):
    """A worker that dies whenever it starts would fill the disk, and slow down each scrape."""
    monkeypatch.setattr(compaction, "MOST_FILES", 0)
    for number in range(1, 4):
        one_dies()

        exposition.collect_shared_metrics(tmp_path)

        assert told(tmp_path) == (3 * number, number, 0)

    assert sorted(file.name for file in tmp_path.glob("*.db")) == ["counter_0.db", "histogram_0.db"]


def test_the_file_of_a_living_process_is_not_merged(one_dies, tmp_path, monkeypatch):
    """If it were merged and deleted, later counts of the process would be lost."""
    monkeypatch.setattr(compaction, "MOST_FILES", 0)
    one_dies()
    (file,) = tmp_path.glob("counter_*.db")
    mine = file.rename(tmp_path / f"counter_{os.getpid()}.db")

    exposition.collect_shared_metrics(tmp_path)

    assert mine.exists()
