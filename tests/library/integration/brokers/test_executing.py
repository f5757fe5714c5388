"""What runs in this process: no job twice, none that was cancelled, and poison jobs isolated."""

import inspect
import json
import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from dramatiq.middleware import SkipMessage

from workshed import Queue, db
from workshed.jobs.control import cancellations, queues, workers
from workshed.jobs.idempotency import completed_generations, starts
from workshed.jobs.outbox import relays
from workshed.settings import settings
from workshed.transport.worker.control import POLLS_WITHOUT_RELAY, ControlPoller
from workshed.transport.worker.heartbeat import WorkerHeartbeat
from workshed.transport.worker.pausing import PauseState

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

pytestmark = pytest.mark.fresh_vhost


@pytest.fixture
def job(actor):
    """An actor that records its runs, and waits in each until `job.on` is set."""

    class Runs(list):
        on = threading.Event()

    found = Runs()
    found.on = threading.Event()
    found.on.set()

    @actor(queue_name="default", max_retries=0)
    def note(number):
        found.append(number)
        assert found.on.wait(60)

    found.actor = note
    found.send = note.send
    yield found
    found.on.set()


def delivered_again(job, rabbitmq, eventually):
    """Lose the connection; RabbitMQ delivers the running job to this process again."""
    eventually(lambda: rabbitmq.close_connections("consumer"))
    (deliveries,) = job.actor.broker._execution.running_jobs._jobs.values()
    eventually(lambda: len(deliveries) == 2)


def test_a_job_that_runs_here_is_not_started_twice(job, working, rabbitmq, eventually):
    """Without the register of running jobs, each lost connection starts all of them again."""
    job.on.clear()

    with working("default", threads=2):
        job.send(1)
        eventually(lambda: job == [1])
        delivered_again(job, rabbitmq, eventually)
        job.on.set()
        eventually(lambda: rabbitmq.unacked("default") == rabbitmq.depth("default") == 0)

    assert job == [1]


def test_a_second_delivery_of_a_job_without_a_stored_outcome_is_requeued(
    job, working, publish, rabbitmq, rows, failing, eventually
):
    """Acked with the first delivery, whose outcome could not be stored, it would be lost."""
    job.on.clear()
    message = job.actor.message(1)

    with working("default", threads=2):
        publish(message, outbox=True)
        eventually(lambda: job == [1])
        delivered_again(job, rabbitmq, eventually)
        with failing("workshed.completed_generations"):
            job.on.set()
            eventually(lambda: job == [1, 1])
        eventually(
            lambda: (
                rows("SELECT message_id FROM workshed.completed_generations")
                == [(message.message_id,)]
            )
        )
        eventually(lambda: rabbitmq.unacked("default") == rabbitmq.depth("default") == 0)


# Cancelled jobs


@pytest.mark.rabbitmq("a row that waits is deleted when it is cancelled")
def test_a_job_that_waits_in_rabbitmq_is_skipped_once_cancelled(job, working, rows, eventually):
    first, second = job.send(1), job.send(2)
    with db.transaction() as conn:
        assert cancellations.cancel(conn, first.message_id) == "will be skipped"

    with working("default"):
        eventually(lambda: rows("SELECT 1 FROM workshed.attempts"))
        eventually(lambda: job == [2])

    assert job == [2]
    cancelled = "SELECT message_id, outcome, reason FROM workshed.attempts"
    assert rows(cancelled) == [(first.message_id, "cancelled", "cancelled")]
    assert second.message_id != first.message_id


def test_a_worker_learns_of_a_cancel_while_it_holds_the_job(job, working, rows, eventually):
    """Read only at boot, the tombstone would come too late for prefetched jobs."""
    job.on.clear()

    with working("default", threads=1):
        job.send(1)
        eventually(lambda: job == [1])
        held = job.send(2)
        # A row that no worker has taken yet would be deleted, and no worker has to learn of it.
        eventually(lambda: not rows("SELECT FROM workshed.schedule WHERE claimed_by IS NULL"))
        with db.transaction() as conn:
            assert cancellations.cancel(conn, held.message_id) == "will be skipped"
        eventually(lambda: held.message_id in job.actor.broker._execution.cancelled_ids)
        job.on.set()
        eventually(lambda: rows("SELECT 1 FROM workshed.attempts WHERE reason = 'cancelled'"))

    assert job == [1]


