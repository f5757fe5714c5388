"""`/metrics` of real processes, scraped as Prometheus does."""

import contextlib
import http.client
import os
import re
import secrets
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import dramatiq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.library.e2e.workers.supervised import Supervised
from tests.pages import block
from tests.programs import CLOCK
from tests.transcripts import check, shell, steps
from workshed.devserver.ports import HOST, PORT_RANGE
from workshed.health import http as pages

SHOWN = steps(block("docs/metrics.md", "$ workshed worker"))
ACTORS = """
import os, signal, threading
import dramatiq
from workshed import broker
from prometheus_client import Counter

MINE = Counter("shop_invoices", "Invoices of an application.")

@dramatiq.actor(broker=broker, queue_name="default", time_limit=60_000, max_retries=0)
def work(what):
    MINE.inc()
    if what == "fail":
        raise OSError("away")
    if what == "hang":
        threading.Event().wait(50)
"""
AT = re.compile(r"metrics are at http://127.0.0.1:(\d+)/metrics")


def ask(port, method="GET", path="/metrics"):
    """Send one request; return its status, headers and text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def scrape(port):
    """All numbers of a page, by name and labels."""
    status, _, text = ask(port)
    assert status == 200, text
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def number(page, name, **labels):
    return page.get((f"workshed_{name}", *sorted(labels.items())))


def count_ended(page, outcome="succeeded"):
    return number(page, "jobs_total", actor="work", queue="default", outcome=outcome) or 0


@pytest.fixture
def free_port():
    """A port that has free ports above it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return min(sock.getsockname()[1], 65_000)


