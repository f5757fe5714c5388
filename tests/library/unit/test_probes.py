"""What probes conclude from the status of processes, and what ended processes leave behind."""

import json
import os
import subprocess
import sys

import pytest

from workshed.health import probes
from workshed.health import status as pulses
from workshed.health.shared_folder import process_name
from workshed.health.status import ProcessStatus, StatusFile

NOW = 1_000.0


def ago(seconds):
    return NOW - seconds


def worker(pid=7, at=NOW, **says):
    return ProcessStatus("worker", pid=pid, at=at, **says)


def supervisor(at=NOW, **says):
    return ProcessStatus("supervisor", pid=1, at=at, **says)


@pytest.fixture
def now(monkeypatch):
    """Set the clock to `NOW`."""
    monkeypatch.setattr("workshed.health.probes.time.monotonic", lambda: NOW)


@pytest.mark.parametrize(
    ("pulses", "problems"),
    [
        ([], []),
        ([worker(), supervisor()], []),
        ([worker(problems=["RabbitMQ is not connected", "PostgreSQL does not answer"])], []),
        ([worker(at=ago(89))], []),  # it may yet end itself
        ([worker(at=ago(91))], ["worker 7 is stuck: no report for 91 s"]),
        ([worker(is_shutting_down=True, at=ago(91))], ["worker 7 is stuck: no report for 91 s"]),
        ([worker(), supervisor(at=ago(120))], ["supervisor 1 is stuck: no report for 120 s"]),
        (
            [supervisor(fatal_problems=["worker 2 could not start 5 times in a row"])],
            ["worker 2 could not start 5 times in a row"],
        ),
    ],
)
def test_only_problems_that_a_restart_fixes_are_fatal(now, pulses, problems):
    assert probes.fatal_problems(pulses) == problems


@pytest.mark.parametrize(
    ("pulses", "problems"),
    [
        ([worker(), supervisor()], []),
        ([], ["no worker is up"]),
        ([supervisor()], ["no worker is up"]),
        ([worker(problems=["quiet"])], ["worker 7: quiet"]),
        ([worker(at=ago(11))], ["worker 7: no report for 11 s"]),
        ([worker(), supervisor(is_shutting_down=True)], ["it is shutting down"]),
        ([worker(is_shutting_down=True)], ["it is shutting down"]),
        # A worker that was replaced and lets its jobs end is not a problem.
        ([worker(is_shutting_down=True, problems=["quiet"]), worker(8), supervisor()], []),
        (
            [worker(), supervisor(problems=["1 of 2 workers are up"])],
            ["supervisor: 1 of 2 workers are up"],
        ),
    ],
)
def test_a_fleet_that_is_not_ready_says_why(now, pulses, problems):
    assert probes.readiness_problems(pulses, "worker") == problems


def test_the_pages_answer_with_an_http_status(now):
    pages = probes.probe_pages(lambda: [worker(problems=["quiet"])], of="worker")

    assert pages["/livez"]().status == 200
    assert pages["/livez"]().body == b"ok\n"
    assert pages["/readyz"]().status == 503
    assert pages["/readyz"]().body == b"worker 7: quiet\n"


# Status files


def test_a_status_that_is_written_is_read(tmp_path):
    status = ProcessStatus("worker", problems=["quiet"], jobs=3, memory_bytes=1 << 30)

    StatusFile(tmp_path)(status)

    assert pulses.read_statuses(tmp_path) == [status]


def test_a_shorter_status_leaves_nothing_of_a_longer_one(tmp_path):
    telling = StatusFile(tmp_path)
    telling(ProcessStatus("worker", problems=[f"trouble {n} {'x' * 200}" for n in range(100)]))
    assert len(pulses.read_statuses(tmp_path)[0].problems) == pulses.MOST_PROBLEMS

    telling(ProcessStatus("worker"))

    assert pulses.read_statuses(tmp_path)[0].problems == []


def test_nothing_is_left_of_a_process_that_has_ended(tmp_path):
    """Its last status would look like that of a process that is stuck."""
    tell = "from workshed.health.status import *; from pathlib import Path\n"
    tell += f"StatusFile(Path({str(tmp_path)!r}))(ProcessStatus('worker'))"
    subprocess.run([sys.executable, "-c", tell], check=True, timeout=60)
    assert len(list(tmp_path.iterdir())) == 1

    assert pulses.read_statuses(tmp_path) == []

    assert list(tmp_path.iterdir()) == []


def test_unknown_fields_of_another_release_are_ignored(tmp_path):
    """While workers are replaced, some of them already run the next release."""
    said = {"kind": "worker", "jobs": 2, "pid": 7, "at": 0.0, "mood": "good"}
    (tmp_path / process_name(os.getpid())).write_text(json.dumps(said))

    assert pulses.read_statuses(tmp_path) == [ProcessStatus("worker", jobs=2, pid=7, at=0.0)]


def test_a_full_disk_leaves_no_outdated_status(tmp_path, monkeypatch, caplog):
    """It would look like a process that is stuck, and the whole fleet would be restarted."""
    telling = StatusFile(tmp_path)
    telling(ProcessStatus("worker"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    telling(ProcessStatus("worker"))
    telling(ProcessStatus("worker"))

    assert pulses.read_statuses(tmp_path) == []
    assert caplog.text.count("this process cannot report its status to probes") == 1


def test_quiet_is_requested_once_and_taken_back_once(tmp_path):
    assert not pulses.is_quiet(tmp_path)
    assert pulses.set_quiet(tmp_path, enabled=True)
    assert not pulses.set_quiet(tmp_path, enabled=True)
    assert pulses.is_quiet(tmp_path)
    assert pulses.set_quiet(tmp_path, enabled=False)
    assert not pulses.set_quiet(tmp_path, enabled=False)
