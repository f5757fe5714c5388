"""What follows from what processes say of themselves, and what they leave when they end."""

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
    """It is `NOW`, whenever the tests were collected."""
    monkeypatch.setattr("workshed.health.probes.time.monotonic", lambda: NOW)


@pytest.mark.parametrize(
    ("pulses", "problems"),
    [
        ([], []),
        ([worker(), supervisor()], []),
        ([worker(troubles=["RabbitMQ is not connected", "PostgreSQL does not answer"])], []),
        ([worker(at=ago(89))], []),  # it may yet end itself
        ([worker(at=ago(91))], ["worker 7 has not moved for 91 s"]),
        ([worker(leaving=True, at=ago(91))], ["worker 7 has not moved for 91 s"]),
        ([worker(), supervisor(at=ago(120))], ["supervisor 1 has not moved for 120 s"]),
        (
            [supervisor(stuck=["worker 2 could not start 5 times in a row"])],
            ["worker 2 could not start 5 times in a row"],
        ),
    ],
)
def test_only_what_a_restart_mends_is_not_alive(now, pulses, problems):
    assert probes.fatal_problems(pulses) == problems


@pytest.mark.parametrize(
    ("pulses", "problems"),
    [
        ([worker(), supervisor()], []),
        ([], ["no worker is up"]),
        ([supervisor()], ["no worker is up"]),
        ([worker(troubles=["quiet"])], ["worker 7: quiet"]),
        ([worker(at=ago(11))], ["worker 7: nothing heard of it for 11 s"]),
        ([worker(), supervisor(leaving=True)], ["it stops"]),
        ([worker(leaving=True)], ["it stops"]),
        # One that was replaced, and lets its jobs end, is no news.
        ([worker(leaving=True, troubles=["quiet"]), worker(8), supervisor()], []),
        (
            [worker(), supervisor(troubles=["1 of 2 workers are up"])],
            ["supervisor: 1 of 2 workers are up"],
        ),
    ],
)
def test_what_is_not_ready_says_why(now, pulses, problems):
    assert probes.readiness_problems(pulses, "worker") == problems


def test_the_pages_say_it_with_a_status(now):
    pages = probes.probe_pages(lambda: [worker(troubles=["quiet"])], of="worker")

    assert pages["/livez"]("").status == 200
    assert pages["/livez"]("").body == b"ok\n"
    assert pages["/readyz"]("").status == 503
    assert pages["/readyz"]("").body == b"worker 7: quiet\n"


# Their files


def test_what_is_told_is_read(tmp_path):
    told = ProcessStatus("worker", troubles=["quiet"], jobs=3, memory_bytes=1 << 30)

    StatusFile(tmp_path)(told)

    assert pulses.read_statuses(tmp_path) == [told]


def test_a_shorter_pulse_leaves_nothing_of_a_longer_one(tmp_path):
    telling = StatusFile(tmp_path)
    telling(ProcessStatus("worker", troubles=[f"trouble {n} {'x' * 200}" for n in range(100)]))
    assert len(pulses.read_statuses(tmp_path)[0].troubles) == pulses.MANY

    telling(ProcessStatus("worker"))

    assert pulses.read_statuses(tmp_path)[0].troubles == []


def test_of_one_that_has_ended_nothing_is_left(tmp_path):
    """Its last words would be taken for those of a process that is stuck."""
    tell = "from workshed.health.status import *; from pathlib import Path\n"
    tell += f"StatusFile(Path({str(tmp_path)!r}))(ProcessStatus('worker'))"
    subprocess.run([sys.executable, "-c", tell], check=True, timeout=60)
    assert len(list(tmp_path.iterdir())) == 1

    assert pulses.read_statuses(tmp_path) == []

    assert list(tmp_path.iterdir()) == []


def test_what_another_release_says_beside_is_not_asked(tmp_path):
    """While workers are replaced, some of them are of the next release."""
    said = {"kind": "worker", "jobs": 2, "pid": 7, "parent": 1, "at": 0.0, "mood": "good"}
    (tmp_path / process_name(os.getpid())).write_text(json.dumps(said))

    assert pulses.read_statuses(tmp_path) == [
        ProcessStatus("worker", jobs=2, pid=7, parent=1, at=0.0)
    ]


def test_a_disk_that_is_full_leaves_no_pulse_that_stands_still(tmp_path, monkeypatch, caplog):
    """It would be taken for a process that is stuck, and all of the fleet be restarted."""
    telling = StatusFile(tmp_path)
    telling(ProcessStatus("worker"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    telling(ProcessStatus("worker"))
    telling(ProcessStatus("worker"))

    assert pulses.read_statuses(tmp_path) == []
    assert caplog.text.count("probes see nothing of this process") == 1


def test_quiet_is_wanted_once_and_taken_back_once(tmp_path):
    assert not pulses.is_quiet(tmp_path)
    assert pulses.be_quiet(tmp_path, wanted=True)
    assert not pulses.be_quiet(tmp_path, wanted=True)
    assert pulses.is_quiet(tmp_path)
    assert pulses.be_quiet(tmp_path, wanted=False)
    assert not pulses.be_quiet(tmp_path, wanted=False)
