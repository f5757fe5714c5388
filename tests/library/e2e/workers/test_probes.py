"""`/livez` and `/readyz` of real processes."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests import pages
from tests.library.e2e.workers.supervised import Supervised, ask, ups
from tests.transcripts import alike, check, shell, steps
from workshed.health import status

OK = (200, "ok\n")
PROBES = steps(pages.block("docs/operating.md", "$ curl"))
AT = re.compile(r"probes are at http://127.0.0.1:(\d+)/livez")
CLOCK = re.compile(r"^clock .*\n", re.MULTILINE)
"""Lines of a clock, which also misses PostgreSQL after a while; a new one must note its jobs."""
PROCESSES = {re.compile(r"(?<=worker )\d+|(?<=relay )\d+"): "PID"}


def unready_text(one):
    """Return the text of `/readyz`, or an empty one if there is no answer."""
    answer = ask(one, "/readyz")
    return answer[1] if answer else ""


@pytest.fixture
def is_ready(eventually):
    """`is_ready(workers)`: wait until they are ready."""
    return lambda one: eventually(lambda: ask(one, "/readyz") == OK)


def test_with_both_servers_away_it_lives_and_is_not_ready(
    supervise, is_ready, servers, send, ended, tmp_path, eventually
):
    """A restart would bring no server back, and would cut off jobs that need none.

    The output is that of docs/operating.md.
    """
    workers = supervise(processes=1, exporter=True)
    is_ready(workers)
    [pid], [relay] = workers.workers(), workers.relays()
    eventually(lambda: has_status(relay))
    run, [port] = shell(tmp_path), set(AT.findall(workers.text()))
    (live, is_alive), (ready, are_missed) = PROBES
    check(is_alive, run(live.replace("9191", port)))

    def said():
        return CLOCK.sub("", run(ready.replace("9191", port)))

    servers.rabbitmq.stop()
    servers.postgres.stop()
    try:
        with contextlib.suppress(AssertionError):
            eventually(lambda: alike(are_missed, said(), PROCESSES))
        check(are_missed, said(), PROCESSES)  # a failure shows the actual output
        began = time.monotonic()
        for _ in range(20):
            assert ask(workers, "/livez") == OK
            assert ask(workers, "/readyz")[0] == 503
        assert time.monotonic() - began < 60  # 40 answers, none of which waits for a server
        assert workers.workers() == [pid]
    finally:
        servers.postgres.start()
        servers.rabbitmq.start()

    is_ready(workers)
    send("make", 1)
    eventually(lambda: ended() == {1})


def has_status(pid):
    """Return whether a process has reported its status once; probes miss no relay before that."""
    found = re.search(
        r"\0WORKSHED_SHARED_FOLDER=([^\0]+)", Path(f"/proc/{pid}/environ").read_text()
    )
    return pid in {pulse.pid for pulse in status.read_statuses(Path(found[1]))}


def test_where_no_relay_beats_anywhere_it_is_not_ready(supervise, eventually):
    workers = supervise("--no-relay", processes=1, exporter=True)
    words = f"worker {workers.workers()[0]}: no relay is running\n"

    eventually(lambda: ask(workers, "/readyz") == (503, words))

    assert ask(workers, "/livez") == OK


def test_a_frozen_worker_is_missed_and_one_that_is_gone_too(supervise, is_ready, eventually):
    workers = supervise(processes=2, exporter=True)
    is_ready(workers)
    frozen, _ = workers.workers()

    os.kill(frozen, signal.SIGSTOP)
    words = f"worker {frozen}: no report for "
    eventually(lambda: words in unready_text(workers))
    os.kill(frozen, signal.SIGKILL)
    eventually(lambda: "supervisor: 1 of 2 workers are up" in unready_text(workers))

    is_ready(workers)


def test_while_it_stops_it_is_not_ready(supervise, is_ready, send, notes, eventually):
    workers = supervise(processes=1, exporter=True)
    is_ready(workers)
    send("make", 1, 5.0)
    eventually(lambda: notes("start"))

    workers.process.terminate()

    eventually(lambda: ask(workers, "/readyz") == (503, "it is shutting down\n"))
    assert ask(workers, "/livez") == OK
    assert workers.process.wait(90) == 0


def test_a_roll_keeps_it_ready(supervise, is_ready, eventually):
    """Each worker is replaced by one that is up already, and the supervisor answers all the time.

    A roll that takes workers away answers differently.
    """
    workers = supervise(processes=2, exporter=True)
    is_ready(workers)
    answers = []

    workers.process.send_signal(signal.SIGHUP)

    def is_over():
        answers.append(ask(workers, "/readyz"))
        return len(ups(workers)) == 2

    eventually(is_over, within_s=120)
    assert {(status, CLOCK.sub("", text)) for status, text in answers} == {OK}


def test_plain_dramatiq_answers_too(start_worker, environment, is_ready):
    own = {"PROMETHEUS_MULTIPROC_DIR": "", "WORKSHED_PROBES": "true"}

    worker = start_worker("parts", processes=2, env=own)

    is_ready(worker)
    assert ask(worker, "/livez") == OK
    assert worker.stop() == 0


def test_without_metrics_probes_answer_too(supervise, is_ready):
    workers = supervise(processes=1, exporter=True, env={"WORKSHED_METRICS": "false"})

    is_ready(workers)

    assert ask(workers, "/livez") == OK
    assert ask(workers, "/metrics") == (404, "there is /livez, /readyz\n")


def test_without_probes_metrics_are_served(supervise, eventually):
    workers = supervise(processes=1, exporter=True, env={"WORKSHED_PROBES": "false"})
    [port] = re.findall(r"metrics are at http://127.0.0.1:(\d+)/metrics", workers.text())

    def read_metrics():
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            return answer.read().decode()

    eventually(lambda: "workshed_workers 1.0" in read_metrics())


@pytest.fixture
def relay(environment, broker, through, tmp_path):
    """`workshed relay`, alone."""
    one = Supervised([], {**environment, **through}, tmp_path / "relay.log", command="relay")
    yield one
    one.end()


def test_a_relay_that_is_alone_answers_for_itself(relay, is_ready, wires, eventually):
    is_ready(relay)
    assert ask(relay, "/livez") == OK
    for wire in wires:
        wire.refuse()
        wire.cut()
    eventually(
        lambda: (
            {"PostgreSQL does not answer", "RabbitMQ is not connected"}
            <= {line.partition(": ")[2] for line in unready_text(relay).splitlines()}
        )
    )
    assert ask(relay, "/livez") == OK

    for wire in wires:
        wire.accept()

    is_ready(relay)
    assert relay.stop() == 0
