"""Middleware of an application: options travel, errors cost no job, skips are outcomes."""

import threading
from datetime import timedelta

import pytest
from dramatiq import Middleware, group
from dramatiq.middleware import MiddlewareError, SkipMessage

from workshed import Batch, schedule
from workshed.jobs.signals import Snooze
from workshed.middleware import Limit, Unique
from workshed.transport.errors import InvalidOptionError

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

HOUR = timedelta(hours=1)
LATER = "SELECT message_id, reason FROM workshed.schedule WHERE due_at > workshed.now()"
OUTCOMES = "SELECT actor, outcome, reason FROM workshed.attempts ORDER BY id"


@pytest.fixture
def adding(broker):
    """`adding(middleware)`: add it to the broker until the end of the test."""
    chain, options, added = list(broker.middleware), set(broker.actor_options), set()
    yield broker.add_middleware
    broker.middleware[:] = chain
    broker.actor_options = options
    broker.added_options = added
    broker._hooks.clear()


@pytest.fixture
def settled(count_jobs, eventually):
    """`settled("default")`: wait until these queues are empty, apart from their dead queues."""

    def wait(*names):
        eventually(lambda: all(count_jobs(n) == (0, 0) for n in names))

    return wait


class RequestId(Middleware):
    """Hands the id of a web request on to its jobs, as users of dramatiq do."""

    def __init__(self):
        self.seen = []

    @property
    def actor_options(self):
        return {"request_id"}

    def before_enqueue(self, broker, message, delay):
        message.options.setdefault("request_id", "r-1")

    def before_process_message(self, broker, message):
        self.seen.append(message.options["request_id"])


class Writes(Middleware):
    """Writes an option that it does not declare."""

    def before_enqueue(self, broker, message, delay):
        message.options["request_id"] = "r-1"


# Options


def test_an_option_of_its_own_travels_on_every_way(
    adding, actor, working, relaying, connect, eventually
):
    """Otherwise no worker would run the job: it would wait an hour for a later release and die."""
    middleware, runs = RequestId(), []
    adding(middleware)

    @actor(queue_name="default", request_id="of the actor")
    def note(number, _result=None):
        runs.append(number)
        return number

    conn = connect(autocommit=True)
    with working("default"), relaying():
        note.send(1)
        note.send_with_options(args=(2,), request_id="mine")
        note.send_with_options(args=(3,), delay=1)
        note.broker.enqueue_many([note.message(4)])
        schedule.send(conn, note.message(5))
        (note.message(6) | note.message(7)).run()
        eventually(lambda: len(runs) == 7)

    assert sorted(runs) == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(middleware.seen) == ["mine", *["r-1"] * 6]


@pytest.mark.fresh_vhost
def test_an_undeclared_option_is_refused_by_the_send(adding, actor, broker, has_sent):
    """The hook writes it after the first check; the job would wait for a worker that knows it."""
    adding(Writes())

    @actor(queue_name="default")
    def note(number):
        pass

    for send in (
        lambda: note.send(1),
        lambda: note.send_with_options(args=(1,), delay=1),
        lambda: broker.enqueue_many([note.message(1)]),
    ):
        with pytest.raises(InvalidOptionError, match="request_id is not an option of a message"):
            send()
    assert not has_sent()


def test_another_option_is_refused_as_before_with_a_hint(adding, actor):
    adding(RequestId())

    @actor(queue_name="default")
    def note(number):
        pass

    with pytest.raises(InvalidOptionError, match=r"did you mean 'request_id'\?"):
        note.send_with_options(args=(1,), requestid=1)


@pytest.mark.parametrize(
    ("value", "problem"),
    [({1, 2}, "does not survive JSON"), ("x" * 70_000, "at most 65536"), (float("nan"), "NaN|nan")],
    ids=["set", "large", "nan"],
)
def test_a_value_that_cannot_travel_is_refused(adding, actor, value, problem):
    adding(RequestId())

    @actor(queue_name="default")
    def note(number):
        pass

    with pytest.raises(InvalidOptionError, match=problem):
        note.send_with_options(args=(1,), request_id=value)


def test_a_job_whose_next_step_has_an_unknown_option_waits_for_a_later_release(
    adding, actor, working, publish, rows, eventually
):
    """Otherwise it would be dead, with the rest of its pipeline, if the worker is older."""
    adding(RequestId())

    @actor(queue_name="default")
    def note(number):
        raise AssertionError("it must not run here")

    following = note.message_with_options(args=(2,), request_id="r-2")
    message = note.message_with_options(args=(1,), pipe_target=following.asdict())
    note.broker.added_options = set()

    with working("default"):
        publish(message)
        found = eventually(lambda: rows(LATER))

    assert found == [(message.message_id, "unknown_actor")]
    assert rows("SELECT 1 FROM workshed.dead") == []


# Hooks that raise