@pytest.mark.rabbitmq("a relay publishes a job after it was cancelled")
def test_for_a_scheduled_copy_postgresql_is_asked_for_a_cancel(
    job, working, publish, rows, eventually
):
    """A relay may have published it just before; no worker keeps its id in memory for that."""
    message = job.actor.message(1)
    with db.transaction() as conn:
        cancellations.cancel(conn, message.message_id)
        conn.execute("UPDATE workshed.cancellations SET may_be_delivered = false")

    with working("default"):
        publish(message, outbox=True)
        eventually(lambda: rows("SELECT 1 FROM workshed.attempts WHERE reason = 'cancelled'"))

    assert job == []


@pytest.mark.rabbitmq("a row that waits is deleted when it is cancelled")
def test_a_cancelled_job_that_is_retried_runs(job, working, publish, rows, eventually):
    """A worker that remembers the cancel would discard it again, for as long as it lives."""
    message = job.send(1)
    with db.transaction() as conn:
        cancellations.cancel(conn, message.message_id)

    with working("default"):
        eventually(lambda: rows("SELECT 1 FROM workshed.attempts WHERE reason = 'cancelled'"))
        with db.transaction() as conn:
            cancellations.clear_cancellation(conn, message.message_id)
        publish(message.copy(options={"generation": 1}), outbox=True)
        eventually(lambda: job == [1])


def test_an_actor_that_skips_its_job_leaves_a_row(actor, working, rows, eventually):
    """dramatiq acks it without a trace."""

    @actor(queue_name="default")
    def leave():
        raise SkipMessage

    with working("default"):
        leave.send()
        found = eventually(lambda: rows("SELECT outcome, reason FROM workshed.attempts"))

    assert found == [("skipped", "the actor raised SkipMessage")]


# Poison jobs


def test_a_redelivered_job_records_its_start_and_its_end(job, working, publish, rows, eventually):
    job.on.clear()

    with working("default"):
        publish(job.actor.message(1), possible_duplicate=True)
        eventually(lambda: rows("SELECT isolated FROM workshed.redelivered_starts") == [(0,)])
        job.on.set()
        eventually(lambda: rows("SELECT 1 FROM workshed.redelivered_starts") == [])


@pytest.mark.parametrize("once", [False, True])
def test_a_copy_that_starts_while_the_other_ends_leaves_no_start(
    once, actor, working, publish, rows, count_jobs, connect, eventually
):
    """The outcome deletes starts, but this one is not stored yet: its row would stay."""
    on = threading.Event()

    @actor(queue_name="default", once=once)
    def pay(number):
        assert on.wait(60)

    message = pay.message(1)

    with working("default"), connect() as other:
        completed_generations.complete_generation(other, message.message_id, 0)
        publish(message, possible_duplicate=True)
        eventually(lambda: rows("SELECT 1 FROM workshed.redelivered_starts"))
        other.commit()
        on.set()
        eventually(lambda: count_jobs("default") == (0, 0))

    assert rows("SELECT 1 FROM workshed.redelivered_starts") == []


def test_a_copy_that_is_killed_meanwhile_leaves_no_start_either(
    job, working, publish, rows, rabbitmq, eventually
):
    message = job.actor.message(1)
    with db.transaction() as conn:
        completed_generations.complete_generation(conn, message.message_id, 0)
        starts.record_start(conn, message.message_id, 0, isolated=False, host="gone", pid=1)

    with working("default"):
        publish(message, possible_duplicate=True)
        eventually(lambda: rows("SELECT 1 FROM workshed.redelivered_starts") == [])

    assert job == []


