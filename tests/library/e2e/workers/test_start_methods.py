"""Workers that a `dramatiq` master starts by `fork`, `forkserver` or `spawn`.

From Python 3.14 on `forkserver` is the default of Linux, and what dramatiq uses.
"""

import re

import pytest

from tests.library.e2e.workers.supervised import Supervised, ask
from tests.processes import command_of, descendants, has_ended

OK = (200, "ok\n")


@pytest.fixture(params=["fork", "forkserver", "spawn"])
def method(request, environment, tmp_path):
    """The start method of every program that this test starts in its folder."""
    chosen = "import multiprocessing\n\nmultiprocessing.set_start_method({!r})\n"
    (tmp_path / "sitecustomize.py").write_text(chosen.format(request.param))
    return request.param


@pytest.fixture
def plain(environment, tmp_path, broker):
    """`dramatiq parts -p 1 -t 2`, started cold."""
    options = ["-p", "1", "-t", "2"]
    one = Supervised(options, environment, tmp_path / "plain.log", "parts", program="dramatiq")
    yield one
    one.end()


@pytest.mark.sample(1)
def test_plain_dramatiq_runs_a_relay_and_serves_metrics_until_it_ends(
    method, plain, send, ended, conn, eventually
):
    conn.autocommit = True
    eventually(lambda: ask(plain, "/readyz") == OK)
    eventually(
        lambda: any(
            is_running(pid, "workshed.transport.relay.relay")
            for pid in descendants(plain.process.pid)
        )
    )

    send("make", 1)
    eventually(lambda: ended() == {1})
    # Of a worker and of the relay: both have found the folder whose metrics are served.
    for line in (r"^workshed_jobs_total{.*\bmake\b.* 1", r"^workshed_schedule_lag_seconds.* \d"):
        pattern = re.compile(line, re.MULTILINE)
        eventually(lambda pattern=pattern: pattern.search((ask(plain, "/metrics") or (0, ""))[1]))
    below = descendants(plain.process.pid)
    plain.process.kill()

    eventually(lambda: all(map(has_ended, below)))


def is_running(pid, module):
    return f"-m {module}" in command_of(pid)
