"""`workshed init` on a machine with nothing installed: the new service's demo and its tests."""

import os
import re
import shutil
import subprocess

import pytest

from tests import pages
from tests.installing import KEPT, Installed, environment

pytestmark = [pytest.mark.timeout(1_800), pytest.mark.exhaustive]  # pip installs two environments

PAGE = "docs/getting-started.md"
START = pages.block(PAGE, "init")
SHOWN = pages.block(PAGE, "demo")
REPLACED = {"rabbitmq": ("", ""), "postgresql": ("PostgreSQL, RabbitMQ and", "PostgreSQL and")}


@pytest.fixture(params=["rabbitmq", "postgresql"])
def queue(request):
    """What queues the jobs of the new service."""
    return request.param


@pytest.fixture
def service(wheel, tmp_path, queue):
    """A new service, written by the installed wheel, which lies next to its `pyproject.toml`."""
    environment(tmp_path / "env", f"{wheel}[server]", compiled=False)
    Installed(tmp_path / "env").run(
        "workshed", "init", "billing", "--broker", queue, folder=tmp_path
    )
    shutil.copy(wheel, tmp_path / "billing")
    return tmp_path / "billing"


@pytest.fixture
def make(service, tmp_path):
    """`make("demo")`: run a target with an empty home; return its output."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    (tmp_path / "home").mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), **kept}

    def run(target):
        done = subprocess.run(
            ["make", target],
            cwd=service,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def plain(text):
    """Return the lines of an output without what differs each time: ids, times, and their order."""
    text = re.sub(r"[0-9a-f-]{36}", "ID", text)
    text = re.sub(r" +", " ", re.sub(r"[\d.]+(ms|s)( ago)?", "TIME", text))
    return sorted(line.strip() for line in text.splitlines())


def test_its_demo_tests_and_types_pass(make, queue):
    assert START.splitlines() == ["workshed init billing && cd billing", "make demo", "make test"]

    shown = plain(SHOWN.partition("\n")[2].replace(*REPLACED[queue]))
    assert plain(make("demo")) == shown
    assert " passed" in make("test")
    assert "Success" in make("check")
