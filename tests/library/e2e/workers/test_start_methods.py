"""Workers that their master starts by `fork`, `forkserver` or `spawn`.

From Python 3.14 on `forkserver` is the default of Linux, and what dramatiq uses.
"""

import os
import re
import signal

import pytest

from tests.library.e2e.workers.supervised import Supervised, ask
from tests.processes import children, command_of, descendants, has_ended

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
def test_supervised_workers_come_up_work_and_end_with_their_masters(
    method, supervise, send, done, notes, eventually
):
    """Each worker once took the fork server for its master: it ended a second after its boot, and
    reported a process that its supervisor did not know."""
    workers = supervise(processes=2, exporter=True)
    eventually(lambda: ask(workers, "/readyz") == OK)
    masters, processes = workers.masters(), workers.workers()
    assert len(masters) == len(processes) == 2
    assert has_fork_server(workers.process.pid) == (method == "forkserver")

    for number in range(60):
        send("make", number)
    eventually(lambda: done() == set(range(60)))
    send("make", 60, 2.0)
    eventually(lambda: any(number == 60 for number, _, _ in notes("start")))
    [(_, _, busy)] = [run for run in notes("start") if run[0] == 60]
    idle = next(pid for pid in processes if pid != busy)
    os.kill(masters[processes.index(busy)], signal.SIGKILL)

    eventually(lambda: has_ended(busy))
    assert 60 in done()  # the job that ran was let end
    eventually(lambda: len(workers.workers()) == 2 and ask(workers, "/readyz") == OK)
    assert idle in workers.workers()  # it has run all the time, and is not a replacement
    below = descendants(workers.process.pid)
    assert workers.stop() == 0
    eventually(lambda: all(map(has_ended, below)))  # a fork server, once it sees that it is alone


@pytest.mark.sample(1)
def test_a_worker_that_has_run_its_jobs_is_replaced(method, supervise, send, done, eventually):
    """The supervisor finds the child by the master that the worker reports. For a worker that
    reported the fork server it counted no jobs and no memory."""
    workers = supervise("--max-jobs", "10", processes=1)
    [first] = workers.masters()

    for number in range(30):
        send("make", number)

    eventually(lambda: done() == set(range(30)))
    eventually(lambda: workers.masters() and first not in workers.masters())


@pytest.mark.sample(1)
def test_plain_dramatiq_runs_a_relay_and_an_exporter_that_end_with_it(
    method, plain, send, done, conn, eventually
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
    eventually(lambda: done() == {1})
    # Of a worker and of the relay: both have found the folder that the exporter reads.
    for line in (r"^workshed_jobs_total{.*\bmake\b.* 1", r"^workshed_schedule_lag_seconds.* \d"):
        shown = re.compile(line, re.MULTILINE)
        eventually(lambda shown=shown: shown.search((ask(plain, "/metrics") or (0, ""))[1]))
    below = descendants(plain.process.pid)
    assert any(is_running(pid, "workshed.transport.sidecars.exporter") for pid in below)
    plain.process.kill()

    eventually(lambda: all(map(has_ended, below)))


def is_running(pid, module):
    return f"-m {module}" in command_of(pid)


def has_fork_server(pid):
    below = [each for child in children(pid) for each in children(child)]
    return any("multiprocessing.forkserver" in command_of(each) for each in below)
