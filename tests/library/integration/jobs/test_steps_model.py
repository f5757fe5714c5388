"""Any history of copies, crashes and deploys of jobs in steps: each block has its effect once.

The machine is that of `test_model.py`, with what it does to a job. Here a job also has a body,
which can pause at any point while other bodies run. Only one thread runs at a time.
"""

import threading
from collections import defaultdict
from datetime import timedelta
from queue import SimpleQueue

import pytest
from dramatiq.middleware import Shutdown, TimeLimitExceeded
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test
from psycopg import OperationalError

from tests.library.integration.jobs import test_model as base
from workshed import db
from workshed.errors import PermanentError
from workshed.interrupts import thread_gate
from workshed.jobs import Cancelled, OpenTransactionError, Snooze, context, step
from workshed.jobs.control import cancellations
from workshed.jobs.outbox import schedule
from workshed.middleware import Outcome, decide_outcome
from workshed.middleware.retrying.retries import run_facts
from workshed.transport.relay.maintenance import Maintenance

BLOCKS = 3
MOST_JOBS = 3
"""Living jobs; few, so that much happens to each."""
MOST_COPIES = 5
MOST_OPEN = 4
"""Open runs, each of which may be in a transaction; the pool has 8 connections."""
RETENTION, MONTH = timedelta(days=30), timedelta(days=31)
FIRST_RELEASE, ADDED = ["move", "close"], ["check", "tell"]
BY_HAND = {"close", "tell"}
"""Steps that save in a transaction of their own instead of by `transaction`."""
WRITTEN = """
    CREATE TABLE IF NOT EXISTS public.written (
        id bigint GENERATED ALWAYS AS IDENTITY, message_id text, name text, number integer);
    DELETE FROM public.written;
    DELETE FROM workshed.steps;
"""


class Died(BaseException):
    """The process is gone: open transactions are rolled back, and the job has no outcome."""


FAILURES = (OSError, OperationalError, TimeLimitExceeded, Shutdown, PermanentError)
SAID = (*FAILURES, Snooze, Cancelled)
"""The errors that a body may end with; any other is a finding."""
STANDS = ["begun", "open", "written", "committed", "last", "between steps"]
"""Points where other bodies may run: no row is locked."""
ERRORS = st.sampled_from([Died, Died, *FAILURES, PermanentError])
END = "end", None
STOP = st.tuples(st.sampled_from(STANDS), st.none())
FAIL = st.tuples(st.sampled_from([*STANDS, "saved"]), ERRORS)
UNHEARD = st.tuples(st.just("commit"), st.sampled_from([TimeLimitExceeded, OperationalError]))
MOSTLY = st.sampled_from([True, True, True, False])
REFUSED = st.just(("refused", None))
ORDERS = st.one_of(STOP, STOP, STOP, FAIL, FAIL, FAIL, UNHEARD, REFUSED, st.just(END))
"""The point to which a body runs, and the error it raises there."""
STRUCK = st.tuples(st.just("here"), ERRORS)


class Body:
    """The function of a run, in its own thread; it runs only when `go` lets it."""

    def __init__(self, job, function):
        self.ended = False
        self._orders, self._news = SimpleQueue(), SimpleQueue()
        threading.Thread(target=self._run, args=(job, function), daemon=True).start()

    def go(self, order):
        """Let it go on; return the exception it raised, if it has ended."""
        self._orders.put(order)
        self.ended, error = self._news.get(timeout=60)
        return error

    def at(self, point):
        """Pass a point; if it was sent to this one, pause or fail here."""
        if point != self._to:
            return
        if self._error is not None:
            self._to = "end"
            raise self._error("said")
        self._news.put((False, None))
        self._to, self._error = self._orders.get()
        if self._to == "here":
            raise self._error

    def meets(self, point):
        """Return whether it was sent to this point; if so, it then runs to its end."""
        met, self._to = point == self._to, "end" if point == self._to else self._to
        return met

    def strike_in_commit(self):
        """If ordered to, let the commit succeed and raise before the caller learns of it."""
        if not self.meets("commit"):
            return False
        thread_gate()._pending = self._error  # as `strike` does while the gate is shut
        return True

    def _run(self, job, function):
        self._to, self._error = self._orders.get()
        context.enter_job(job)
        error = None
        try:
            function(self)
        except BaseException as err:  # noqa: BLE001 -- its thread asks for it
            error = err
        self._news.put((True, error))


