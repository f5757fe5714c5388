"""Limits as rows: never exceeded, first come first served, all or none, and leases that expire."""

import heapq
import itertools
import math
import random
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workshed.jobs.control import cancellations
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.locks import limits
from workshed.jobs.locks.limits import JobStart, SlotRequest
from workshed.jobs.outbox import schedule
from workshed.testing.database.scratch import CLOCK_SQL
from workshed.transport.relay.limit_waiters import wake_limit_waiters

pytestmark = pytest.mark.fresh_database  # most tests replace the clock of the database

SECOND = timedelta(seconds=1)
BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
ONE = SlotRequest("all", "concurrent", 1)


@pytest.fixture
def own(connect):
    """A connection in autocommit, to a database whose clock the tests set."""
    conn = connect(autocommit=True)
    conn.execute(CLOCK_SQL)
    return conn


@pytest.fixture
def at(own):
    """`at(3.5)`: set the clock to so many seconds after the beginning."""

    def stop(seconds):
        own.execute("UPDATE workshed.clock SET stopped_at = %s", (BEGIN + seconds * SECOND,))

    stop(0)
    return stop


class Crowd:
    """Jobs that come to limits, as workers bring them."""

    def __init__(self, conn):
        self.conn = conn
        self.starts = {}
        self.generations = Counter()
        self.waits = {}

    def come(self, job, *asks):
        """Start a job, or store that it waits; return whether it has started."""
        start = JobStart(uuid4(), job, "sync", "here", 1)
        if limits.acquire_slots(self.conn, sorted_by_key(asks), start) is None:
            self.starts[job] = start
            self.waits.pop(job, None)
            return True
        self.generations[job] += 1
        self.waits[job] = limits.enqueue_waiter(
            self.conn, sorted_by_key(asks), job, self.generations[job]
        )
        row = schedule.OutboxRow(job, self.generations[job], "default", "sync", "{}", "snoozed")
        schedule.insert_row(self.conn, row, delay=self.waits[job].recheck_in)
        return False

    def end(self, job, *asks):
        """Store that a job has ended."""
        keys = sorted(ask.key for ask in asks if ask.is_held)
        return limits.release_slots(self.conn, keys, self.starts.pop(job).token, job, None)

    def due(self):
        """Take the jobs that a relay would send now."""
        query = """
            DELETE FROM workshed.schedule WHERE due_at <= workshed.now()
            RETURNING message_id, due_at, number
        """
        found = self.conn.execute(query).fetchall()
        return [job for job, *_ in sorted(found, key=lambda row: row[1:])]


def sorted_by_key(asks):
    return sorted(asks, key=lambda ask: ask.key)


@pytest.fixture
def crowd(own, at):
    return Crowd(own)


# Never exceeded


def greedy(ask, arrivals):
    """Compute by hand when jobs that come at these times, in this order, are to start."""
    size, found = ask.size, []
    full_at = BEGIN - timedelta(days=1)
    for come in arrivals:
        start = max(come, *found[-1:], BEGIN)
        if ask.kind == "window":
            if len(found) >= size:
                start = max(start, found[-size] + ask.span)
        else:
            start = max(start, full_at + ask.span * (1 - size))
            full_at = max(full_at, start) + ask.span
        found.append(start)
    return found


def starts_of(crowd, at, ask, arrivals, late):
    """Let jobs come, and come again `late()` after their rows are due; return their starts."""
    crowd.conn.execute("DELETE FROM workshed.limits; DELETE FROM workshed.limit_starts")
    crowd.conn.execute("DELETE FROM workshed.limit_waiters; DELETE FROM workshed.schedule")
    crowd.starts.clear()
    events = [(come, 1, number) for number, come in enumerate(arrivals)]
    heapq.heapify(events)
    started = {}
    while events:
        now, _, number = heapq.heappop(events)
        at((now - BEGIN) / SECOND)
        if crowd.come(f"{number}", ask):
            started[number] = now
        else:
            wait = crowd.waits[f"{number}"].recheck_in
            heapq.heappush(events, (now + wait + late(), 0, number))
    return [started[number] for number in range(len(arrivals))]


