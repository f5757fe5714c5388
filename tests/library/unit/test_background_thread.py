"""The thread that repeats its work until it is stopped."""

import itertools
import threading
import time

import pytest

from workshed.threads.background import BackgroundThread

LONG_S = 600.0


@pytest.fixture
def started():
    """`started(work, every_s)`: a thread that the test ends."""
    threads = []

    def started(*args, **options):
        threads.append(BackgroundThread("test", *args, **options))
        threads[-1].start()
        return threads[-1]

    yield started
    for thread in threads:
        thread.stop(60)
        assert not thread.is_running


def test_it_works_at_its_interval_until_it_is_stopped(started, eventually):
    rounds = []
    thread = started(lambda: rounds.append(threading.current_thread()), 0.01)
    eventually(lambda: len(rounds) > 3)

    thread.stop(60)
    count = len(rounds)

    assert {(each.name, each.daemon) for each in rounds} == {("test", True)}
    assert not thread.is_running
    assert len(rounds) == count


def test_it_starts_once(started, eventually):
    rounds = []
    thread = started(lambda: rounds.append(threading.current_thread()), 0.01)

    thread.start()

    eventually(lambda: len(rounds) > 20)
    assert len(set(rounds)) == 1


def test_a_round_may_choose_the_pause_before_the_next(started, eventually):
    rounds = []

    def work():
        rounds.append(1)
        return 0.0 if len(rounds) < 5 else None

    started(work, LONG_S)

    eventually(lambda: len(rounds) == 5)


def test_its_first_round_may_wait_and_need_not_come(started):
    rounds = []
    thread = started(lambda: rounds.append(1), 0.01, delay_s=LONG_S)

    thread.stop(60)

    assert not thread.is_running
    assert rounds == []


def test_it_is_woken_and_stopped_in_a_pause(started, eventually):
    rounds = []
    thread = started(lambda: rounds.append(1), LONG_S)
    eventually(lambda: rounds)

    thread.wake()

    eventually(lambda: len(rounds) == 2)  # the fixture stops it in the next pause


def test_an_error_is_logged_once_and_the_next_round_follows(started, eventually, caplog):
    """If the thread ended, nothing would do its work any more, and nothing would say so."""
    rounds = []

    def work():
        rounds.append(1)
        if len(rounds) == 1:
            raise ValueError("not today")

    started(work, 0.01)

    eventually(lambda: len(rounds) > 3)
    [record] = caplog.records
    assert record.getMessage().startswith("test: failed; trying again in 0.0")
    assert "ValueError: not today" in caplog.text


def test_the_pause_grows_with_each_failure_and_a_wake_up_does_not_cut_it_short(started, eventually):
    """A full queue wakes its writer with each row; without PostgreSQL, each would reconnect."""
    times_s, pauses_s = [], []

    def fail():
        times_s.append(time.monotonic())
        raise ValueError

    thread = started(
        fail, 0.0, retry_s=(0.02, LONG_S), report=lambda _, pause_s: pauses_s.append(pause_s)
    )

    eventually(lambda: thread.wake() or len(times_s) > 4)

    gaps_s = [later - earlier for earlier, later in itertools.pairwise(times_s[:5])]
    assert all(gap_s >= pause_s for gap_s, pause_s in zip(gaps_s, pauses_s, strict=False))
    assert all(2**n / 2 <= pause_s / 0.02 <= 2**n for n, pause_s in enumerate(pauses_s))


def test_a_success_ends_the_row_of_failures(started, eventually):
    rounds = []

    def work():
        rounds.append(1)
        if len(rounds) < 3:
            raise ValueError

    thread = started(work, 0.001, report=lambda *_: None)

    eventually(lambda: len(rounds) > 3)
    assert thread.failures == 0


def test_no_round_follows_the_stop_if_no_work_is_left(started, eventually):
    rounds = []
    thread = started(lambda: rounds.append(1), LONG_S, is_work_left=lambda: False)
    eventually(lambda: rounds)

    thread.stop(60)

    assert not thread.is_running
    assert rounds == [1]


def test_rounds_follow_the_stop_at_once_until_no_work_is_left(started, eventually):
    """Work that arrives during a round after the stop would otherwise be lost."""
    rounds = []
    thread = started(lambda: rounds.append(1), LONG_S, is_work_left=lambda: len(rounds) < 4)
    eventually(lambda: rounds)

    thread.stop(60)

    assert not thread.is_running
    assert len(rounds) == 4


def test_one_that_has_ended_starts_again(started, eventually):
    rounds = []
    thread = started(lambda: rounds.append(threading.current_thread()), 0.01)
    eventually(lambda: rounds)
    thread.stop(60)

    thread.start()

    eventually(lambda: rounds[-1] is not rounds[0])


def test_a_last_round_that_fails_is_not_repeated(started, eventually):
    rounds, errors = [], []
    thread = started(
        lambda: rounds.append(1 / (1 - len(rounds))),
        LONG_S,
        is_work_left=lambda: True,
        report=lambda error, _: errors.append(error),
    )
    eventually(lambda: rounds)

    thread.stop(60)

    assert not thread.is_running
    assert [type(error) for error in errors] == [ZeroDivisionError]