class StepJobs(base.Jobs):
    """Jobs of steps over numbered blocks, whose runs die and whose copies run at the same time."""

    send_directly = send_in_a_transaction = send_with_a_lease = send_a_unique_one = None
    send_one_that_expires = send_while_rabbitmq_is_away = cancel_by_a_rule = None
    classic_queues_are_lost = relay_puts_back_what_it_did_not_hear_of = None
    work = end = worker_dies = None
    a_lock_has_a_job = a_job_has_its_lock = one_has_the_turn = None

    def __init__(self):
        super().__init__()
        self.release = list(FIRST_RELEASE)
        self.bodies: dict[base.Run, Body] = {}
        self.steps: dict[tuple[str, str], tuple[int | None, bool]] = {}
        """The saved cursor by job and step name, and whether the step is done."""
        self.blocks: dict[tuple[str, str], int] = defaultdict(int)
        """The number of committed blocks, never forgotten."""
        self.owners: dict[tuple[str, str], base.Run] = {}
        """The run that last began a step."""

    @initialize()
    def begin(self):
        with db.transaction() as conn:
            conn.execute(WRITTEN)
        super().begin()
        self.send(directly=True, outbox=True)

    # Not rules here: the other machines have them, and steps need nothing of them.

    def relay_takes_a_window(self, most=3):
        super().relay_takes_a_window(most)

    def relay_marks_what_was_confirmed(self):
        super().relay_marks_what_was_confirmed()

    def relay_dies(self):
        super().relay_dies()

    def cancel(self, data):
        super().cancel(data)

    def a_turn_runs_out(self):
        """No run lock is taken here."""

    def a_span_is_over(self):
        """No key expires here."""

    # Senders and relays

    @precondition(lambda self: not self.bag and len(self._living()) < MOST_JOBS)
    @rule(directly=st.booleans(), outbox=st.booleans())
    def send(self, directly, outbox):
        message = self._message("quorum", once=False)
        if directly:
            self._publish(message, outbox=outbox)
            return
        with db.transaction() as conn:
            schedule.insert_row(conn, base.row(message, "transactional"))

    def relay_works(self, *, month, marks):
        """Run maintenance, perhaps after a month, and send due jobs; the relay may die then."""
        self._keep_house(month=month)
        self.relay_takes_a_window()
        if marks:
            self.relay_marks_what_was_confirmed()
        else:
            self.relay_dies()

    # Workers

    @precondition(lambda self: 0 < len(self.bag + self.open) < MOST_COPIES)
    @rule(data=st.data())
    def a_copy_is_delivered_twice(self, data):
        super().a_copy_is_delivered_twice(data)

    def start(self, data, order, *, isolated, acks):
        """Deliver any copy, also while another copy runs."""
        run = self._start(data.draw(st.sampled_from(self.bag)), isolated=isolated)
        if run is not None:
            self._go(run, order, acks=acks)

    @rule(
        data=st.data(),
        orders=st.lists(st.one_of(ORDERS, STRUCK), min_size=1, max_size=4),
        month=st.booleans(),
        isolated=st.booleans(),
        acks=MOSTLY,
    )
    def run_some(self, data, orders, month, isolated, acks):
        """Start deliveries or resume paused runs; a worker may die before it acknowledges."""
        self.relay_works(month=month, marks=acks)
        for order in orders:
            if self.open and (data.draw(st.booleans()) or len(self.open) == MOST_OPEN):
                self._go(data.draw(st.sampled_from(self.open)), order, acks=acks)
            elif self.bag and order[0] != "here":
                self.start(data, order, isolated=isolated, acks=acks)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), stops=st.booleans())
    def has_to_leave(self, data, stops):
        """The worker stops, or learns that an operator cancelled the job."""
        job = data.draw(st.sampled_from(self.open)).job
        if stops:
            job.worker_stopping = threading.Event()
            job.worker_stopping.set()
            return
        with db.transaction() as conn:
            if cancellations.cancel(conn, job.message_id) == "deleted":
                self.sent[job.message_id].ended = "cancelled"
        self.sent[job.message_id].cancelled = job.cancelled = True

    @precondition(lambda self: len(self.release) < len(FIRST_RELEASE + ADDED))
    @rule(data=st.data())
    def deploy_a_step(self, data):
        """Runs that start from now on have one more step; earlier runs go on without it."""
        place = data.draw(st.integers(0, len(self.release)))
        name = ADDED[len(self.release) - len(FIRST_RELEASE)]
        self.release = [*self.release[:place], name, *self.release[place:]]

    @precondition(lambda self: self._dead())
    @rule(data=st.data())
    def redrive(self, data):
        super().redrive(data)

    # What must hold

    @invariant()
    def each_block_is_written_once_and_in_order(self):
        query = """
            SELECT message_id, name, array_agg(number ORDER BY id)
              FROM public.written GROUP BY 1, 2
        """
        with db.transaction() as conn:
            found = {(one, name): numbers for one, name, numbers in conn.execute(query)}
        assert found == {key: list(range(1, n + 1)) for key, n in self.blocks.items() if n}

    @invariant()
    def what_is_saved_is_what_was_written(self):
        """Steps of living and dead jobs are complete; those of ended jobs are kept until pruned."""
        query = "SELECT message_id, name, cursor, done FROM workshed.steps"
        with db.transaction() as conn:
            found = {(one, name): saved for one, name, *saved in conn.execute(query)}
        assert found == {key: list(saved) for key, saved in self.steps.items()}

    def teardown(self):
        """Let the open runs die and all jobs end; none may have left out a step."""
        try:
            while self.open:
                self._go(self.open[0], ("here", Died), acks=True)
            super().teardown()
            self.each_block_is_written_once_and_in_order()
            self.what_is_saved_is_what_was_written()
            self._keep_house(month=True)
            with db.transaction() as conn:  # a copy of a job that has ended may have died
                assert {key[0] for key in self.steps} <= _waiting_or_dead(conn)
            self.what_is_saved_is_what_was_written()
        finally:
            for body in self.bodies.values():
                if not body.ended:
                    body.go(("here", Died))

    # What runs

    def _start(self, copy, *, isolated):
        run = super()._start(copy, isolated=isolated)
        if run is not None:
            names = list(self.release)
            self.bodies[run] = Body(run.job, lambda body: self._work(run, body, names))
        return run

    def _go(self, run, order, *, acks):
        """Resume a run, and store its outcome if it ends."""
        body = self.bodies[run]
        error = body.go(order)
        if not body.ended:
            return
        self.open.remove(run)
        if error is not None and not isinstance(error, SAID):
            self._deliver_again(run.copy)
            if isinstance(error, Died):
                return
            raise error
        policy = base.RETRIES.policy(base.ACTORS["work"], run.job)
        outcome = (
            decide_outcome(error, run_facts(run.job), policy) if error else Outcome("succeeded")
        )
        self._conclude(run, outcome)
        if not acks:
            self._deliver_again(run.copy)

    def _work_off(self, copy):
        self.bag.append(copy)
        run = self._start(copy, isolated=True)
        if run is not None:
            self._go(run, END, acks=True)

    def _work(self, run, body, names):
        """Run the steps, as an actor does."""
        for name in names:
            step(name, self._write_blocks, run, body)
            key = run.job.message_id, name
            assert self.steps[key][0] == BLOCKS
            self.steps[key] = BLOCKS, True
            body.at("between steps")

    def _write_blocks(self, progress, run, body):
        key = run.job.message_id, progress.name
        self.owners[key] = run
        assert self.steps.setdefault(key, (None, False)) == (progress.cursor, False)
        body.at("begun")
        while (progress.cursor or 0) < BLOCKS:
            if body.meets("refused"):
                self._is_refused(progress, key)
            try:
                self._write_one(progress, run, body)
            except OperationalError:
                if progress.name in BY_HAND:
                    raise
            body.at("committed")  # or tries again here, if it was not committed
        body.at("last")

    def _write_one(self, progress, run, body):
        key, number = (run.job.message_id, progress.name), (progress.cursor or 0) + 1
        by_hand = progress.name in BY_HAND
        leaves = (run.job.cancelled or run.job.is_stopping) and not by_hand
        unheard = False
        try:
            with db.transaction() if by_hand else progress.transaction() as conn:
                assert not leaves, "it should have stopped before this block"
                body.at("open")
                _write(conn, key, number)
                body.at("written")
                if by_hand:
                    progress.save(conn, number)
                    body.at("saved")
                else:
                    progress.cursor = number
                unheard = body.strike_in_commit()
        except BaseException:
            if unheard and self.owners[key] is run:
                self._committed(run, key, number)
            raise
        self._committed(run, key, number)

    def _committed(self, run, key, number):
        assert self.owners[key] is run, "another run has begun this step since"
        assert number == self.blocks[key] + 1, "this block is not the next one"
        self.blocks[key] = number
        self.steps[key] = number, False

    def _is_refused(self, progress, key):
        """A transaction that belongs to another caller, or none at all, saves nothing."""
        before = progress.cursor
        with pytest.raises(OpenTransactionError):
            _write_and(key, lambda: progress.transaction().__enter__())
        with pytest.raises(OpenTransactionError):
            _write_and(key, lambda: step("in another", print))
        with pytest.raises(OpenTransactionError), db.autocommit_statement() as conn:
            progress.save(conn, BLOCKS)
        assert progress.cursor == before

    def _keep_house(self, *, month):
        """Delete what is old; a month passes only for jobs that wait or are dead."""
        moving = {copy.message.message_id for copy in self.bag}
        moving |= {run.job.message_id for run in self.open}
        age = "UPDATE workshed.steps SET saved_at = saved_at - %s WHERE message_id <> ALL(%s)"
        with db.transaction() as conn:
            if month:
                conn.execute(age, (MONTH, list(moving)))
            Maintenance(RETENTION)(conn)
            kept = moving | _waiting_or_dead(conn)
        if month:
            for message_id, name in [key for key in self.steps if key[0] not in kept]:
                assert self.sent[message_id].ended not in {None, "dead"}
                del self.steps[message_id, name]

    def _living(self):
        return {one for one, sent in self.sent.items() if sent.ended is None}

    def _dead(self):
        return {one for one, sent in self.sent.items() if sent.ended == "dead"}


def _waiting_or_dead(conn):
    query = "SELECT message_id FROM workshed.schedule UNION SELECT message_id FROM workshed.dead"
    return {message_id for (message_id,) in conn.execute(query)}


def _write_and(key, then):
    with db.transaction() as conn:
        _write(conn, key, 0)
        then()


def _write(conn, key, number):
    query = "INSERT INTO public.written (message_id, name, number) VALUES (%s, %s, %s)"
    conn.execute(query, (*key, number))


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("database")
def test_any_history_writes_each_block_once(scale, lane):
    """Fails without owners, with cursors that commit separately, if the steps of a living job are
    pruned, or if a run goes on after a commit whose result it does not know."""
    run_state_machine_as_test(
        StepJobs,
        settings=settings(
            max_examples=lane(sample=5, exhaustive=scale(1_000, by=100)),  # each is half a second
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[phase for phase in Phase if phase != Phase.explain],
        ),
    )
