"""Processes that fork after they have sent: each sends on a connection of its own."""

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.usefixtures("not_storing"),
]

HANGS_AFTER_S = 30


@pytest.fixture
def wire(proxy, servers):
    return proxy(servers.broker_url)


@pytest.fixture
def vhost(vhost, wire):
    return wire.url(vhost)


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


def forked(work):
    """Run a function in a child, which exits with 0 if nothing is raised; return its process id."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(HANGS_AFTER_S)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def test_children_forked_while_threads_send_lose_nothing(
    request, transport, greet, count_jobs, in_threads, eventually
):
    """Unless they forget the parent's connection, two of three hang, and it breaks for all."""
    greet.send(0)

    with ThreadPoolExecutor(4) as pool:
        sends = [pool.submit(greet.send, number) for number in range(200)]
        children = [forked(lambda: in_threads(greet.send, range(200), threads=4)) for _ in "123"]
        ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        for send in sends:
            send.result()

    assert ended == [0, 0, 0]
    eventually(lambda: count_jobs("default")[0] == 801)
    if transport == "rabbitmq":  # one made the queue; no process had to connect again
        assert request.getfixturevalue("wire").accepted == 1 + 4


def test_processes_of_multiprocessing_send(greet, count_jobs, in_threads, eventually):
    """Unless they forget the parent's connection, each raises: its I/O thread does not exist."""
    greet.send(0)

    context = multiprocessing.get_context("fork")
    work = {"target": in_threads, "args": (greet.send, range(50), 4)}
    children = [context.Process(**work) for _ in "123"]
    for child in children:
        child.start()
    for child in children:
        child.join(HANGS_AFTER_S)

    assert [child.exitcode for child in children] == [0, 0, 0]
    eventually(lambda: count_jobs("default")[0] == 151)


def test_a_child_of_a_child_sends(greet, count_jobs, eventually):
    """A grandchild forgets the child's publisher too, although that was made after a fork."""
    greet.send(0)

    def work():
        greet.send(1)
        pid = forked(lambda: greet.send(2))
        assert os.waitpid(pid, 0)[1] == 0
        greet.send(3)

    assert os.waitpid(forked(work), 0)[1] == 0
    eventually(lambda: count_jobs("default")[0] == 4)