class Broken(Middleware):
    """Every hook fails, for example because its own database is away."""


def broken(name):
    def hook(self, *args, **kwargs):
        raise ConnectionError(name)

    hook.__name__, hook.__qualname__ = name, f"Broken.{name}"
    return hook


for hook in vars(Middleware):
    # `add_middleware` calls the hooks of existing actors, as in dramatiq.
    if hook.startswith(("before_", "after_")) and "declare" not in hook:
        setattr(Broken, hook, broken(hook))


def test_a_hook_that_raises_costs_no_job(
    adding, actor, working, count_rejected, rows, settled, caplog, eventually
):
    """Otherwise the job would go to RabbitMQ's dead queue without having run, and without a row."""
    adding(Broken())
    runs = []

    @actor(queue_name="default", max_retries=0)
    def note(number):
        runs.append(number)
        if number == 2:
            raise OSError("fails on purpose")
        if number == 3:
            raise SkipMessage

    with working("default"):
        for number in (1, 2, 3):
            note.send(number)
        eventually(lambda: len(runs) == 3)
        settled("default")

    assert sorted(runs) == [1, 2, 3]
    assert count_rejected("default") == 0
    assert rows("SELECT count(*) FROM workshed.dead") == [(1,)]
    for name in ("before_enqueue", "before_process_message", "after_process_message", "after_ack"):
        assert f"Broken.{name} failed; what it raised is ignored" in caplog.text


@pytest.mark.fresh_vhost
def test_a_veto_keeps_a_job_from_being_sent(adding, actor, has_sent):
    class Veto(Middleware):
        def before_enqueue(self, broker, message, delay):
            raise MiddlewareError("not now")

    adding(Veto())

    @actor(queue_name="default")
    def note(number):
        pass

    with pytest.raises(MiddlewareError, match="not now"):
        note.send(1)
    assert not has_sent()


def test_a_middleware_error_before_a_job_is_a_failed_attempt(
    adding, actor, working, count_rejected, rows, settled, eventually
):
    """As in dramatiq, the job is retried, and does not go to the dead queue."""

    class Refuses(Middleware):
        def before_process_message(self, broker, message):
            raise MiddlewareError("no tenant")

    adding(Refuses())

    @actor(queue_name="default", max_retries=1, min_backoff=3_600_000)
    def note(number):
        raise AssertionError("it must not run")

    with working("default"):
        note.send(1)
        found = eventually(lambda: rows(OUTCOMES))
        settled("default")

    assert found == [("note", "retry", "MiddlewareError: no tenant")]
    assert count_rejected("default") == 0
    assert rows("SELECT reason FROM workshed.schedule") == [("retry",)]


def test_a_hook_can_snooze_a_job(adding, actor, working, rows, eventually):
    class Window(Middleware):
        def before_process_message(self, broker, message):
            raise Snooze(HOUR, "maintenance")

    adding(Window())

    @actor(queue_name="default")
    def note(number):
        raise AssertionError("it must not run")

    with working("default"):
        message = note.send(1)
        found = eventually(lambda: rows(LATER))

    assert found == [(message.message_id, "snoozed")]


# Hooks that skip


class Gate(Middleware):
    """A feature flag: skips jobs with some numbers."""

    def __init__(self, *numbers):
        self.numbers = numbers

    def before_process_message(self, broker, message):
        if message.args[0] in self.numbers:
            raise SkipMessage("feature off")


def test_a_skipped_job_has_a_row_and_a_reason(adding, actor, working, rows, settled, eventually):
    """Otherwise it would be acked without a trace."""
    adding(Gate(1))

    @actor(queue_name="default")
    def note(number):
        raise AssertionError("it must not run")

    with working("default"):
        message = note.send(1)
        found = eventually(lambda: rows(OUTCOMES))
        settled("default")
        runs = "SELECT message_id, outcome, reason FROM workshed.runs"
        history = eventually(lambda: rows(runs))

    assert found == [("note", "skipped", "skipped by Gate: feature off")]
    assert history == [(message.message_id, "skipped", "skipped by Gate: feature off")]


def test_a_skipped_job_frees_its_key(adding, actor, working, rows, eventually):
    """Otherwise each later send would be dropped as a duplicate of a job that is gone."""
    adding(Gate(1))

    @actor(queue_name="default", unique=Unique())
    def note(number):
        raise AssertionError("it must not run")

    with working("default"):
        first = note.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.unique_locks") == [] and rows(OUTCOMES))
        second = note.send(1)

    assert second.message_id != first.message_id