def test_a_suspected_poison_job_runs_isolated(job, working, publish, rows, eventually):
    """If it died alongside others, all of them would be suspected."""
    job.on.clear()
    suspect = job.actor.message(3)
    with db.transaction() as conn:
        starts.record_start(conn, suspect.message_id, 0, isolated=False, host="gone", pid=1)

    with working("default", threads=3):
        job.send(1)
        eventually(lambda: job == [1])
        publish(suspect, possible_duplicate=True)
        work = job.actor.broker._execution.work
        eventually(lambda: len(work._isolated.items) == 1)
        job.send(2)
        eventually(lambda: work.qsize() == 2)
        assert job == [1]
        job.on.set()
        eventually(lambda: job == [1, 3, 2])

    assert rows("SELECT 1 FROM workshed.redelivered_starts") == []


def test_a_job_that_killed_its_worker_twice_while_isolated_is_dead(
    job, working, publish, rows, eventually
):
    killer = job.actor.message(1)
    with db.transaction() as conn:
        for _ in range(2):
            starts.record_start(conn, killer.message_id, 0, isolated=True, host="gone", pid=1)

    with working("default"):
        publish(killer, possible_duplicate=True)
        (reason,) = eventually(lambda: rows("SELECT reason FROM workshed.dead"))[0]

    assert reason.startswith("killed its worker: started 2 times as the only job")
    assert job == []
    assert rows("SELECT 1 FROM workshed.redelivered_starts") == []


# Old copies


@pytest.mark.rabbitmq("a row exists only until its job has ended")
def test_a_copy_older_than_the_deduplication_records_is_not_run(
    job, working, publish, rows, eventually
):
    """Its record may have been pruned: it could run a second time, a month later."""
    published = datetime.now(UTC) - timedelta(days=31)

    with working("default"):
        publish(
            job.actor.message(1),
            possible_duplicate=True,
            published_ms=int(published.timestamp() * 1000),
        )
        (reason,) = eventually(lambda: rows("SELECT reason FROM workshed.dead"))[0]

    assert "31 days ago" in reason
    assert job == []


def test_an_old_message_without_copies_runs(job, working, publish, eventually):
    published = datetime.now(UTC) - timedelta(days=300)

    with working("default"):
        publish(job.actor.message(1), published_ms=int(published.timestamp() * 1000))
        eventually(lambda: job == [1])


# Unknown actors


def test_a_job_of_an_unknown_actor_waits_for_the_next_release(
    job, actor, working, publish, rows, eventually
):
    """Dead-lettered at once, every new job would be dead during a rolling deploy."""
    message = job.actor.message(7).copy(actor_name="new")

    with working("default"):
        publish(message)
        found = "SELECT body FROM workshed.schedule WHERE reason = 'unknown_actor'"
        ((body,),) = eventually(lambda: rows(found))

        runs = []
        new = actor(actor_name="new", queue_name="default")(runs.append)
        later = type(message).decode(body.encode())
        rows("DELETE FROM workshed.schedule RETURNING 1")
        publish(later, outbox=True)
        eventually(lambda: runs == [7])

    assert (later.options["attempt"], later.options["generation"]) == (1, 1)
    assert new.broker is job.actor.broker


def test_while_an_actor_is_imported_other_jobs_run(
    job, actor, working, publish, rows, eventually, monkeypatch
):
    """The I/O thread imported it, and until then sent no acks and no heartbeats of any queue."""
    runs = []

    def imports(name):
        eventually(lambda: job == [7])
        actor(actor_name=name, queue_name="default")(runs.append)
        return True

    monkeypatch.setattr(job.actor.broker, "import_actor", imports)
    with working("default"):
        publish(job.actor.message(8).copy(actor_name="late"))
        job.send(7)
        eventually(lambda: runs == [8])

    assert rows("SELECT 1 FROM workshed.schedule") == []


def test_a_job_with_an_option_of_the_next_release_waits_for_it(
    job, working, publish, rows, eventually
):
    """It was dead at once and could not be retried, as if the option were invented."""
    message = job.actor.message(7).copy(options={"flavour": "mild"})

    with working("default"):
        publish(message)
        found = "SELECT body, reason FROM workshed.schedule WHERE generation > 0"
        ((body, reason),) = eventually(lambda: rows(found))

    assert reason == "unknown_actor"
    assert json.loads(body)["options"]["flavour"] == "mild"
    assert job == []
    assert rows("SELECT 1 FROM workshed.dead") == []


