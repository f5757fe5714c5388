"""Messages about a job are sent with its outcome, or not at all."""

import pytest

from workshed import db
from workshed.errors import PermanentError
from workshed.jobs.idempotency import starts
from workshed.middleware import Unique
from workshed.transport.errors import InvalidArgumentError, InvalidOptionError
from workshed.transport.messages.envelope import LARGEST_ARGUMENTS_BYTES

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

CALLBACKS = "SELECT 1 FROM workshed.schedule WHERE actor = 'tell'"
"""Callbacks that are sent and have not run."""
RESULTS = "SELECT (body::json->'args'->>1)::int FROM workshed.schedule WHERE actor = 'tell'"


@pytest.fixture
def callback_calls(actor):
    """An actor `tell` that records its messages."""

    class CallbackCalls(list):
        pass

    found = CallbackCalls()

    @actor(queue_name="default")
    def tell(message, said):
        found.append((message, said))

    found.actor = tell
    return found


@pytest.fixture
def results(callback_calls, rows):
    """`results()`: those that a callback was sent with, whether it has run or not."""
    query = f"{RESULTS} AND claimed_by IS NULL"

    def find():
        return sorted([said for _, said in callback_calls] + [said for (said,) in rows(query)])

    return find


@pytest.fixture
def working_on(actor):
    """`working_on(then, …)`: an actor `work` that calls `then(number)`, with these options."""

    def declare(then=None, **options):
        @actor(**{"queue_name": "default", "actor_name": "work", "max_retries": 0, **options})
        def work(number, *rest, **named):
            return then(number) if then else number

        return work

    return declare


def raising(error):
    def then(number):
        raise error

    return then


def test_the_callback_of_a_dead_job_is_sent(
    working_on, callback_calls, working, relaying, rows, eventually
):
    work = working_on(raising(OSError("no")), on_dead=callback_calls.actor)

    with working("default"), relaying():
        message = work.send(7, locale="fr")
        eventually(lambda: callback_calls)

    ((data, reason),) = callback_calls
    assert reason == "failed once: OSError: no"
    assert data == {**message.asdict(), "args": [7], "options": {}}
    assert rows("SELECT message_id FROM workshed.dead") == [(message.message_id,)]


def test_on_dead_is_sent_for_a_job_that_did_not_run(
    working_on, callback_calls, working, relaying, publish, eventually
):
    """`on_dead` may be a name; a hook that runs after the job would miss a job that did not run."""
    work = working_on(on_dead="tell")
    killer = work.message(1)
    with db.transaction() as conn:
        for _ in range(2):
            starts.record_start(conn, killer.message_id, 0, isolated=True, host="gone", pid=1)

    with working("default"), relaying():
        publish(killer, possible_duplicate=True)
        eventually(lambda: callback_calls)

    ((_, reason),) = callback_calls
    assert reason.startswith("killed its worker")


def test_on_dead_commits_with_the_dead_row_or_not_at_all(
    working_on, callback_calls, working, failing, rows, count_rejected, eventually, caplog
):
    """Sent on its own, it would report deaths that rolled back, and miss others."""
    work = working_on(raising(OSError("no")), on_dead=callback_calls.actor)

    with working("default"):
        with failing("workshed.dead"):
            work.send(7)
            eventually(lambda: "fails on purpose" in caplog.text)
            assert not callback_calls
            assert rows(CALLBACKS) == rows("SELECT 1 FROM workshed.dead") == []
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        with failing("workshed.schedule", condition="NEW.actor = 'tell'"):
            caplog.clear()
            work.send(8)
            eventually(lambda: "fails on purpose" in caplog.text)
            assert len(rows("SELECT 1 FROM workshed.dead")) == 1
        eventually(lambda: len(rows("SELECT 1 FROM workshed.dead")) == 2)

    assert len(callback_calls) + len(rows(CALLBACKS)) == 2
    assert count_rejected("default") == 0


@pytest.mark.parametrize("large", ["x" * (LARGEST_ARGUMENTS_BYTES - 100), "deep"])
def test_the_callback_of_a_job_with_large_arguments_omits_them(
    large, working_on, callback_calls, working, relaying, rows, eventually
):
    """Were it refused for its size, the dead job would go to RabbitMQ's dead queue instead."""
    if large == "deep":
        for _ in range(251):
            large = [large]
    work = working_on(raising(OSError("\0" * 5_000)), on_dead=callback_calls.actor)

    with working("default"), relaying():
        message = work.send(large)
        eventually(lambda: callback_calls)

    ((data, _),) = callback_calls
    assert (data["message_id"], data["args"], data["kwargs"]) == (message.message_id, None, None)
    assert rows("SELECT message_id FROM workshed.dead") == [(message.message_id,)]