asked = st.one_of(
    st.builds(
        lambda size, ms: SlotRequest("w", "window", size, timedelta(milliseconds=ms)),
        st.integers(1, 5),
        st.integers(1, 5_000),
    ),
    st.builds(
        lambda size, us: SlotRequest("b", "bucket", size, timedelta(microseconds=us)),
        st.integers(1, 5),
        st.integers(1, 2_000_000),
    ),
)
comings = st.lists(st.integers(0, 4_000_000), min_size=1, max_size=14).map(
    lambda gaps: [BEGIN + timedelta(microseconds=us) for us in itertools.accumulate(gaps)]
)
slow = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@slow
@given(ask=asked, arrivals=comings, seed=st.integers(0, 1_000))
def test_no_interval_has_more_starts_however_late_jobs_are(crowd, at, ask, arrivals, seed):
    """If starts counted at their planned time, late jobs would start together with the next."""
    dice = random.Random(seed)  # noqa: S311 -- dice

    starts = starts_of(crowd, at, ask, arrivals, lambda: dice.random() * 2 * ask.span)

    starts.sort()
    for first, last in itertools.combinations(range(len(starts)), 2):
        span, count = starts[last] - starts[first], last - first + 1
        if ask.kind == "window":
            assert count <= ask.size or span >= ask.span
        else:
            assert count <= ask.size + math.floor(span / ask.span)


@slow
@given(ask=asked, arrivals=comings)
def test_each_starts_as_early_as_it_may_in_the_order_of_arrival(crowd, at, ask, arrivals):
    """A job learns its slot when it is put back: it comes once more, and starts."""
    crowd.generations.clear()

    starts = starts_of(crowd, at, ask, arrivals, timedelta)

    assert starts == greedy(ask, arrivals)
    assert max(crowd.generations.values(), default=0) <= 1


def test_a_window_of_a_day_is_24_hours_long_on_every_day(crowd, own, at):
    """PostgreSQL's `1 day` has 23 hours where the clocks go forward."""
    own.execute("SET TIME ZONE 'Europe/Paris'")
    ask = SlotRequest("w", "window", 1, timedelta(days=1))
    own.execute("UPDATE workshed.clock SET stopped_at = '2030-03-30 12:00Z'")
    assert crowd.come("a", ask)

    own.execute("UPDATE workshed.clock SET stopped_at = '2030-03-31 11:30Z'")

    assert not crowd.come("b", ask)


@pytest.mark.parametrize(
    "ask",
    [
        SlotRequest("w", "window", 1, timedelta(hours=1)),
        SlotRequest("b", "bucket", 1, timedelta(hours=1)),
    ],
)
def test_a_clock_that_is_put_back_holds_up_a_job_for_no_longer_than_the_span(ask, crowd, at):
    at(1_000_000)
    crowd.come("a", ask)

    at(0)

    crowd.come("b", ask)
    assert crowd.waits["b"].opens_in == timedelta(hours=1)


def test_in_many_threads_no_more_jobs_hold_a_slot_than_the_limit(connect, in_threads):
    ask = SlotRequest("all", "concurrent", 3)
    got = []

    def come(number):
        with connect() as conn:
            start = JobStart(uuid4(), f"{number}", "sync", "here", 1)
            if limits.acquire_slots(conn, [ask], start) is None:
                got.append(number)
            conn.commit()

    in_threads(come, range(40), threads=8)

    assert len(got) == 3


def test_a_start_is_counted_when_its_wait_for_the_limit_is_over(connect, eventually):
    """If it counted from the beginning of that wait, its place would be free too early."""
    ask = SlotRequest("w", "window", 2, timedelta(minutes=1))
    first, second, looking = connect(), connect(), connect(autocommit=True)
    limits.acquire_slots(first, [ask], JobStart(uuid4(), "a", "sync", "here", 1))
    waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    pid = second.info.backend_pid

    def come():
        limits.acquire_slots(second, [ask], JobStart(uuid4(), "b", "sync", "here", 1))
        second.commit()

    thread = threading.Thread(target=come)
    thread.start()
    eventually(lambda: looking.execute(waits, (pid,)).fetchone() == (True,))
    (freed,) = looking.execute("SELECT clock_timestamp()").fetchone()
    first.commit()
    thread.join(60)

    counted = looking.execute("SELECT at FROM workshed.limit_starts ORDER BY number").fetchall()
    assert counted[0][0] < freed <= counted[1][0]