def test_after_an_hour_a_job_of_an_unknown_actor_is_dead(job, working, publish, rows, eventually):
    since = datetime.now(UTC) - timedelta(hours=2)
    options = {"unknown_actor_since": int(since.timestamp() * 1000)}
    message = job.actor.message(7).copy(actor_name="gone", options=options)

    with working("default"):
        publish(message)
        (reason, actor_name) = eventually(lambda: rows("SELECT reason, actor FROM workshed.dead"))[
            0
        ]

    assert "no actor 'gone'" in reason
    assert actor_name == "gone"


def test_a_dead_job_shows_where_its_program_failed(actor, working, rows, eventually, monkeypatch):
    """Neither a line of a library that it called, nor one of Workshed, which called it."""
    monkeypatch.setenv("WORKSHED_RELEASE", "r7")
    settings.cache_clear()

    @actor(queue_name="default", max_retries=0)
    def read(text):
        json.loads(text)

    with working("default"):
        read.send("{")
        [found] = eventually(
            lambda: rows("SELECT error_class, error_location, release FROM workshed.dead")
        )

    line = inspect.unwrap(read.fn).__code__.co_firstlineno + 2
    assert found == ("JSONDecodeError", f"brokers/test_executing.py:{line} in read", "r7")


def test_a_message_that_cannot_be_stored_as_dead_holds_up_no_other(
    job, working, publish, count_jobs, count_rejected, rows, failing, eventually
):
    """Retried in place, as the outcome of a job is, it would hold up all messages behind it."""
    with working("default"):
        with failing("workshed.dead"):
            publish(job.actor.message(1), body=b"not json")
            job.send(2)
            eventually(lambda: job == [2])
            eventually(lambda: count_jobs("default")[1] == 1)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        eventually(lambda: count_jobs("default")[1] == 0)

    assert count_rejected("default") == 0


# Paused queues


def test_a_paused_queue_starts_nothing_and_goes_on_later(job, working, count_jobs, eventually):
    job.on.clear()

    with working("default", threads=1):
        job.send(1)
        eventually(lambda: job == [1])
        job.send(2)
        eventually(lambda: count_jobs("default")[1] == 2)  # held, not started

        with db.transaction() as conn:
            assert queues.pause_queue(conn, "default")
        eventually(lambda: count_jobs("default")[0] == 1)
        job.on.set()
        job.send(3)
        eventually(lambda: count_jobs("default") == (2, 0))
        assert job == [1]

        with db.transaction() as conn:
            queues.resume_queue(conn, "default")
        eventually(lambda: job == [1, 2, 3])


def test_a_worker_that_boots_on_a_paused_queue_starts_nothing(job, working, count_jobs, eventually):
    job.send(1)
    with db.transaction() as conn:
        queues.declare_queues(conn, {"default": "quorum", "low": "quorum"})
        queues.pause_queue(conn, "default")

    with working("default"):
        eventually(lambda: job.actor.broker._consumption.inbox.is_paused("default"))
        assert job == []
        eventually(lambda: count_jobs("default") == (1, 0))
    assert job == []


def test_a_paused_queue_stays_paused_after_a_reconnect(job, working, rabbitmq, eventually):
    with working("default"):
        with db.transaction() as conn:
            queues.pause_queue(conn, "default")
        eventually(lambda: job.actor.broker._consumption.inbox.is_paused("default"))
        inbox = job.actor.broker._consumer_connection
        before = inbox._connection
        eventually(lambda: rabbitmq.close_connections("consumer"))
        eventually(lambda: inbox._connection is not before and inbox._connection.is_open)
        job.send(1)
        turns = inbox.link.loop_ticks
        eventually(lambda: inbox.link.loop_ticks > turns + 1)  # its channel is open by then
        assert job == []
        eventually(lambda: rabbitmq.depth("default") == 1)


# Quiet workers


@pytest.fixture
def this_worker(connect):
    """`this_worker()`: the only worker that beats."""
    conn = connect(autocommit=True)
    return lambda: workers.list_workers(conn)[0]