@pytest.fixture
def folders(tmp_path):
    """`folders()`: the folders in which masters of this test keep their numbers."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return lambda: list(scratch.glob("workshed-metrics-*/*"))


@pytest.fixture
def numbers():
    """Let workers show their numbers."""
    return {}


@pytest.fixture
def environment(environment, free_port, folders, tmp_path):
    """The environment variables of a process that measures."""
    (tmp_path / "work.py").write_text(ACTORS)
    scratch = str(tmp_path / "scratch")
    return {**environment, "WORKSHED_METRICS_PORT": str(free_port), "TMPDIR": scratch}


@pytest.fixture
def work(broker):
    """`work("fail")`: send a job."""

    def send(what="well"):
        broker.enqueue(dramatiq.Message("default", "work", (what,), {}, {}))

    return send


@pytest.fixture
def page_of(eventually):
    """`page_of(worker)`: the port of its page, from its log."""

    def port(worker, pages=1):
        return int(eventually(lambda: AT.findall(worker.text())[pages - 1 :])[0])

    return port


def test_one_page_shows_what_all_workers_of_a_master_have_counted(
    start_worker, work, page_of, eventually
):
    """This includes an application's own metrics in an actor's module, and those of the relay."""
    worker = start_worker("work", processes=2)
    port = page_of(worker)
    for what in ("well",) * 20 + ("fail",):
        work(what)

    eventually(lambda: (count_ended(scrape(port)), count_ended(scrape(port), "dead")) == (20, 1))
    oldest = "oldest_waiting_seconds"
    eventually(lambda: number(scrape(port), oldest, queue="default") is not None)

    labels = {"actor": "work", "queue": "default"}
    eventually(lambda: number(scrape(port), "job_run_seconds_count", **labels) == 21)
    page = scrape(port)
    assert number(page, "job_wait_seconds_count", **labels) == 21
    assert number(page, "job_run_seconds_bucket", le="1.0", **labels) == 21
    assert number(page, "workers") == 2
    assert number(page, "worker_threads") == 16
    assert number(page, "rabbitmq_up", connection="consumer") == 1
    assert page[("shop_invoices_total",)] == 21
    # They begin at 0, because Prometheus sees no increase in a counter that appears at 1.
    assert [
        number(page, f"{name}_total")
        for name in ("deliveries_dead_lettered", "history_rows_dropped")
    ] == [0, 0]
    assert worker.stop() == 0


def test_running_jobs_are_shown(start_worker, work, page_of, eventually):
    port = page_of(start_worker("work"))
    for _ in range(3):
        work("hang")

    eventually(lambda: number(scrape(port), "worker_threads_busy") == 3)
    labels = {"actor": "work", "queue": "default"}
    eventually(lambda: number(scrape(port), "jobs_running", **labels) == 3)


def test_two_masters_of_one_host_have_a_page_each(start_worker, work, page_of, eventually, folders):
    """With one port for both, jobs of the second would be counted nowhere."""
    first, second = start_worker("work"), start_worker("work")
    ports = page_of(first), page_of(second)
    for _ in range(20):
        work()

    eventually(lambda: sum(count_ended(scrape(port)) for port in ports) == 20)

    assert ports[0] != ports[1]
    assert [number(scrape(port), "workers") for port in ports] == [1, 1]
    assert len(folders()) == 2


@pytest.fixture
def taken():
    """Hold all ports that are tried, because others may free theirs; yield the first one."""
    with contextlib.ExitStack() as opened:
        first = port = secrets.choice(PORT_RANGE)
        while port < first + pages.PORTS_TRIED:
            try:
                opened.enter_context(socket.create_server((HOST, port)))
            except OSError:
                first = port + 1
            port += 1
        yield first


def test_jobs_run_even_if_no_port_is_free(start_worker, work, taken, count, eventually):
    worker = start_worker("work", env={"WORKSHED_METRICS_PORT": str(taken)})
    eventually(lambda: "are taken" in worker.text())
    work("fail")

    eventually(lambda: count("workshed.dead") == 1)
    assert worker.stop() == 0


def test_a_killed_master_leaves_no_numbers_to_the_next_one(
    start_worker, work, page_of, rabbitmq, eventually, folders
):
    """Without the sweep at boot its folder would stay, and a process with its pid inherit it."""
    first = start_worker("work")
    port = page_of(first)
    work()
    eventually(lambda: count_ended(scrape(port)) == 1)
    eventually(lambda: rabbitmq.acked("default") == 1)
    (left,) = folders()
    first.kill()

    second = start_worker("work")
    port = page_of(second)
    eventually(lambda: number(scrape(port), "workers") == 1)

    assert count_ended(scrape(port)) == 0
    assert left not in folders()


def test_the_pages_end_with_their_master(start_worker, page_of, eventually):
    worker = start_worker("work")
    port = page_of(worker)

    worker.process.kill()

    eventually(lambda: not is_open(port))


def is_open(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60):
        return True
    return False


def test_only_the_main_thread_of_the_fork_receives_signals(start_worker, page_of, eventually):
    """It waits for the relay to end, and a signal that another thread receives does not wake it."""
    worker = start_worker("work")
    page_of(worker)
    fork = worker.children()[-1]

    def refusing():
        return {
            int(task.name): bool(blocked_signals(task) & 1 << signal.SIGTERM - 1)
            for task in Path(f"/proc/{fork}/task").iterdir()
        }

    eventually(lambda: refusing()[fork] is False)  # not while it starts a thread
    assert [task for task, refuses in refusing().items() if not refuses] == [fork]


def blocked_signals(task):
    """Return the signals that a thread does not receive, as bits."""
    [mask] = re.findall(r"^SigBlk:\s(\w+)$", (task / "status").read_text(), re.MULTILINE)
    return int(mask, 16)


def test_switched_off_there_is_no_port_no_folder_and_no_import(
    start_worker, work, environment, eventually, folders, count
):
    off = {"WORKSHED_METRICS": "false", "WORKSHED_PROBES": "false"}
    (Path(environment["TMPDIR"]).parent / "plain.py").write_text(
        ACTORS.replace("from prometheus_client import Counter", "import sys")
        .replace('MINE = Counter("shop_invoices", "Invoices of an application.")', "")
        .replace("MINE.inc()", "assert 'prometheus_client' not in sys.modules")
    )
    worker = start_worker("plain", env=off)
    work()
    work("fail")

    eventually(lambda: count("workshed.dead") == 1)

    assert "AssertionError" not in worker.text()
    eventually(lambda: "relay is running" in worker.text())  # it starts after pages are served
    assert (folders(), AT.findall(worker.text())) == ([], [])


def test_a_folder_that_the_user_has_named_is_used_and_not_exported(
    start_worker, work, environment, eventually, folders, tmp_path
):
    named = tmp_path / "named"
    named.mkdir()
    worker = start_worker(
        "work", env={"PROMETHEUS_MULTIPROC_DIR": str(named), "WORKSHED_PROBES": "false"}
    )
    work()

    eventually(lambda: list(named.glob("counter_*.db")))
    eventually(lambda: "relay is running" in worker.text())

    assert (folders(), AT.findall(worker.text())) == ([], [])


def test_nothing_but_the_page_is_served(start_worker, page_of):
    port = page_of(start_worker("work"))

    status, headers, text = ask(port, "HEAD")

    assert (status, text) == (200, "")
    assert headers["Content-Type"].startswith("text/plain")
    assert int(headers["Content-Length"]) > 0
    assert ask(port, path="/")[0] == ask(port, path="/metrics/x")[0] == 404
    status, headers, _ = ask(port, "POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


# `workshed worker`


@pytest.fixture
def supervised(environment, tmp_path):
    """`supervised()`: `workshed worker -p 2` and its log."""
    runs = []
    settings = {
        # One per thread: no other worker can run jobs that one holds beyond that.
        "dramatiq_queue_prefetch": "2",
        "WORKSHED_SHUTDOWN_GRACE": "1",  # some jobs hang
    }

    def start():
        options = ["work", "-p", "2", "-t", "2"]
        runs.append(Supervised(options, {**environment, **settings}, tmp_path / "supervised.log"))
        return runs[-1]

    yield start
    for one in runs:
        one.stop()


def test_all_children_of_workshed_worker_share_one_page(
    broker, supervised, work, page_of, eventually, folders, tmp_path
):
    """With a page for each, there would be as many targets, whose ports swap at each restart.

    The page is found as docs/metrics.md says.
    """
    worker = supervised()
    port = page_of(worker)
    eventually(lambda: number(scrape(port), "workers") == 2)
    for _ in range(10):
        work()

    eventually(lambda: count_ended(scrape(port)) == 10)

    assert len(folders()) == 1
    (_, started), (asking, shown) = SHOWN
    words = started.strip().removeprefix("… ")
    check(f"… …{words}… …", worker.text())  # a line is JSON
    for theirs, ours in (("send_welcome_email", "work"), ("12.0", "10.0")):
        shown = shown.replace(theirs, ours)
    check(shown, shell(tmp_path)(asking.replace("9191", str(port))))


def test_a_worker_that_was_killed_is_no_longer_counted_and_its_jobs_still_are(
    broker, supervised, work, page_of, eventually
):
    """Otherwise its file would say forever that it lives, with threads that run jobs."""
    worker = supervised()
    port = page_of(worker)
    eventually(lambda: number(scrape(port), "workers") == 2)
    for _ in range(10):
        work()
    eventually(lambda: count_ended(scrape(port)) == 10)
    for _ in range(4):
        work("hang")
    eventually(lambda: number(scrape(port), "worker_threads_busy") == 4)

    os.kill(worker.workers()[0], signal.SIGKILL)

    eventually(lambda: number(scrape(port), "workers") == 1)
    eventually(lambda: number(scrape(port), "workers") == 2)
    assert count_ended(scrape(port)) == 10


# Senders, and a relay alone


SENDER = """
import dramatiq, prometheus_client, sys
from workshed import broker
from work import work
assert "workshed.metrics.exposition" not in sys.modules
work.send("well")
work.send_with_options(args=("well",), delay=60_000)
broker.enqueue_many([work.message("well"), work.message("well")])
print(prometheus_client.generate_latest().decode())
"""


def test_the_page_of_an_application_shows_what_it_has_sent(run, broker, environment, folders):
    code, text = run("-c", SENDER, **environment)

    assert code == 0, text
    labels = '{actor="work",how="%s",queue="default"}'
    assert f"workshed_sends_total{labels % 'published'} 3.0" in text
    assert f"workshed_sends_total{labels % 'scheduled'} 1.0" in text
    assert "workshed_publish_seconds_count 2.0" in text
    assert 'workshed_rabbitmq_up{connection="publisher"} 1.0' in text
    assert "shop_invoices_total 0.0" in text
    assert folders() == []


@pytest.fixture
def relay_alone(warm, environment, tmp_path):
    """`workshed relay` and its log."""
    log = tmp_path / "relay.log"
    process = warm.start("workshed", "relay", env={**os.environ, **environment}, log=log)
    yield SimpleNamespace(process=process, text=log.read_text)
    process.kill()
    process.wait(60)


def test_a_relay_alone_has_a_page_of_its_own(
    broker, relay_alone, page_of, conn, environment, eventually
):
    port = page_of(relay_alone)
    eventually(lambda: number(scrape(port), "schedule_lag_seconds") is not None)
    store = "SELECT workshed.send('work', '[]', queue => 'default', delay => %s)"
    conn.execute("INSERT INTO workshed.actors (name, queue) VALUES ('work', 'default')")
    for delay in ("0", "0", "1 day"):
        conn.execute(store, (delay,))
    conn.commit()

    eventually(lambda: number(scrape(port), "relay_sent_total", queue="default") == 2)
    later = {"queue": "default", "state": "later"}
    eventually(lambda: number(scrape(port), "schedule_jobs", **later) == 1)

    page = scrape(port)
    assert number(page, "relay_windows_total") >= 1
    assert number(page, "schedule_jobs", queue="emails", state="due") == 0
    assert number(page, "dead_jobs", queue="default") == 0
    assert number(page, "rabbitmq_up", connection="relay") == 1


CLOCKWORK = """
from datetime import timedelta
import dramatiq
from workshed import broker
from workshed.cronspec import every

@dramatiq.actor(broker=broker, queue_name="low", periodic=every(timedelta(seconds=10)))
def tick(): pass
"""


@pytest.fixture
def clock(warm, environment, broker, tmp_path):
    """`periodiq clockwork` and its log."""
    (tmp_path / "clockwork.py").write_text(CLOCKWORK)
    log = tmp_path / "clock.log"
    process = warm.start(*CLOCK, "clockwork", env={**os.environ, **environment}, log=log)
    yield SimpleNamespace(process=process, text=log.read_text)
    process.kill()
    process.wait(60)


def test_a_clock_has_a_page_of_its_own(clock, free_port, eventually):
    eventually(lambda: answers(free_port))
    began = eventually(lambda: number(scrape(free_port), "clock_tick_timestamp_seconds"))

    made = {"actor": "tick", "by": "clock"}
    eventually(lambda: number(scrape(free_port), "periodic_runs_total", **made), within_s=120)

    assert number(scrape(free_port), "clock_tick_timestamp_seconds") >= began


def answers(port):
    with contextlib.suppress(OSError):
        return ask(port)[0] == 200
    return False