def test_limits_in_opposite_order_do_not_deadlock(connect, in_threads):
    """If each actor's order of limits were the lock order, two jobs would wait for each other."""
    asks = [
        SlotRequest("a", "concurrent", 2),
        SlotRequest("b", "window", 1_000, SECOND),
        SlotRequest("c", "concurrent", 9),
    ]

    def work(number):
        with connect(autocommit=True) as conn:
            mine = list(itertools.permutations(asks))[number % 6]
            start = JobStart(uuid4(), f"{number}", "sync", "here", 1)
            with conn.transaction():
                refused = limits.acquire_slots(conn, mine, start)
            with conn.transaction():
                if refused is None:
                    limits.release_slots(
                        conn, [mine[0].key, mine[-1].key], start.token, f"{number}", None
                    )
                else:
                    limits.enqueue_waiter(conn, mine, f"{number}", 1)

    in_threads(work, range(120), threads=6)


def test_a_repeated_request_of_one_start_takes_one_slot(own, at):
    """A worker repeats the request when the first answer is lost."""
    ask, start = SlotRequest("all", "concurrent", 1), JobStart(uuid4(), "a", "sync", "here", 1)

    assert limits.acquire_slots(own, [ask], start) is None
    assert limits.acquire_slots(own, [ask], start) is None

    assert limits.release_slots(own, ["all"], start.token, "a", None) == 1


# In the order of arrival


def test_waiting_jobs_are_called_in_order_by_jobs_that_end(crowd):
    for job in "abcd":
        crowd.come(job, ONE)
    assert crowd.due() == []

    for ends, called in itertools.pairwise("abcd"):
        crowd.end(ends, ONE)
        assert crowd.due() == [called]
        assert crowd.come(called, ONE)


def test_a_job_that_comes_later_does_not_get_the_slot_of_a_called_job(crowd):
    """Otherwise a stream of new jobs would keep the oldest waiting for ever."""
    for job in "ab":
        crowd.come(job, ONE)
    crowd.end("a", ONE)

    assert not crowd.come("c", ONE)

    assert crowd.come("b", ONE)


@pytest.mark.parametrize(("first", "second"), ["bc", "cb"])
def test_the_slot_of_a_called_job_that_does_not_come_in_time_goes_to_the_next_that_does(
    first, second, crowd, own, at
):
    for job in "abcd":
        crowd.come(job, ONE)
    crowd.end("a", ONE)
    assert crowd.due() == ["b"]

    at(limits.OFFER_LIFETIME / SECOND + 1)
    wake_limit_waiters(own)
    assert crowd.due() == ["c"]
    assert crowd.come(first, ONE)
    assert not crowd.come(second, ONE)

    crowd.end(first, ONE)
    assert crowd.due() == [second]


def test_a_job_that_was_cancelled_while_it_waited_holds_up_no_other(crowd, own):
    for job in "abc":
        crowd.come(job, ONE)
    with own.transaction():
        assert cancellations.cancel(own, "b") == "deleted"

    crowd.end("a", ONE)

    assert crowd.due() == ["c"]
    assert crowd.come("c", ONE)


@pytest.mark.parametrize(
    "ask",
    [
        SlotRequest("w", "window", 1, timedelta(minutes=1)),
        SlotRequest("b", "bucket", 1, timedelta(minutes=1)),
    ],
)
def test_the_time_of_a_cancelled_job_goes_to_the_next(ask, crowd, own, at):
    for job in "abc":
        crowd.come(job, ask)
    with own.transaction():
        cancellations.cancel(own, "b")
    at(59)
    wake_limit_waiters(own)

    at(60)
    wake_limit_waiters(own)

    assert crowd.due() == ["c"]
    assert crowd.come("c", ask)


