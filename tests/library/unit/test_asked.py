"""However many callers there are, one asks; the others get the latest answer at once."""

import itertools
import threading

import pytest

from workshed.console.web.view.cache import TtlCache


@pytest.fixture
def ask():
    """Gives another answer each time."""
    numbers = itertools.count(1)
    return lambda: next(numbers)


def test_an_answer_is_kept_for_a_moment(ask):
    kept = TtlCache()

    assert [kept.get("a", ask), kept.get("a", ask), kept.get("b", ask)] == [1, 1, 2]


def test_after_that_it_is_asked_for_again(ask):
    kept = TtlCache(kept_s=0)

    assert [kept.get("a", ask), kept.get("a", ask)] == [1, 2]


def test_after_a_change_the_answer_is_asked_for_at_once(ask):
    kept = TtlCache()
    kept.get("a", ask)

    kept.clear()

    assert kept.get("a", ask) == 2


@pytest.fixture
def slow(ask):
    """An answer that comes once `slow.go_on` is set; being asked sets `slow.asked`."""

    class Slow:
        asked, go_on = threading.Event(), threading.Event()

        def __call__(self):
            self.asked.set()
            assert self.go_on.wait(60)
            return ask()

    found = Slow()
    found.asked, found.go_on = threading.Event(), threading.Event()
    yield found
    found.go_on.set()


def test_while_one_asks_others_get_the_last_answer(ask, slow):
    kept = TtlCache(kept_s=0)
    kept.get("a", ask)
    first = threading.Thread(target=kept.get, args=("a", slow))
    first.start()
    assert slow.asked.wait(60)

    assert kept.get("a", ask) == 1

    slow.go_on.set()
    first.join(60)


def test_without_an_answer_all_wait_for_the_one_that_asks(ask, slow):
    kept, found = TtlCache(), []
    threads = [threading.Thread(target=lambda: found.append(kept.get("a", slow))) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert slow.asked.wait(60)

    slow.go_on.set()
    for thread in threads:
        thread.join(60)

    assert found == [1] * 5


def test_an_answer_that_is_too_old_is_not_returned(ask):
    kept = TtlCache(kept_s=0, old_s=0)
    kept.get("a", ask)

    assert kept.get("a", ask) == 2


def test_an_error_is_not_kept(ask):
    kept = TtlCache()

    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 / 0)

    assert kept.get("a", ask) == 1