def test_a_quiet_worker_starts_nothing_and_goes_on_later(
    job, working, count_jobs, connect, this_worker, eventually
):
    conn = connect(autocommit=True)
    job.on.clear()

    with working("default", threads=1):
        job.send(1)
        eventually(lambda: job == [1])
        job.send(2)
        eventually(lambda: count_jobs("default")[1] == 2)  # held, not started

        assert workers.quiet_worker(conn, this_worker().id)
        eventually(lambda: count_jobs("default")[0] == 1)
        job.on.set()
        job.send(3)
        eventually(lambda: count_jobs("default") == (2, 0))
        assert job == [1]
        assert this_worker().state == "quiet"

        assert workers.resume_worker(conn, this_worker().id)
        eventually(lambda: sorted(job) == [1, 2, 3])


def test_a_queue_that_is_resumed_starts_nothing_in_a_quiet_worker(
    job, broker, connect, working, this_worker, eventually
):
    conn = connect(autocommit=True)

    with working("default"):
        queues.pause_queue(conn, "default")
        eventually(lambda: broker._consumption.inbox.is_paused("default"))
        workers.quiet_worker(conn, this_worker().id)
        watch, pausing = (
            broker._lifecycle._control_poller,
            broker._lifecycle._control_poller._pause_state,
        )
        eventually(lambda: watch._heartbeat.is_quiet)
        queues.resume_queue(conn, "default")
        eventually(lambda: pausing.is_quiet and not pausing._paused_queues)

        assert broker._consumption.inbox.is_paused("default")
        workers.resume_worker(conn, this_worker().id)
        eventually(lambda: not broker._consumption.inbox.is_paused("default"))


def test_a_worker_that_is_quiet_by_signal_is_not_resumed_by_an_operator(
    job, broker, connect, working, this_worker, eventually
):
    """Each source takes back only its own request."""
    conn = connect(autocommit=True)

    with working("default"):
        watch, pausing = (
            broker._lifecycle._control_poller,
            broker._lifecycle._control_poller._pause_state,
        )
        pausing.set_quiet("SIGCONT", enabled=True)
        workers.quiet_worker(conn, this_worker().id)
        eventually(lambda: watch._heartbeat.is_quiet)
        workers.resume_worker(conn, this_worker().id)
        eventually(lambda: not watch._heartbeat.is_quiet and len(pausing._quiet_requests) == 1)

        assert broker._consumption.inbox.is_paused("default")
        pausing.set_quiet("SIGCONT", enabled=False)
        eventually(lambda: not broker._consumption.inbox.is_paused("default"))


def test_a_worker_reports_its_running_jobs_and_its_memory(job, working, this_worker, eventually):
    job.on.clear()

    with working("default", threads=1):
        before = datetime.now(UTC)
        message = job.send(1)
        (one,) = eventually(lambda: this_worker().running)

        assert one == {
            "message_id": message.message_id,
            "actor": "note",
            "queue": "default",
            "since": one["since"],
        }
        assert before <= datetime.fromisoformat(one["since"]) <= datetime.now(UTC)
        assert this_worker().memory_bytes > 10 << 20
        job.on.set()
        eventually(lambda: this_worker().running == [])


# Relays


def test_a_worker_reports_when_no_relay_lives_and_works_on(
    job, working, broker, conn, eventually, caplog
):
    """Otherwise retries and delayed jobs would wait unnoticed."""
    caplog.set_level("INFO")
    beat = WorkerHeartbeat(broker._execution, broker._consumption.inbox, [], 1)
    pausing = PauseState(broker._consumption.inbox, broker._execution, frozenset())
    watch = ControlPoller(pausing, broker._execution, beat)
    with working("default"):
        for _ in range(POLLS_WITHOUT_RELAY):
            assert watch.is_ready
            watch.poll(conn)
        assert not watch.is_ready
        assert "no relay is running" in caplog.text
        job.send(1)
        eventually(lambda: job == [1])

        relays.record_relay(conn, uuid4(), "here", 1)
        watch.poll(conn)

    assert watch.is_ready
    assert "ready again" in caplog.text


