"""dramatiq's results, groups, pipelines, limiters and async actors, on PostgreSQL."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import dramatiq
import pytest
from dramatiq.rate_limits import (
    Barrier,
    BucketRateLimiter,
    ConcurrentRateLimiter,
    WindowRateLimiter,
)
from dramatiq.rate_limits.backends import StubBackend
from dramatiq.results import ResultFailure, ResultMissing, ResultTimeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workshed import db
from workshed.jobs import Discard, context
from workshed.jobs.history import results
from workshed.jobs.locks import counters
from workshed.middleware import PostgresRateLimiterBackend, RetryOn, Unique
from workshed.middleware.composition.callbacks import ResultError

MINUTE = timedelta(minutes=1)


@pytest.fixture
def add(actor):
    @actor(queue_name="default", actor_name="add", store_results=True, max_retries=1)
    def add(x, y):
        return x + y

    return add


# Results


def test_a_result_is_there_when_its_job_is_done(jobs, add):
    message = add.send(1, 2)
    with pytest.raises(ResultMissing):
        message.get_result()

    jobs.drain()

    assert message.get_result() == 3
    assert message.get_result(block=True, timeout=1000) == 3


def test_waiting_for_a_result_in_vain_times_out(jobs, add):
    with pytest.raises(ResultTimeout):
        add.send(1, 2).get_result(block=True, timeout=200)


def test_waiting_for_a_result_returns_it(jobs, add):
    message = add.send(1, 2)
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(message.get_result, block=True, timeout=60_000)
        jobs.drain()

        assert found.result() == 3


def test_of_an_awaited_job_only_its_end_is_kept(jobs, actor):
    """No caller reads what it returns, so it may return anything and still succeeds."""

    @actor(queue_name="default", actor_name="look")
    def look():
        return object()

    message = look.send_with_options(awaited=True)
    jobs.drain()

    assert message.get_result() is None
    assert jobs.dead == []


def test_a_retried_job_has_no_result_until_it_is_done(jobs, add):
    message = add.send(1, 2)
    jobs.fail_next(add, OSError("away"))
    with jobs.expect_retry():
        jobs.drain()
    with pytest.raises(ResultMissing):
        message.get_result()

    jobs.advance(minutes=1)
    jobs.drain()

    assert message.get_result() == 3


def test_the_result_of_a_dead_job_is_its_error(jobs, add):
    message = add.send(1, "x")
    for _ in range(2):
        with pytest.raises(TypeError) if _ else jobs.expect_retry():
            jobs.drain()
        jobs.advance(minutes=1)

    with pytest.raises(ResultFailure, match="actor raised TypeError: unsupported operand"):
        message.get_result()


def test_the_result_of_a_discarded_job_is_none(jobs, actor):
    @actor(queue_name="default", actor_name="leaves_it", store_results=True)
    def leave():
        raise Discard("nothing to do")

    message = leave.send()
    jobs.drain()

    assert message.get_result() is None


def test_a_result_is_forgotten_after_its_time(jobs, actor):
    @actor(queue_name="default", actor_name="brief", store_results=True, result_ttl=60_000)
    def brief():
        return 1

    message = brief.send()
    jobs.drain()
    assert message.get_result() == 1
    jobs.advance(minutes=2)

    with pytest.raises(ResultMissing):
        message.get_result()
    with db.transaction() as conn:
        assert results.prune_results(conn, 100) == 1


def test_a_result_can_be_stored_for_a_single_message(jobs, actor):
    @actor(queue_name="default", actor_name="seldom")
    def seldom():
        return 1

    wanted, other = seldom.send_with_options(store_results=True), seldom.send()
    jobs.drain()

    assert wanted.get_result() == 1
    with pytest.raises(ResultMissing):
        other.get_result()


def test_a_result_commits_with_the_outcome(jobs, actor):
    """A copy that ends second stores neither."""

    @actor(queue_name="default", actor_name="once", store_results=True, once=True)
    def once():
        return 1

    message = once.send()
    jobs.drain()

    assert message.get_result() == 1


@pytest.mark.parametrize("result", [{1, 2}, float("nan"), b"x", "x" * (1 << 20)])
def test_a_result_that_cannot_be_stored_is_a_failure(jobs, actor, result):
    @actor(queue_name="default", actor_name="odd", store_results=True)
    def odd():
        return result

    message = odd.send()
    with pytest.raises(ResultError):
        jobs.drain()

    assert len(jobs.dead) == 1
    with pytest.raises(ResultFailure):
        message.get_result()


def test_an_error_that_cannot_be_printed_costs_the_job_no_outcome(jobs, actor):
    class OddError(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    @actor(queue_name="default", actor_name="odd", store_results=True, max_retries=0)
    def odd():
        raise OddError

    message = odd.send()
    with pytest.raises(OddError):
        jobs.drain()

    assert len(jobs.dead) == 1
    with pytest.raises(ResultFailure, match="actor raised OddError"):
        message.get_result()


def test_an_error_shows_no_secret_of_its_job(jobs, actor):
    @actor(
        queue_name="default", actor_name="pay", store_results=True, max_retries=0, redact=["card"]
    )
    def pay(card):
        raise OSError(f"no answer for {card}")

    message = pay.send("4111-1111")
    with pytest.raises(OSError, match="no answer"):
        jobs.drain()

    with pytest.raises(ResultFailure) as failure:
        message.get_result()
    assert "4111" not in str(failure.value)


def test_the_sender_finds_a_result_whatever_queue_ran_the_job(jobs, actor):
    @actor(
        queue_name="default",
        actor_name="moved",
        store_results=True,
        retry_on=RetryOn(OSError, queue="low"),
    )
    def moved():
        return 1

    message = moved.send()
    jobs.fail_next(moved, OSError("away"))
    with jobs.expect_retry():
        jobs.drain()
    jobs.advance(minutes=1)
    jobs.drain()

    assert jobs.runs[-1].message.queue_name == "low"
    assert message.get_result() == 1


# Groups and pipelines


def test_a_pipeline_has_the_result_of_its_last(jobs, add):
    pipe = add.message(1, 2) | add.message(3) | add.message(4)
    pipe.run()
    jobs.drain()

    assert pipe.get_result() == 10
    assert list(pipe.get_results()) == [3, 6, 10]


def test_a_group_has_all_results(jobs, add):
    group = dramatiq.group([add.message(n, n) for n in range(4)]).run()
    assert group.completed_count == 0
    jobs.drain()

    assert list(group.get_results()) == [0, 2, 4, 6]
    assert group.completed


@pytest.fixture
def group_callback(actor):
    calls = []
    return actor(queue_name="default", actor_name="tell")(calls.append), calls


def test_the_callback_of_a_group_is_sent_once_after_its_last_member(jobs, add, group_callback):
    tell, calls = group_callback
    group = dramatiq.group(
        [add.message(1, 1), add.message(1, 2), add.message(1, 1) | add.message(5)]
    )
    group.add_completion_callback(tell.message("done"))
    group.run()
    jobs.fail_next(add, OSError("away"))
    with jobs.expect_retry():
        jobs.drain()
    assert calls == []

    jobs.advance(minutes=1)
    jobs.drain()

    assert calls == ["done"]


def test_a_member_that_runs_twice_is_counted_once(jobs, add, group_callback):
    tell, calls = group_callback
    group = dramatiq.group([add.message(1, 1), add.message(1, 2)])
    group.add_completion_callback(tell.message("done"))
    group.run()
    first, _ = jobs.enqueued
    for _ in range(3):  # as for a plain job, whose outcome is not deduplicated
        jobs._run(first.message_id)
        with db.transaction() as conn:
            conn.execute(
                "DELETE FROM workshed.completed_generations WHERE message_id = %s",
                (first.message_id,),
            )
        jobs._broker.enqueue(first.message)
    assert calls == []

    jobs.drain()

    assert calls == ["done"]


def test_a_group_with_a_dead_member_is_not_complete(jobs, add, group_callback):
    tell, calls = group_callback
    group = dramatiq.group([add.message(1, 1), add.message(1, "x")])
    group.add_completion_callback(tell.message("done"))
    group.run()
    for turn in range(2):
        with pytest.raises(TypeError) if turn else jobs.expect_retry():
            jobs.drain()
        jobs.advance(minutes=1)

    assert calls == []


def test_a_callback_whose_key_is_held_costs_no_job_its_outcome(jobs, add, actor):
    @actor(queue_name="default", actor_name="only", unique=Unique(on_conflict="raise"))
    def only():
        pass

    only.send_with_options(delay=3_600_000)
    group = dramatiq.group([add.message(1, 1)])
    group.add_completion_callback(only.message())
    group.run()

    jobs.drain()

    assert [run.outcome.kind for run in jobs.runs] == ["succeeded"]


def test_a_member_that_was_discarded_counts(jobs, actor, group_callback):
    tell, calls = group_callback

    @actor(queue_name="default", actor_name="leaves_it")
    def leave():
        raise Discard("nothing to do")

    group = dramatiq.group([leave.message()])
    group.add_completion_callback(tell.message("done"))
    group.run()
    jobs.drain()

    assert calls == ["done"]


# Limiters


@pytest.fixture
def limiters(jobs):
    return PostgresRateLimiterBackend()


def test_a_concurrent_limiter_admits_no_more_than_its_limit(limiters):
    mutex = ConcurrentRateLimiter(limiters, "printer", limit=2)
    all_have_tried = threading.Barrier(8)

    def print_one(_):
        with mutex.acquire(raise_on_failure=False) as got:
            all_have_tried.wait(60)
            return got

    for _ in range(5):
        with ThreadPoolExecutor(8) as threads:
            assert sorted(threads.map(print_one, range(8))) == [False] * 6 + [True] * 2


def test_the_slot_of_a_dead_holder_is_free_after_its_time(jobs, limiters):
    mutex = ConcurrentRateLimiter(limiters, "printer", limit=1, ttl=60_000)
    mutex._acquire()
    assert not mutex._acquire()

    jobs.advance(minutes=2)

    assert mutex._acquire()


def test_a_bucket_empties(limiters):
    bucket = BucketRateLimiter(limiters, "mails", limit=3, bucket=3_600_000)

    assert [bucket._acquire() for _ in range(5)] == [True, True, True, False, False]


def test_a_window_is_never_exceeded_by_many_at_once(limiters):
    window = WindowRateLimiter(limiters, "calls", limit=5, window=3_600)

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda _: window._acquire(), range(24)))

    assert sum(got) == 5


def test_a_barrier_releases_all_when_the_last_party_has_come(limiters):
    barrier = Barrier(limiters, "start", ttl=60_000)
    assert barrier.create(parties=3)
    assert not barrier.create(parties=3)

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(lambda _: barrier.wait(timeout=30_000), range(3)))


def test_waiting_for_a_barrier_in_vain_returns_false(limiters):
    barrier = Barrier(limiters, "start", ttl=60_000)
    barrier.create(parties=2)

    assert barrier.wait(timeout=200) is False


def test_an_actor_that_runs_once_takes_a_slot_at_once(jobs, actor, limiters):
    seen = []

    @actor(queue_name="default", actor_name="once", once=True, max_retries=0)
    def once():
        ConcurrentRateLimiter(limiters, "printer", limit=1)._acquire()
        with ThreadPoolExecutor(1) as threads:
            other = ConcurrentRateLimiter(limiters, "printer", limit=1)
            seen.append(threads.submit(other._acquire).result(60))
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        jobs.perform(once)
    assert seen == [False]


def keys():
    return ["a@1", "a@2"]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(-3, 3)),
        st.tuples(st.just("incr"), st.integers(0, 4), st.integers(-2, 6)),
        st.tuples(st.just("decr"), st.integers(0, 4), st.integers(-6, 2)),
        st.tuples(st.just("incr_and_sum"), st.integers(0, 4), st.integers(-2, 6)),
    ),
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=operations)
def test_it_counts_as_the_backend_of_dramatiq_does(limiters, steps):
    stub = StubBackend()
    with db.transaction() as conn:
        conn.execute("TRUNCATE workshed.counters")

    for name, *numbers in steps:
        values = ["a@1", *([keys] if "sum" in name else []), *numbers]

        ours = getattr(limiters, name)(*values, 3_600_000)

        assert bool(ours) == bool(getattr(stub, name)(*values, 3_600_000)), steps


def test_expired_counters_are_deleted(jobs, limiters):
    limiters.add("a", 1, 60_000)
    limiters.add("b", 1, 600_000)
    jobs.advance(minutes=2)

    with db.transaction() as conn:
        assert counters.prune_counters(conn, 100) == 1
        assert counters.has_counter(conn, "b")


# Async actors


def test_an_async_actor_runs_on_the_loop(jobs, actor):
    seen = []

    @actor(queue_name="default", actor_name="fetch", store_results=True)
    async def fetch(number):
        await asyncio.sleep(0)
        seen.append((threading.current_thread().name, context.current_job().message_id))
        return number + 1

    message = fetch.send(1)
    jobs.drain()

    assert message.get_result() == 2
    [(thread, message_id)] = seen
    assert thread != threading.current_thread().name
    assert message_id == message.message_id


def test_an_async_actor_that_fails_is_retried(jobs, actor):
    @actor(queue_name="default", actor_name="fetch")
    async def fetch():
        await asyncio.sleep(0)
        raise OSError("away")

    fetch.send()
    with jobs.expect_retry():
        jobs.drain()