def test_a_job_that_cannot_start_for_another_reason_gives_up_its_slot_and_keeps_its_place(
    crowd, own
):
    """For example, the next job of a tenant whose first job still runs."""
    for job in "abc":
        crowd.come(job, ONE)
    crowd.end("a", ONE)

    limits.release_slots(own, [ONE.key], None, "b", 2)

    assert crowd.due() == ["b", "c"]
    assert crowd.come("b", ONE)


def test_a_job_that_came_before_it_was_called_and_was_stopped_keeps_its_place(crowd, own):
    """By its old generation it would count as settled, and would not be called."""
    for job in "abc":
        crowd.come(job, ONE)
    completed_generations.complete_generation(own, "b", 1)
    limits.release_slots(own, [ONE.key], None, "b", 2)
    row = schedule.OutboxRow("b", 2, "default", "sync", "{}", "snoozed")
    schedule.insert_row(own, row, delay=timedelta(hours=1))

    crowd.end("a", ONE)

    assert crowd.due() == ["b"]


def test_a_job_that_waits_for_two_limits_does_not_hold_slots_it_cannot_use(crowd):
    """Otherwise a tenant at its own limit would hold all slots of the total limit."""
    of_all, of_a, of_b = (
        SlotRequest("all", "concurrent", 2),
        *(SlotRequest(k, "concurrent", 1) for k in "ab"),
    )
    assert crowd.come("a1", of_all, of_a)
    assert not crowd.come("a2", of_all, of_a)
    assert crowd.waits["a2"].key == "a"

    assert crowd.come("b1", of_all, of_b)

    crowd.end("a1", of_all, of_a)
    assert crowd.due() == ["a2"]
    assert crowd.come("a2", of_all, of_a)


def test_a_job_called_by_one_limit_and_stopped_by_another_passes_its_slot_on(crowd):
    of_all, of_a = SlotRequest("all", "concurrent", 1), SlotRequest("a", "concurrent", 1)
    crowd.come("x", of_all)
    crowd.come("a1", of_all, of_a)
    crowd.come("y", of_all)
    crowd.come("other", of_a)
    crowd.end("x", of_all)
    assert crowd.due() == ["a1"]

    assert not crowd.come("a1", of_all, of_a)

    assert crowd.waits["a1"].key == "a"
    assert crowd.due() == ["y"]


# Leases


def test_the_slot_of_a_dead_worker_is_free_when_its_lease_is_over(crowd, own, at):
    crowd.come("a", ONE)
    crowd.come("b", ONE)
    at(limits.LEASE / SECOND - 1)
    wake_limit_waiters(own)
    assert crowd.due() == []

    at(limits.LEASE / SECOND)
    wake_limit_waiters(own)

    assert crowd.due() == ["b"]
    assert crowd.come("b", ONE)


def test_a_slot_that_is_renewed_is_held(crowd, own, at):
    crowd.come("a", ONE)
    at(20)
    assert limits.renew_slots(own, [crowd.starts["a"].token]) == 1

    at(40)

    assert not crowd.come("b", ONE)


def test_a_slot_is_released_durably_with_the_writes_of_its_transaction(crowd, own):
    """Otherwise an outcome that was reported as stored may be lost in a crash."""
    waits_for_disk = "SELECT current_setting('synchronous_commit')"
    for job in "ab":
        crowd.come(job, ONE)

    with own.transaction():
        crowd.end("a", ONE)
        assert own.execute(waits_for_disk).fetchone() == ("on",)


# Shares


def shared(tenant, kind="concurrent", size=6, span=None):
    return SlotRequest("all", kind, size, span, share=tenant)


def test_a_lone_tenant_has_all_slots_and_several_have_equal_shares(crowd):
    """In order of arrival, a tenant that came first with many jobs would hold all slots."""
    for n in range(30):
        crowd.come(f"a{n}", shared("a"))
    assert len(crowd.starts) == 6
    for tenant in "bc":
        for n in range(30):
            crowd.come(f"{tenant}{n}", shared(tenant))

    held = []
    for _ in range(12):
        crowd.end(next(iter(crowd.starts)), shared("?"))
        [called] = crowd.due()
        assert crowd.come(called, shared(called[0]))
        held.append(Counter(job[0] for job in crowd.starts))

    assert held[-1] == {"a": 2, "b": 2, "c": 2}


