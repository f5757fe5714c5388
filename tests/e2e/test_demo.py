"""`workshed demo` without a terminal: 0 only when every step was seen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from console.demo.people import people


@pytest.fixture
def demo(tmp_path):
    """Run the demo; returns its exit code and what it wrote."""

    def demo(**env):
        done = subprocess.run(
            [Path(sys.executable).with_name("workshed"), "demo"],
            env={**os.environ, **env},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return demo


def test_every_step_is_seen_and_everything_stops(demo):
    code, said = demo()

    assert code == 0, said
    assert "Every step was seen" in said
    for person in people():
        assert person.email in said
    assert "discarded: user 11 does not exist" in said
    assert "retried: MailTemporarilyRefusedError" in said
    assert "RabbitMQ UI  http://127.0.0.1:" in said
    assert not _left_behind(said)


def test_a_step_that_was_not_seen_is_named_and_fails(demo, tmp_path):
    """A worker that finds other actors: nothing is sent, and the demo says so."""
    (tmp_path / "actors.py").write_text("raise ImportError('broken on purpose')\n")

    code, said = demo()

    assert code == 1
    assert "not seen: ada@example.org: sent" in said
    assert "the worker ended with code 2" in said


def _left_behind(said):
    log = next(line.split()[-1] for line in said.splitlines() if line.startswith("Worker log"))
    folder = str(Path(log).parent)
    return [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if folder.encode() in path.read_bytes()
    ]