# dramatiq's own


def test_a_callback_that_is_a_duplicate_is_not_sent_and_the_job_is_dead(
    working_on, actor, working, rows, eventually, caplog
):
    """Were it raised, the dead job would go to RabbitMQ's dead queue instead."""
    rule = Unique(key=lambda *_: "one", on_conflict="raise")
    tell = actor(queue_name="low", actor_name="tell", unique=rule)(lambda *_: None)
    tell.send("first", "one")
    work = working_on(raising(OSError("no")), on_dead=tell)

    with working("default"):
        work.send(7)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert "could not be sent: job" in caplog.text


def test_on_failure_is_sent_once_when_the_job_is_dead(
    working_on, callback_calls, working, relaying, rows, eventually
):
    """dramatiq sends it for each failed attempt, also when the next attempt succeeds."""
    work = working_on(
        raising(OSError("no")), max_retries=2, min_backoff=1, on_failure=callback_calls.actor
    )

    with working("default"), relaying():
        work.send(7)
        eventually(lambda: callback_calls)

    assert [said for _, said in callback_calls] == [{"type": "OSError", "message": "no"}]
    assert len(rows("SELECT 1 FROM workshed.attempts")) == 3


def test_on_retry_exhausted_gets_the_number_of_retries(
    working_on, callback_calls, working, relaying, eventually
):
    work = working_on(
        raising(OSError("no")), max_retries=2, min_backoff=1, on_retry_exhausted="tell"
    )

    with working("default"), relaying():
        work.send(7)
        eventually(lambda: callback_calls)

    assert [said for _, said in callback_calls] == [{"retries": 2, "max_retries": 2}]


def test_on_retry_exhausted_is_not_sent_for_a_job_that_was_never_retried(
    working_on, callback_calls, working, rows, eventually
):
    work = working_on(raising(PermanentError("no")), on_retry_exhausted="tell", max_retries=3)

    with working("default"):
        work.send(7)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert rows("SELECT 1 FROM workshed.schedule") == []


def test_on_success_gets_the_result(
    working_on, callback_calls, working, relaying, eventually, caplog
):
    work = working_on(lambda number: {"twice": number * 2}, on_success=callback_calls.actor)

    with working("default"), relaying():
        message = work.send(7)
        eventually(lambda: callback_calls)

    ((data, result),) = callback_calls
    assert (data["message_id"], result) == (message.message_id, {"twice": 14})
    assert "the value has been discarded" not in caplog.text


def test_on_success_is_sent_once_however_often_the_job_is_delivered(
    working_on, callback_calls, results, publish_twice
):
    """Without deduplication, a worker killed before its ack would send it a second time."""
    work = working_on(on_success=callback_calls.actor)

    publish_twice(work.message(7), results)

    assert results() == [7]


def test_on_success_and_once_commit_together(
    working_on, callback_calls, results, publish_twice, rows
):
    work = working_on(on_success=callback_calls.actor, once=True)

    publish_twice(work.message(7), results)

    assert results() == [7]
    assert rows("SELECT count(*) FROM workshed.once_keys") == [(1,)]


def test_a_pipeline_hands_results_on(actor, working, relaying, rows, eventually):
    added, seen = [], []

    @actor(queue_name="default")
    def add(one, other):
        added.append(one + other)
        return one + other

    @actor(queue_name="low", pipe_ignore=True)
    def see(number):
        seen.append(number)

    pipe = add.message(1, 2) | add.message(3) | see.message(0) | see.message(1)

    with working("default", "low"), relaying():
        pipe.run()
        eventually(lambda: len(seen) == 2)

    assert (added, seen) == ([3, 6], [0, 1])


def test_a_later_step_of_a_pipeline_may_have_a_delay(actor, working, relaying, rows, eventually):
    """dramatiq allows it; it was refused, with advice that could not delay that step."""
    seen = []

    @actor(queue_name="default")
    def see(number, before=None):
        seen.append((number, before))
        return number

    later = see.message_with_options(args=(2,), delay=3_600_000)
    pipe = see.message_with_options(args=(1,), delay=1) | later | see.message(3)

    with working("default"), relaying():
        pipe.run()
        query = "SELECT reason, due_at - workshed.now() > interval '50 min' FROM workshed.schedule"
        eventually(lambda: (rows(query), seen) == ([("delayed", True)], [(1, None)]))
        rows("UPDATE workshed.schedule SET due_at = workshed.now() RETURNING 1")
        eventually(lambda: len(seen) == 3)

    assert seen == [(1, None), (2, 1), (3, 2)]