def test_a_skipped_job_ends_in_its_batch_and_its_group(
    adding, actor, working, relaying, connect, eventually
):
    """Otherwise their callbacks would never be sent."""
    adding(Gate(1))
    called = []

    @actor(queue_name="default")
    def note(number):
        pass

    @actor(queue_name="low")
    def finish(what):
        called.append(what)

    batch = Batch(on_complete=finish.message("batch"))
    with connect() as conn, batch.adding(conn):
        batch.add(conn, note.message(1), note.message(2))
    several = group([note.message(1), note.message(2)])
    several.add_completion_callback(finish.message("group"))
    several.run()

    with working("default", "low"), relaying():
        eventually(lambda: len(called) == 2)

    assert sorted(called) == ["batch", "group"]


def test_a_skipped_job_frees_its_slot_and_has_a_result(adding, actor, working, rows, eventually):
    """Otherwise the slot is held until its lease ends, and waiting for the result times out."""
    adding(Gate(1))

    @actor(queue_name="default", limit=Limit.concurrent(1), store_results=True)
    def note(number):
        return number

    with working("default"):
        message = note.send(1)
        assert message.get_result(block=True, timeout=60_000) is None
        eventually(lambda: rows("SELECT 1 FROM workshed.limit_slots") == [])


def test_a_skipped_job_of_a_classic_queue_leaves_no_row(
    adding, actor, working, relaying, rows, eventually
):
    """Otherwise it would be sent and skipped again, without end."""
    adding(Gate(1))

    @actor(queue_name="emails")
    def note(number):
        raise AssertionError("it must not run")

    with working("emails"), relaying():
        note.send(1)
        eventually(lambda: rows(OUTCOMES))
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule") == [])

    assert rows(OUTCOMES) == [("note", "skipped", "skipped by Gate: feature off")]


# What follows a job


class Refuses(Middleware):
    """Vetoes all messages to one actor."""

    def before_enqueue(self, broker, message, delay):
        if message.actor_name == "following":
            raise MiddlewareError("not now")


def test_a_veto_of_a_callback_leaves_the_outcome_of_its_job(
    adding, actor, working, count_rejected, settled, eventually, caplog
):
    """Otherwise the job would go to the dead queue, although it is done."""
    adding(Refuses())

    @actor(queue_name="low", actor_name="following")
    def following(message, result):
        raise AssertionError("it must not run")

    @actor(queue_name="default", on_success=following)
    def note(number):
        return number

    with working("default"):
        note.send(1)
        eventually(lambda: "could not be sent: not now" in caplog.text)
        settled("default")

    assert count_rejected("default") == 0


def test_a_job_whose_callback_cannot_be_sent_is_dead_with_a_row(
    adding, actor, working, count_rejected, rows, eventually
):
    """Otherwise it would go to RabbitMQ's dead queue, where nothing says why."""

    class Later(Middleware):
        def before_enqueue(self, broker, message, delay):
            if message.actor_name == "following":
                message.options["request_id"] = "r-1"

    adding(Later())

    @actor(queue_name="low", actor_name="following")
    def following(message, result):
        raise AssertionError("it must not run")

    @actor(queue_name="default", on_success=following)
    def note(number):
        return number

    with working("default"):
        note.send(1)
        ((reason,),) = eventually(lambda: rows("SELECT reason FROM workshed.dead"))

    assert reason == (
        "a following message cannot be sent: following: request_id is not an option of a message"
    )
    assert count_rejected("default") == 0


# The results it sees


class Looks(Middleware):
    """Records what each job returned."""

    def __init__(self):
        self.results = {}

    def after_process_message(self, broker, message, *, result=None, exception=None):
        self.results[message.message_id] = result


def test_it_gets_the_result_of_each_job(adding, actor, working, relaying, eventually):
    """For a job with a callback or a next step it would otherwise be `None`."""
    looks = Looks()
    adding(looks)

    @actor(queue_name="low")
    def follow(*_):
        pass

    @actor(queue_name="default", on_success=follow)
    def called_back(number):
        return number

    @actor(queue_name="default")
    def piped(number):
        return number

    with working("default", "low"), relaying():
        first = called_back.send(1)
        second = piped.message(2)
        (second | follow.message()).run()
        eventually(lambda: {first.message_id, second.message_id} <= looks.results.keys())

    assert looks.results[first.message_id] == 1
    assert looks.results[second.message_id] == 2


def test_the_log_has_no_false_warning_about_results_and_limits(
    actor, working, relaying, rows, eventually, caplog
):
    """dramatiq would log each stored result as discarded, and warn of each wait."""
    go_on, runs = threading.Event(), []

    @actor(queue_name="default", store_results=True, limit=Limit.concurrent(1))
    def note(number):
        runs.append(number)
        assert go_on.wait(60)
        return number

    with working("default"), relaying():
        sent = [note.send(number) for number in (1, 2)]
        eventually(lambda: rows("SELECT 1 FROM workshed.limit_waiters"))
        go_on.set()
        assert [m.get_result(block=True, timeout=60_000) for m in sent] == [1, 2]

    assert "Results middleware" not in caplog.text
    assert "was skipped" not in caplog.text
