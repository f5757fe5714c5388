"""Any history of copies, crashes, outcomes and operators, of jobs that are in batches.

The machine is that of `test_model.py`, with all it does to a job; added are the batches and their
callbacks.
"""

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import dramatiq
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from tests.library.integration.jobs import test_model as base
from workshed import db
from workshed.jobs.batches import batches, progress
from workshed.jobs.control import batch_cancellations
from workshed.jobs.locks import unique
from workshed.jobs.outbox import schedule
from workshed.middleware import Batches, RunLockLost
from workshed.transport.publishing.outgoing import awaiting_key, key_claim

EVENTS = ("success", "complete", "death")
TABLES = ("batches", "batch_callbacks", "batch_jobs")
# A trigger sees each stored callback, whatever the product remembers of it.
LOG = """
    CREATE TABLE IF NOT EXISTS public.notified (message_id text);
    CREATE OR REPLACE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.notified VALUES (NEW.message_id); RETURN NULL; END';
    CREATE OR REPLACE TRIGGER note AFTER INSERT ON workshed.schedule FOR EACH ROW
       WHEN (NEW.generation = 0 AND NEW.message_id LIKE '% of %') EXECUTE FUNCTION public.note();
    DELETE FROM public.notified;
"""
MOSTLY = st.sampled_from([True, True, True, False])
KINDS = st.sampled_from(
    ["succeeded", "succeeded", "succeeded", "dead", "dead", "discarded", "retry"]
)
ENDS = {
    None: {"pending"},
    "succeeded": {"succeeded"},
    "discarded": {"discarded", "cancelled"},  # a cancelled job that has started is discarded
    "cancelled": {"cancelled"},
    "replaced": {"cancelled"},
    "dead": {"dead"},
}


@dataclass
class Model:
    """The state of a committed batch."""

    closed: bool = False
    cancelled: bool = False
    members: list[str] = field(default_factory=list)
    notified: set[str] = field(default_factory=set)