@pytest.mark.parametrize(("own", "of_pipeline"), [(1, 3_600_000), (3_600_000, 1)])
def test_the_longer_of_two_delays_of_the_first_step_counts(actor, rows, own, of_pipeline):
    """As in dramatiq; with the longer delay on the pipeline the send was refused."""

    @actor(queue_name="default")
    def see(number, before=None):
        pass

    pipe = see.message_with_options(args=(1,), delay=own) | see.message(2)
    pipe.run(delay=of_pipeline)

    query = "SELECT reason, due_at - workshed.now() > interval '50 min' FROM workshed.schedule"
    assert rows(query) == [("delayed", True)]
    assert rows("SELECT body::json->'options'->>'delay' FROM workshed.schedule") == [(None,)]


def test_an_invalid_delay_is_refused_by_the_send(actor):
    @actor(queue_name="default")
    def see(number, before=None):
        pass

    with pytest.raises(InvalidOptionError, match=r"options\.delay: must be a whole number"):
        (see.message(1) | see.message_with_options(args=(2,), delay=-1)).run()


def test_a_pipeline_that_is_delivered_twice_goes_on_once(actor, publish_twice, rows, eventually):
    ran = []

    @actor(queue_name="default", actor_name="work")
    def add(one, other):
        ran.append([one, other])
        return one + other

    first, last = (add.message(1, 2) | add.message(3)).messages

    def steps():
        query = "SELECT body::json->'args' FROM workshed.schedule WHERE message_id = %s"
        waiting = [arguments for (arguments,) in rows(query, last.message_id)]
        return [one for one in ran if one != [1, 2]] or waiting

    publish_twice(first, steps)

    assert steps() == [[3, 3]]
    assert ran.count([1, 2]) == 1


def test_a_result_that_the_next_step_does_not_accept_is_a_failure(actor, working, rows, eventually):
    @actor(queue_name="default")
    def give():
        return 1

    @actor(queue_name="default")
    def read(text: str):
        """Takes no number."""

    with working("default"):
        (give.message() | read.message()).run()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    ((reason,),) = rows("SELECT reason FROM workshed.dead")
    assert "ResultError: its result cannot be passed on: read: argument text" in reason


def test_a_step_that_takes_no_result_is_refused_by_the_send(actor, rows):
    none = actor(queue_name="default", actor_name="none")(lambda: None)

    with pytest.raises(InvalidArgumentError, match=r"none\(\), after the result .* is appended"):
        (none.message() | none.message()).run()

    assert rows("SELECT count(*) FROM workshed.schedule") == [(0,)]


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("result", [float("nan"), object(), "x" * LARGEST_ARGUMENTS_BYTES])
def test_a_result_that_cannot_be_handed_on_is_a_failure(
    result, once, working_on, callback_calls, working, rows, count_jobs, eventually
):
    """dramatiq logs it and acks: the step that waits for the result waits for ever."""
    work = working_on(lambda _: result, on_success=callback_calls.actor, once=once, max_retries=3)

    with working("default"):
        work.send(7)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        eventually(lambda: count_jobs("default") == (0, 0))

    ((reason,),) = rows("SELECT reason FROM workshed.dead")
    assert reason.startswith("ResultError: its result cannot be passed on")
    assert rows("SELECT 1 FROM workshed.schedule") == rows("SELECT 1 FROM workshed.once_keys") == []


# What is refused


def test_an_actor_as_its_own_on_dead_is_refused(working_on, broker):
    with pytest.raises(ValueError, match="on_dead names the actor itself"):
        working_on(on_dead="work")

    assert "work" not in broker.actors


def test_a_callback_that_is_neither_actor_nor_name_is_refused(working_on):
    with pytest.raises(ValueError, match="neither an actor nor its name"):
        working_on(on_dead=print)


def test_a_worker_does_not_boot_with_an_unknown_callback(working_on, working, caplog):
    """Found at the first death, it would send that job to RabbitMQ's dead queue."""
    working_on(on_dead="tlel")

    with pytest.raises(SystemExit), working("default"):
        """Not reached."""

    assert "work: on_dead='tlel': no actor of this program has that name" in caplog.text


def test_a_worker_does_not_boot_with_a_callback_that_takes_other_arguments(
    working_on, actor, working, caplog
):
    @actor(queue_name="default")
    def alone(message):
        """Takes one."""

    working_on(on_dead=alone)

    with pytest.raises(SystemExit), working("default"):
        """Not reached."""

    assert "is sent two arguments, and takes (message)" in caplog.text


def test_a_worker_does_not_boot_with_callbacks_in_a_cycle(working_on, actor, working, caplog):
    @actor(queue_name="default", on_failure="work")
    def other(message, said):
        """Dies as well."""

    working_on(on_dead="other", max_retries=0)

    with pytest.raises(SystemExit), working("default"):
        """Not reached."""

    assert "leads back to this actor" in caplog.text