def test_slots_are_shared_and_not_starts(crowd):
    """If starts were shared, the tenant with long jobs would hold all slots in the end."""
    for tenant in "ab":
        for n in range(40):
            crowd.come(f"{tenant}{n}", shared(tenant))

    for n in range(30):  # jobs of b end twice as often
        tenant = "a" if n % 3 == 0 else "b"
        ends = next((job for job in crowd.starts if job[0] == tenant), "a5")
        crowd.end(ends, shared("?"))
        [called] = crowd.due()
        crowd.come(called, shared(called[0]))

    assert Counter(job[0] for job in crowd.starts) == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    ("kind", "size", "span"), [("window", 6, timedelta(minutes=1)), ("bucket", 1, 10 * SECOND)]
)
def test_starts_within_a_span_are_shared_among_waiting_tenants(kind, size, span, crowd, own, at):
    def ask(tenant):
        return shared(tenant, kind, size, span)

    for n in range(60):
        crowd.come(f"a{n}", ask("a"))
    for tenant in "bc":
        for n in range(20):
            crowd.come(f"{tenant}{n}", ask(tenant))
    crowd.starts.clear()

    for second in range(1, 240):
        at(second)
        wake_limit_waiters(own)
        for job in crowd.due():
            crowd.come(job, ask(job[0]))

    counts = [sum(job[0] == tenant for job in crowd.starts) for tenant in "abc"]
    assert sum(counts) in {18, 23}
    assert max(counts) - min(counts) <= 1


# States and pruning


def test_a_limit_shows_its_usage_and_when_the_next_slot_is_free(crowd, own, at):
    window, bucket = (
        SlotRequest("w", "window", 2, 60 * SECOND),
        SlotRequest("b", "bucket", 3, 10 * SECOND),
    )
    for job in "abc":
        crowd.come(f"c{job}", ONE)
        crowd.come(f"w{job}", window)
        crowd.come(f"b{job}", bucket)
    at(5)

    found = {state.key: state for state in limits.list_limits(own)}

    def of(key):
        state = found[key]
        next_in = state.next_at and (state.next_at - BEGIN) / SECOND
        return state.used, state.size, state.waiting, next_in

    assert of("all") == (1, 1, 2, None)
    assert of("w") == (2, 2, 1, 60)
    assert of("b") == (3, 3, 0, 10)
    assert found["w"].waiting_since == BEGIN
    assert [state.key for state in limits.list_limits(own, waiting=True)] == ["all", "w"]
    at(60)
    assert found["w"] != (state := limits.list_limits(own, key="w")[0])
    assert (state.used, state.next_at - BEGIN) == (0, 60 * SECOND)


def test_only_limits_that_remember_nothing_are_deleted(crowd, own, at):
    asks = (
        ONE,
        SlotRequest("w", "window", 2, 60 * SECOND),
        SlotRequest("b", "bucket", 3, 10 * SECOND),
    )
    for ask in asks:
        crowd.come(f"{ask.key}1", ask)

    at(59)
    assert limits.prune_limits(own, 100) == 1
    assert [state.key for state in limits.list_limits(own)] == ["all", "w"]

    crowd.end("all1", ONE)
    at(61)
    assert limits.prune_limits(own, 100) == 2
    query = "SELECT count(*) FROM workshed.limit_starts"
    assert own.execute(query).fetchone() == (0,)


def test_a_waiter_that_never_came_is_deleted_after_a_day(crowd, own, at):
    crowd.come("a", ONE)
    crowd.come("b", ONE)
    crowd.end("a", ONE)

    at(86_401)
    assert limits.prune_limits(own, 100) == 1
    assert limits.list_limits(own, waiting=True) == []


def test_a_changed_limit_holds_from_the_next_job_on(crowd, at):
    for job in "abc":
        crowd.come(job, SlotRequest("all", "concurrent", 2))

    assert crowd.come("d", SlotRequest("all", "concurrent", 4))
    crowd.end("d", ONE)
    assert not crowd.come("e", ONE)
