"""A process that cannot work any more exits; one that has nothing to do does not."""

import ctypes
import faulthandler
import subprocess
import sys
import threading

import pytest

from workshed.errors import EXIT_WATCHDOG
from workshed.transport.amqp import connection
from workshed.transport.worker import watchdog
from workshed.transport.worker.watchdog import Watchdog

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

FREEZE = """
import itertools
from workshed.transport.worker import watchdog
watchdog.INTERPRETER_STUCK_S = 0.2
watchdog.reset_timer()
sum(itertools.repeat(0))
"""


@pytest.fixture
def watched(actor, broker, working, monkeypatch):
    """A worker in this process, its watchdog, and the codes with which it would have exited."""
    monkeypatch.setattr(watchdog, "POLL_S", 0.02)
    monkeypatch.setattr(connection, "TICK_S", 0.02)
    left: list[int] = []

    @actor(queue_name="default")
    def idle():
        """Never sent."""

    with working("default") as worker:
        broker._lifecycle._watchdog.stop()
        found = Watchdog(worker, lambda: links(broker), left.append)
        found.start()
        yield worker, found, left
        found.stop()


def links(broker):
    return [*broker._consumption.inbox.loops, *broker._sending_loops()]


def raise_in(thread, error):
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(error)
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", ["workers", "consumers"])
def test_a_dead_thread_makes_the_process_exit(watched, eventually, kind):
    """Its share of the work is gone for ever, and nothing else reports it."""
    worker, _, left = watched
    threads = worker.workers if kind == "workers" else list(worker.consumers.values())

    raise_in(threads[0], SystemExit)

    eventually(lambda: left == [EXIT_WATCHDOG])


@pytest.mark.rabbitmq("the loop of an AMQP connection")
@pytest.mark.parametrize("index", [0, 1])
def test_a_loop_that_does_not_turn_makes_the_process_exit(
    watched, actor, broker, eventually, index
):
    """Nothing would be consumed, acked or sent any more."""
    _, _, left = watched
    actor(queue_name="low", actor_name="other")(lambda: None).send()
    on = threading.Event()
    links(broker)[index].call_soon(lambda: on.wait(60))

    eventually(lambda: left == [EXIT_WATCHDOG])

    on.set()


@pytest.mark.fresh_vhost
def test_an_empty_queue_and_a_reconnect_do_not_count_as_a_hang(
    watched, broker, rabbitmq, eventually
):
    _, found, left = watched
    consuming = broker._consumer_connection.link
    eventually(lambda: rabbitmq.close_connections("consumer"))

    before = consuming.loop_ticks
    eventually(lambda: consuming.loop_ticks > before + 100)

    assert left == []
    assert found.find_problem() is None


def test_the_watchdog_ignores_a_graceful_shutdown(actor, broker, working):
    @actor(queue_name="default")
    def idle():
        """Never sent."""

    with working("default") as worker:
        guard = broker._lifecycle._watchdog

    assert guard._thread.is_stopping
    assert not any(thread.is_alive() for thread in watchdog.dramatiq_threads(worker))


def test_only_a_check_that_works_resets_the_timer(watched, eventually, monkeypatch):
    """If every check fails, nothing watches the process any more, so the timer has to end it."""
    _, found, left = watched
    resets, checks = [], []
    find_problem = found.find_problem

    def fail():
        checks.append(1)
        raise RuntimeError

    monkeypatch.setattr(found, "find_problem", fail)
    eventually(lambda: checks)  # so no check that worked is still under way
    monkeypatch.setattr(watchdog, "reset_timer", lambda: resets.append(1))
    eventually(lambda: len(checks) > 5)

    assert resets == []
    monkeypatch.setattr(found, "find_problem", find_problem)
    eventually(lambda: resets)
    assert left == []


def test_a_process_whose_interpreter_hangs_exits_and_logs_where():
    """Nothing inside it could: no thread, no signal handler and no time limit runs."""
    done = subprocess.run(
        [sys.executable, "-c", FREEZE], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 1
    assert 'File "<string>", line 6 in <module>' in done.stderr


def test_the_watchdog_covers_the_first_job(actor, working, eventually, monkeypatch):
    """If it started only with its first look, a second later, a job could freeze the process."""
    calls = []
    set_timer = faulthandler.dump_traceback_later
    monkeypatch.setattr(
        faulthandler,
        "dump_traceback_later",
        lambda *w, **o: (calls.append("set"), set_timer(*w, **o)),
    )
    cancel = faulthandler.cancel_dump_traceback_later
    monkeypatch.setattr(
        faulthandler, "cancel_dump_traceback_later", lambda: (calls.append("cancelled"), cancel())
    )
    monkeypatch.setattr(watchdog, "POLL_S", 60)

    @actor(queue_name="default")
    def job():
        calls.append("job")

    job.send()
    with working("default"):
        eventually(lambda: "job" in calls)

    eventually(lambda: calls == ["set", "job", "cancelled"])
