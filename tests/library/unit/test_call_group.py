"""Calls of several threads are executed together where they meet, and none waits for another."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from workshed.database.call_group import CallGroup

WITHIN_S = 60


class Executor:
    """Doubles numbers; each group waits until `let_go` is set."""

    def __init__(self):
        self.groups = []
        self.began = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.fails = False

    def __call__(self, items):
        self.groups.append(sorted(items))
        self.began.release()
        assert self.let_go.wait(WITHIN_S)
        if self.fails:
            raise RuntimeError("no")
        return [item * 2 for item in items]


@pytest.fixture
def execute():
    return Executor()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def wait_until_waiting(eventually, group, count):
    eventually(lambda: len(group._waiting) == count)


def test_a_call_that_comes_alone_is_executed_at_once(execute):
    execute.let_go.set()
    group = CallGroup(execute)

    assert [group.call(number) for number in (1, 2)] == [2, 4]
    assert execute.groups == [[1], [2]]


def test_calls_that_come_meanwhile_are_executed_together(execute, threads, eventually, monkeypatch):
    """Without the group, each would take a statement and a commit of its own."""
    monkeypatch.setattr("workshed.database.call_group.HOLD_S", WITHIN_S)
    group = CallGroup(execute)
    answers = [threads.submit(group.call, 0)]
    assert execute.began.acquire(timeout=WITHIN_S)
    answers += [threads.submit(group.call, number) for number in (1, 2, 3)]
    wait_until_waiting(eventually, group, 3)

    execute.let_go.set()

    assert [answer.result(WITHIN_S) for answer in answers] == [0, 2, 4, 6]
    assert execute.groups == [[0], [1, 2, 3]]


def test_a_call_does_not_wait_for_a_group_that_takes_long(execute, threads):
    """Without `HOLD_S`, it would wait here until the first has ended, which is never."""
    group = CallGroup(execute)
    first = threads.submit(group.call, 1)
    assert execute.began.acquire(timeout=WITHIN_S)

    assert threads.submit(group.call, 2).result(WITHIN_S) is None

    execute.let_go.set()
    assert first.result(WITHIN_S) == 2
    assert group.call(3) == 6
    assert execute.groups == [[1], [3]]


def test_each_call_of_a_group_that_failed_is_left_to_its_thread(
    execute, threads, eventually, monkeypatch
):
    """And the calls that came meanwhile are executed."""
    monkeypatch.setattr("workshed.database.call_group.HOLD_S", WITHIN_S)
    group = CallGroup(execute)
    execute.fails = True
    answers = [threads.submit(group.call, 0)]
    assert execute.began.acquire(timeout=WITHIN_S)
    answers += [threads.submit(group.call, number) for number in (1, 2)]
    wait_until_waiting(eventually, group, 2)

    execute.let_go.set()

    assert [answer.result(WITHIN_S) for answer in answers] == [None, None, None]
    execute.fails = False
    assert group.call(3) == 6


def test_every_call_gets_its_own_answer(threads):
    group = CallGroup(lambda items: [item * 2 for item in items])

    answers = list(threads.map(group.call, range(2_000), timeout=WITHIN_S))

    assert answers == [number * 2 for number in range(2_000)]
