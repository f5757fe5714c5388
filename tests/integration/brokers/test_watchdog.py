"""A process that cannot work any more leaves; one that has nothing to do does not."""

import ctypes
import threading

import pytest

from brokers import link, watchdog
from brokers.errors import EXIT_WATCHDOG
from brokers.watchdog import Watchdog


@pytest.fixture
def watched(actor, broker, working, monkeypatch):
    """A worker in this process, its watchdog, and the codes with which it would have left."""
    monkeypatch.setattr(watchdog, "LOOK_S", 0.02)
    monkeypatch.setattr(link, "TURN_S", 0.02)
    left: list[int] = []

    @actor(queue_name="default")
    def idle():
        """Never sent."""

    with working("default") as worker:
        broker._life._watchdog.stop()
        found = Watchdog(worker, lambda: links(broker), left.append)
        found.start()
        yield worker, found, left
        found.stop()


def links(broker):
    return [broker._inbox.link, *broker._publisher.links]


def raise_in(thread, error):
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(error)
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", ["workers", "consumers"])
def test_a_dead_thread_makes_the_process_leave(watched, eventually, kind):
    """Its share of the work is gone for ever, and nothing says so."""
    worker, _, left = watched
    threads = worker.workers if kind == "workers" else list(worker.consumers.values())

    raise_in(threads[0], SystemExit)

    eventually(lambda: left == [EXIT_WATCHDOG])


@pytest.mark.parametrize("which", [0, 1])
def test_a_loop_that_does_not_turn_makes_the_process_leave(
    watched, actor, broker, eventually, which
):
    """Nothing would be consumed, acked or sent again."""
    _, _, left = watched
    actor(queue_name="low", actor_name="other")(lambda: None).send()
    on = threading.Event()
    links(broker)[which].call(lambda: on.wait(30))

    eventually(lambda: left == [EXIT_WATCHDOG])

    on.set()


def test_an_empty_queue_and_a_reconnect_are_no_silence(watched, broker, rabbitmq, eventually):
    _, found, left = watched
    consuming = broker._inbox.link
    eventually(rabbitmq.close_connections)

    before = consuming.turns
    eventually(lambda: consuming.turns > before + 100)

    assert left == []
    assert found.trouble() is None


def test_an_end_in_good_order_is_none_of_its_business(actor, broker, working):
    @actor(queue_name="default")
    def idle():
        """Never sent."""

    with working("default") as worker:
        guard = broker._life._watchdog

    assert guard._over.is_set()
    assert not any(thread.is_alive() for thread in watchdog.threads(worker))