class BatchJobs(base.Jobs):
    """Batches among jobs that die and come twice, as in `base.Jobs`."""

    send_directly = send_while_rabbitmq_is_away = send_with_a_lease = None
    send_one_that_expires = send_in_a_transaction = cancel_by_a_rule = None
    classic_queues_are_lost = send_a_unique_one = relay_puts_back_what_it_did_not_hear_of = None

    def __init__(self):
        super().__init__()
        self.batches: dict[str, Model] = {}
        self.execution.set_middleware([*base.CHAIN, Batches()])

    @initialize(size=st.integers(1, 3))
    def begin(self, size):
        with db.transaction() as conn:
            for table in TABLES:
                conn.execute(f"DELETE FROM workshed.{table}")  # noqa: S608 -- of a constant
            conn.execute(LOG)
        super().begin()
        self.make_a_batch(size, once=False, close=True, commits=True)

    # Not rules here: seldom useful, they would displace the others.

    def relay_takes_a_window(self, most=3):
        super().relay_takes_a_window(most)

    def relay_marks_what_was_confirmed(self):
        super().relay_marks_what_was_confirmed()

    def a_turn_runs_out(self):
        """No run lock is taken here."""

    def a_span_is_over(self):
        """No key expires here."""

    # Operators and jobs

    @rule(size=st.integers(0, 3), once=st.booleans(), close=MOSTLY, commits=MOSTLY)
    def make_a_batch(self, size, once, close, commits):
        """Create, fill and perhaps close a batch in one transaction, which may roll back."""
        batch = str(UUID(int=len(self.batches) + len(self.refused) + 1))
        notified = {
            event: base.row(message(f"{event} of {batch}"), "transactional") for event in EVENTS
        }
        members = [self._message("quorum", once, batch=batch) for _ in range(size)]
        with db.transaction() as conn:
            conn.execute(*batches.open_statement(batch, "", notified))
            self._add(conn, batch, members)
            if close:
                conn.execute(*batches.close_statement(batch))
            if not commits:
                conn.rollback()
        if not commits:
            self.refused.append(batch)
            for one in members:
                self.refused.append(one.message_id)
                del self.sent[one.message_id]
            return
        self.batches[batch] = Model(close, members=[one.message_id for one in members])

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), once=st.booleans())
    def add_to_a_batch(self, data, once):
        """Add from outside of any job, which works only while the batch is open."""
        batch, model = self._any(data)
        one = self._message("quorum", once, batch=batch)
        self._try_to_add(batch, one, None, allowed=not (model.closed or model.cancelled))

    @precondition(lambda self: self._of_batches())
    @rule(data=st.data(), once=st.booleans())
    def add_from_within(self, data, once):
        """Add from a run, in a transaction of its own; a run may go on after its job has ended."""
        run = data.draw(st.sampled_from(self._of_batches()))
        batch = run.job.message.options["batch"]
        model = self.batches[batch]
        alive = self.sent[run.job.message_id].ended is None
        one = self._message("quorum", once, batch=batch)
        allowed = not model.cancelled and (alive or not model.closed)
        self._try_to_add(batch, one, run.job.message_id, allowed=allowed)

    @precondition(lambda self: self.batches)
    @rule(
        data=st.data(),
        key=st.sampled_from(["a", "b"]),
        how=st.sampled_from(["log", "replace", "reschedule"]),
    )
    def add_a_unique_one(self, data, key, how):
        """A job that replaces another ends it, in whichever batch that is."""
        batch, model = self._any(data)
        actor = "until_executed"
        one = self._message(
            "quorum", once=False, actor=actor, args=(key,), on_conflict=how, batch=batch
        )
        base.UNIQUENESS.before_enqueue(base.BROKER, one, None)
        claim = key_claim(one, base.NOW)
        with db.transaction() as conn:
            problem = conn.execute(*batches.refusal_statement(batch, None)).fetchone()[0]
            before = base.holder(conn, claim.key)
            winner = None
            if not problem:
                later = awaiting_key(one).encode().decode() if how == "reschedule" else None
                statement = unique.insert_with_key_statement(
                    base.row(one, "transactional"), claim, base.NOW, None, later
                )
                (winner,) = conn.execute(*statement).fetchone()
            joins = not problem and (winner == one.message_id or how == "reschedule")
            if joins:
                conn.execute(*batches.join_statement(batch, [one.message_id]))
        assert bool(problem) == (model.closed or model.cancelled)
        if not joins:
            self._forget(one)
            return
        model.members.append(one.message_id)
        if winner != one.message_id:
            self.sent[one.message_id].waits = True
        elif before is not None:
            assert how == "replace"
            self.sent[before].ended = self.sent[before].ended or "replaced"

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def close_a_batch(self, data):
        batch, model = self._any(data)
        with db.transaction() as conn:
            found = conn.execute(*batches.close_statement(batch)).fetchone() == ("true",)
        assert found == (not model.closed)
        model.closed = True

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def cancel_a_batch(self, data):
        batch, model = self._any(data)
        pending = self._pending(model)
        with db.transaction() as conn:
            found = conn.execute(*batches.cancel_statement(batch)).fetchone() == ("true",)
        assert found == ("complete" not in model.notified or bool(pending))
        if found:
            model.cancelled = model.closed = True
            for message_id in pending:
                self.sent[message_id].cancelled = True

    @rule(kinds=st.lists(KINDS, min_size=1, max_size=4), marks=MOSTLY, acks=MOSTLY)
    def work_off_some(self, kinds, marks, acks):
        """Run jobs soon after they were stored, with nothing in between, as is usual."""
        self.relay_takes_a_window()
        if marks:
            self.relay_marks_what_was_confirmed()
        for copy, kind in zip(list(self.bag), kinds, strict=False):
            run = self._start(copy, isolated=True)
            if run is not None:
                self._end(run, kind, acks=acks)

    @rule()
    def relay_cancels_what_waits(self):
        with db.transaction() as conn:
            ids = batch_cancellations.cancel_waiting_jobs(conn, 100)
            for message_id in ids:
                self.sent[message_id].cancelled = True
                if self._state(conn, message_id) == "cancelled":
                    self.sent[message_id].ended = "cancelled"

    # What must hold

    @invariant()
    def a_job_is_counted_as_it_ended(self):
        with db.transaction() as conn:
            for batch, model in self.batches.items():
                states = {one: self._state(conn, one) for one in model.members}
                for one, state in states.items():
                    assert state in ENDS[self.sent[one].ended], f"{one} is {state}"
                found = progress.get_progress(conn, batch)
                counted = Counter(states.values())
                assert found.total == len(model.members)
                for state in ("pending", "succeeded", "discarded", "cancelled", "dead"):
                    assert getattr(found, state) == counted[state]
            (rows,) = conn.execute("SELECT count(*) FROM workshed.batch_jobs").fetchone()
            (made,) = conn.execute("SELECT count(*) FROM workshed.batches").fetchone()
        assert rows == sum(len(model.members) for model in self.batches.values())
        assert made == len(self.batches)

    @invariant()
    def each_event_is_sent_once_when_it_has_come(self):
        self._learn()
        with db.transaction() as conn:
            notified = Counter(
                name for (name,) in conn.execute("SELECT message_id FROM public.notified")
            )
        wanted = {
            f"{event} of {batch}": 1
            for batch, model in self.batches.items()
            for event in model.notified
        }
        assert notified == wanted

    def teardown(self):
        """Close all batches so that all jobs end; then every event must have been sent."""
        with db.transaction() as conn:
            for batch, model in self.batches.items():
                conn.execute(*batches.close_statement(batch))
                model.closed = True
        super().teardown()
        self.a_job_is_counted_as_it_ended()
        self.each_event_is_sent_once_when_it_has_come()
        assert all("complete" in model.notified for model in self.batches.values())

    def _learn(self):
        """Note which events have come; from then on a callback is a job like any other."""
        with db.transaction() as conn:
            for batch, model in self.batches.items():
                states = {self._state(conn, one) for one in model.members}
                before = set(model.notified)
                if "dead" in states:
                    model.notified.add("death")
                if model.closed and "pending" not in states:
                    model.notified.add("complete")
                    if not model.cancelled and not states & {"dead", "cancelled"}:
                        model.notified.add("success")
                for event in model.notified - before:
                    self.sent[f"{event} of {batch}"] = base.Sent(once=False)

    def _end(self, run, kind, *, acks):
        super()._end(run, kind, acks=acks)
        self._learn()

    def _conclude(self, run, outcome):
        self._learn()
        super()._conclude(run, outcome)

    def _work_off(self, copy):
        self._learn()
        super()._work_off(copy)
        self._learn()

    def _start(self, copy, *, isolated):
        self._learn()
        return super()._start(copy, isolated=isolated)

    def _run_once(self, run):
        """A job in a batch adds another in the transaction of its own end."""
        sent = self.sent[run.job.message_id]
        batch = run.job.message.options.get("batch")
        before = sent.ended
        added = []

        def work():
            if batch is None or len(self.batches[batch].members) > 8:
                return
            with db.transaction() as conn:
                statement = batches.refusal_statement(batch, run.job.message_id)
                if not conn.execute(*statement).fetchone()[0]:
                    one = self._message("quorum", once=False, batch=batch)
                    added.append(one)
                    self._add(conn, batch, [one])

        base.ONCE._current.job = run.job
        try:
            base.ONCE._wrap(self.execution, "work", work)()
        except RunLockLost:
            raise AssertionError("these take no turns") from None
        if run.job.outcome.kind == "duplicate":  # and what it wrote is undone
            for one in added:
                self._forget(one)
            sent.ended = before
            return
        if batch is not None:
            self.batches[batch].members += [one.message_id for one in added]
        sent.effects += 1
        sent.ended = "succeeded"
        self._learn()

    def _try_to_add(self, batch, one, adder, *, allowed):
        with db.transaction() as conn:
            problem = conn.execute(*batches.refusal_statement(batch, adder)).fetchone()[0]
            if not problem:
                self._add(conn, batch, [one])
        assert (not problem) == allowed, problem
        if problem:
            self._forget(one)
        else:
            self.batches[batch].members.append(one.message_id)

    def _add(self, conn, batch, members):
        for one in members:
            schedule.insert_row(conn, base.row(one, "transactional"))
        conn.execute(*batches.join_statement(batch, [one.message_id for one in members]))

    def _forget(self, one):
        self.refused.append(one.message_id)
        del self.sent[one.message_id]

    def _any(self, data):
        batch = data.draw(st.sampled_from(sorted(self.batches)))
        return batch, self.batches[batch]

    def _of_batches(self):
        return [run for run in self.open if "batch" in run.job.message.options]

    def _pending(self, model):
        return [one for one in model.members if self.sent[one].ended is None]

    def _state(self, conn, message_id):
        query = "SELECT state FROM workshed.batch_jobs WHERE message_id = %s"
        found = conn.execute(query, (message_id,)).fetchone()
        return None if found is None else found[0]


def message(message_id):
    return dramatiq.Message("default", "work", (), {}, {}, message_id)


@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("database")
def test_any_history_counts_each_job_and_sends_each_event_once(scale, lane):
    run_state_machine_as_test(
        BatchJobs,
        settings=settings(
            max_examples=lane(sample=8, exhaustive=scale(3_000, by=100)),  # each takes seconds
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[phase for phase in Phase if phase != Phase.explain],
        ),
    )