# Long jobs


@pytest.mark.rabbitmq("the consumer timeout")
def test_a_delivery_that_waits_too_long_is_requeued(
    actor, broker, working, monkeypatch, eventually
):
    """RabbitMQ counts from the delivery: behind a long job it would close the channel of all."""
    broker.add_queue(Queue("slow", consumer_timeout=timedelta(seconds=8)))
    on, runs, given = threading.Event(), [], []
    give = broker._consumer_connection.settle_delivery
    monkeypatch.setattr(
        broker._consumer_connection,
        "settle_delivery",
        lambda *args: (given.append(args), give(*args)),
    )

    @actor(queue_name="slow", time_limit=4000, max_retries=0)
    def wait(number):
        runs.append(number)
        assert on.wait(60)

    with working("slow", threads=1):
        wait.send(1)
        eventually(lambda: runs == [1])
        wait.send(2)
        (verb, *_) = eventually(lambda: [how for what, how in given if what.args == (2,)])
        assert verb == "requeue"
        on.set()
        eventually(lambda: runs == [1, 2])


@pytest.mark.rabbitmq("the consumer timeout")
def test_a_time_limit_that_the_consumer_timeout_would_cut_is_refused(actor, broker, working):
    broker.add_queue(Queue("slow", consumer_timeout=timedelta(minutes=10)))

    @actor(queue_name="slow", time_limit=301_000)
    def long_one():
        """Never runs."""

    with pytest.raises(SystemExit), working("slow"):
        """Not reached."""


# Weights


def test_starts_are_shared_by_weight_under_backlog(actor, broker, working, eventually):
    """A single FIFO, as in dramatiq, divides starts by what happened to be prefetched."""
    weights = {"three": 3, "two": 2, "one": 1}
    started, lock = [], threading.Lock()
    for name, weight in weights.items():
        broker.add_queue(Queue(name, weight=weight, prefetch=64))

    def declare(name):
        @actor(queue_name=name, actor_name=f"on_{name}")
        def note():
            with lock:
                started.append(name)
            threading.Event().wait(0.005)  # longer than RabbitMQ takes to send the next message

        return note

    actors = {name: declare(name) for name in weights}
    for found in actors.values():
        for _ in range(300):
            found.send()

    with working(*weights, threads=4):
        eventually(lambda: len(started) == 900)

    backlog = started[60:540]  # all three have a backlog: not yet at the start, no more at the end
    for name, weight in weights.items():
        assert backlog.count(name) / len(backlog) == pytest.approx(weight / 6, rel=0.1)


def test_a_queue_with_the_only_backlog_has_all_threads(actor, broker, working, eventually):
    broker.add_queue(Queue("three", weight=3))
    broker.add_queue(Queue("one", weight=1))
    together, met = threading.Barrier(4), []

    @actor(queue_name="one")
    def meet():
        met.append(together.wait(60))

    @actor(queue_name="three")
    def other():
        """Has no work."""

    for _ in range(4):
        meet.send()
    with working("one", "three", threads=4):
        eventually(lambda: len(met) == 4)


def test_a_cap_bounds_running_and_held_jobs(actor, broker, working, count_jobs, eventually):
    broker.add_queue(Queue("heavy", cap=2))
    on, running, most = threading.Event(), [], []

    @actor(queue_name="heavy")
    def heavy(number):
        running.append(number)
        most.append(len(running))
        on.wait(60)
        running.remove(number)

    for number in range(6):
        heavy.send(number)
    with working("heavy", threads=4):
        eventually(lambda: len(running) == 2)
        eventually(lambda: count_jobs("heavy") == (4, 2))
        on.set()
        eventually(lambda: len(most) == 6)

    assert max(most) == 2


def test_boot_stores_the_queues_and_actors_in_postgresql(job, working, rows):
    with working("default"):
        found = dict(rows("SELECT name, queue FROM workshed.actors"))
        kinds = dict(rows("SELECT name, kind FROM workshed.queues"))

    assert found["note"] == "default"
    assert kinds["emails"] == "classic"
