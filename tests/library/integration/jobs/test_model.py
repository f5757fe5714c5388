"""Any history of copies, crashes and outcomes, over real PostgreSQL: nothing lost, nothing twice.

RabbitMQ is modelled as a bag: it may deliver any copy it holds at any time, also as a possible
duplicate, and may lose the content of a classic queue. The rest is the code that runs in
production: schedule, windows, leases, deduplication, middleware. A crash may come between any two
of its transactions.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import dramatiq
import pytest
from dramatiq.middleware import SkipMessage, TimeLimitExceeded
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from workshed import db
from workshed.jobs.control import cancel_rules, cancellations, queues
from workshed.jobs.dead import dead_jobs
from workshed.jobs.locks import limits, unique
from workshed.jobs.locks.unique import KeyClaim
from workshed.jobs.outbox import claims, leases, relays, schedule
from workshed.jobs.outbox.schedule import OutboxRow
from workshed.middleware import (
    INTERRUPTED,
    Cancellation,
    Deduplication,
    DiscardRecorder,
    DuplicateDelivery,
    Expiry,
    Job,
    Limit,
    Limits,
    OncePerMessage,
    Outcome,
    OutcomeKnown,
    Retries,
    RunIsolated,
    RunLockLost,
    Unique,
    Uniqueness,
    decide_outcome,
)
from workshed.middleware.retrying.retries import run_facts
from workshed.transport.consuming.consumer import ConsumerConnection
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.publishing.outgoing import awaiting_key, key_claim

NOW = timedelta()
LEASE = timedelta(hours=1)
TABLES = (
    "schedule, relays, completed_generations, attempts, dead, redelivered_starts, once_keys, "
    "unique_locks, run_locks, cancellations, cancel_rules, limits, limit_slots, limit_starts, "
    "limit_waiters"
)
FENCE = Deduplication(timedelta(days=30))
EXPIRY = Expiry()
UNIQUENESS = Uniqueness()
LIMITS = Limits()
RETRIES = Retries(3, NOW)
CHAIN = [Cancellation(), FENCE, UNIQUENESS, LIMITS, RETRIES, DiscardRecorder()]
ONCE = OncePerMessage()
HOUR = timedelta(hours=1)
STRATEGIES = {
    "work": None,
    "until_executing": Unique("until_executing"),
    "until_executed": Unique("until_executed"),
    "until_expired": Unique("until_expired", unique_for=HOUR),
    "while_executing": Unique("while_executing"),
    "until_and_while_executing": Unique("until_and_while_executing"),
}
LIMITED = "limited "
AT_A_TIME, OF_A_KEY, WITHIN = 2, 1, 4
ITS_LIMITS = [
    Limit.concurrent(AT_A_TIME, name="all"),
    Limit.concurrent(OF_A_KEY, key=["key"], name="each"),
    Limit.window(WITHIN, per=HOUR, name="all"),
]


def actor_of(name):
    """The attributes of an actor that middleware reads."""
    rule = STRATEGIES[name.removeprefix(LIMITED)]
    options = {} if rule is None else {"unique": rule}
    if name.startswith(LIMITED):
        options["limit"] = ITS_LIMITS
    return SimpleNamespace(actor_name=name, fn=lambda key=None: None, options=options)


ACTORS = {
    name: actor_of(name) for strategy in STRATEGIES for name in (strategy, LIMITED + strategy)
}
BROKER = SimpleNamespace(actors=ACTORS, get_actor=ACTORS.__getitem__)
for limited in ACTORS.values():
    LIMITS.before_declare_actor(BROKER, limited)
DUE = """
    UPDATE workshed.schedule AS s
       SET due_at = workshed.now() - first.place * interval '1 ms'
      FROM (SELECT message_id, generation, row_number() OVER (ORDER BY message_id,
                                                              generation) AS place
              FROM workshed.schedule) AS first
     WHERE (s.message_id, s.generation) = (first.message_id, first.generation) AND s.sent_at IS NULL
"""
"""In one order, whatever the order in the table: hypothesis repeats a history."""
KINDS = {"quorum": "default", "classic": "emails"}
WENT = {"replaced", "cancelled"}
"""How a waiting job can end without running."""


OUTCOMES = st.sampled_from(
    ["succeeded", "succeeded", "retry", "time limit", "snoozed", "interrupted", "discarded", "dead"]
)


@dataclass(eq=False)
class Copy:
    """A message that RabbitMQ holds."""

    message: dramatiq.Message
    outbox: bool
    possible_duplicate: bool = False
    redelivered: bool = False

    @property
    def key(self):
        return self.message.message_id, self.message.options.get("generation", 0)


@dataclass(eq=False)
class Run:
    """A delivery that a worker is processing."""

    copy: Copy
    job: Job
    silent: bool = False
    """Its process was stopped for longer than its leases."""


@dataclass
class Sent:
    """The state of a message whose send has returned or committed."""

    once: bool
    strategy: str = "work"
    waits: bool = False
    """It did not have its key yet, or lost it when it died."""
    done: int = 0
    """How many of its runs succeeded, as the worker saw it."""
    effects: int = 0
    """How often the write that must happen once was committed."""
    ended: str | None = None
    cancelled: bool = False
    started: bool = False


class Jobs(RuleBasedStateMachine):
    """Senders, relays and workers, each of which may die at any time."""

    prefix = ""
    """Prefix of the actor names."""

    def __init__(self):
        super().__init__()
        self.bag: list[Copy] = []
        self.open: list[Run] = []
        self.sent: dict[str, Sent] = {}
        self.taken: list[claims.ClaimedRow] = []
        self.refused: list[str] = []
        self.outcomes: Counter[tuple[str, int]] = Counter()
        self.execution = JobExecutor(ConsumerConnection([], "model"), timedelta(hours=1))
        self.execution.set_middleware(CHAIN)

    @initialize()
    def begin(self):
        with db.transaction() as conn:
            for table in TABLES.split(", "):
                conn.execute(f"DELETE FROM workshed.{table}")  # noqa: S608 -- of a constant
            queues.declare_queues(conn, {queue: kind for kind, queue in KINDS.items()})
        self._new_relay()

    # Senders

    @rule(once=st.booleans())
    def send_directly(self, once):
        """A plain send: it has no row, and no relay marks its copy."""
        self._publish(self._message("quorum", once), outbox=False)

    @rule(kind=st.sampled_from(sorted(KINDS)), once=st.booleans())
    def send_in_a_transaction(self, kind, once):
        message = self._message(kind, once)
        with db.transaction() as conn:
            schedule.insert_row(conn, row(message, "transactional"))

    @rule(
        kind=st.sampled_from(sorted(KINDS)),
        key=st.sampled_from([None, "a", "b"]),
        once=st.booleans(),
        dies=st.sampled_from(["before publish", "after publish", "no"]),
    )
    def send_with_a_lease(self, kind, key, once, dies):
        """A send to a classic queue or of a unique job: its row commits first."""
        message = self._message(kind, once, **({"unique_key": key} if key else {}))
        with db.transaction() as conn:
            if key is not None:
                winner = unique.acquire_key(conn, KeyClaim(key, message.message_id, 0, "work", "q"))
                if winner != message.message_id:
                    self.refused.append(message.message_id)
                    del self.sent[message.message_id]
                    return
            leases.insert_leases(conn, [row(message, "outbox_lease")], LEASE)
        if dies == "before publish":
            return
        self._publish(message, outbox=True)
        if dies == "no":
            with db.transaction() as conn:
                mark = leases.keep_until_outcome if kind == "classic" else leases.delete_leases
                mark(conn, [(message.message_id, 0)])

    @rule(
        strategy=st.sampled_from(sorted(STRATEGIES.keys() - {"work"})),
        key=st.sampled_from(["a", "b"]),
        how=st.sampled_from(["log", "raise", "replace", "reschedule"]),
        once=st.booleans(),
        delayed=st.booleans(),
        at_once=st.booleans(),
    )
    def send_a_unique_one(self, strategy, key, how, once, delayed, at_once):
        """Send in a transaction, as `schedule.send` does; a delay changes only the due time."""
        message = self._message(
            "quorum", once, actor=self.prefix + strategy, args=(key,), on_conflict=how
        )
        sent = self.sent[message.message_id]
        UNIQUENESS.before_enqueue(BROKER, message, None)
        claim = key_claim(message, NOW)
        with db.transaction() as conn:
            if claim is None:
                schedule.insert_row(conn, row(message, "transactional"))
                return
            before = holder(conn, claim.key)
            later = awaiting_key(message).encode().decode() if how == "reschedule" else None
            statement = unique.insert_with_key_statement(
                row(message, "delayed"), claim, HOUR if delayed else NOW, None, later
            )
            (winner,) = conn.execute(*statement).fetchone()
        if winner == message.message_id:
            if before is not None:
                assert how == "replace"
                replaced = self.sent[before]
                replaced.ended = replaced.ended or "replaced"
        elif how == "reschedule":
            sent.waits = True
        else:
            assert how in {"log", "raise"}
            self.refused.append(message.message_id)
            del self.sent[message.message_id]
        if at_once:
            self.relay_takes_a_window()

    @rule()
    def a_turn_runs_out(self):
        """A process was stopped for longer than its lease."""
        with db.transaction() as conn:
            for leased in ("run_locks", "limit_slots"):
                query = f"UPDATE workshed.{leased} SET expires_at = workshed.now() - interval '1 s'"  # noqa: S608 -- of constants
                conn.execute(query)
        for run in self.open:
            run.silent = True

    @rule()
    def a_span_is_over(self):
        """Let the keys that are held for a fixed time expire."""
        with db.transaction() as conn:
            conn.execute(
                "UPDATE workshed.unique_locks SET expires_at = workshed.now() - interval '1 s' "
                "WHERE expires_at IS NOT NULL"
            )

    @rule(kind=st.sampled_from(sorted(KINDS)), once=st.booleans(), late=st.booleans())
    def send_one_that_expires(self, kind, once, late):
        """Send a job that expires in an hour, or before it is delivered."""
        message = self._message(kind, once, expires=1 if late else 3_600_000)
        message = message.copy(
            message_timestamp=message.message_timestamp - (60_000 if late else 0)
        )
        with db.transaction() as conn:
            schedule.insert_row(conn, row(message, "transactional"))

    @rule(unknown=st.booleans())
    def send_while_rabbitmq_is_away(self, unknown):
        """The job is stored; a copy may have reached RabbitMQ nevertheless."""
        message = self._message("quorum", once=False)
        if unknown:
            self._publish(message, outbox=False)
        with db.transaction() as conn:
            schedule.insert_row(conn, row(message, "broker_down", possible_duplicate=unknown))

    # Relays

    @rule()
    def relay_takes_a_window(self, most=3):
        with db.transaction() as conn:
            conn.execute(DUE)
            found = claims.claim_orphaned(conn, self.relay, 100) or claims.claim_due(
                conn, self.relay, most
            )
        for taken in found:
            message = dramatiq.Message.decode(taken.body.encode())
            self._publish(message, outbox=True, possible_duplicate=taken.possible_duplicate)
        self.taken += found

    @rule()
    def relay_marks_what_was_confirmed(self):
        with db.transaction() as conn:
            claims.delete_sent(conn, self.relay, self.taken)
        self.taken = []

    @rule()
    def relay_puts_back_what_it_did_not_hear_of(self):
        with db.transaction() as conn:
            claims.release_rows(conn, self.relay, self.taken, NOW, unknown=[True] * len(self.taken))
        self.taken = []

    @rule()
    def relay_dies(self):
        with db.transaction() as conn:
            relays.delete_relay(conn, self.relay)
            conn.execute("UPDATE workshed.schedule SET claimed_at = claimed_at - interval '1 hour'")
        self._new_relay()

    @rule()
    def classic_queues_are_lost(self):
        """A power cut: runs go on, but acknowledgements of these messages have no effect."""
        self.bag = [copy for copy in self.bag if copy.message.queue_name != KINDS["classic"]]
        self._resend()

    # Workers

    @precondition(lambda self: self.bag)
    @rule(data=st.data(), isolated=st.booleans())
    def start(self, data, isolated):
        """Deliver any copy; the worker checks whether it may start."""
        self._start(data.draw(st.sampled_from(self.bag)), isolated=isolated)

    @precondition(lambda self: self.bag)
    @rule(data=st.data(), kind=OUTCOMES, acks=st.booleans())
    def work(self, data, kind, acks):
        """Start a job and end it, with nothing in between, as most jobs do."""
        run = self._start(data.draw(st.sampled_from(self.bag)), isolated=True)
        if run is not None:
            self._end(run, kind, acks=acks)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), kind=OUTCOMES, acks=st.booleans())
    def end(self, data, kind, acks):
        """Reach an outcome; the worker may die before it acknowledges."""
        self._end(data.draw(st.sampled_from(self.open)), kind, acks=acks)

    def _start(self, copy, *, isolated):
        self.bag.remove(copy)
        run = Run(copy, job_of(copy, isolated=isolated))
        with db.transaction() as conn:
            _, ids = cancellations.list_since(conn, 0)
            self.execution.apply_cancellations(set(ids), cancel_rules.list_rules(conn))
        try:
            self._check(run.job)
        except (DuplicateDelivery, SkipMessage):
            return None  # dropped and acknowledged
        except RunIsolated:
            copy.redelivered = True
            self.bag.append(copy)
            return None
        except OutcomeKnown as err:
            self._conclude(run, err.outcome)
            return None
        assert not self.sent[run.job.message_id].cancelled or not run.job.may_be_duplicate
        self.sent[run.job.message_id].waits = False
        self.sent[run.job.message_id].started = True
        self.open.append(run)
        return run

    def _end(self, run, kind, *, acks):
        self.open.remove(run)
        if kind == "succeeded" and self.sent[run.job.message_id].once:
            self._run_once(run)
        else:
            self._conclude(run, outcome_of(kind, run.job))
        if not acks:
            self._deliver_again(run.copy)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def worker_dies(self, data):
        """The job has no outcome and is delivered again."""
        run = data.draw(st.sampled_from(self.open))
        self.open.remove(run)
        self._deliver_again(run.copy)

    @precondition(lambda self: self.bag or self.open)
    @rule(data=st.data())
    def a_copy_is_delivered_twice(self, data):
        """A lost connection: the job runs on, and its message is delivered again."""
        copy = data.draw(st.sampled_from(self.bag + [run.copy for run in self.open]))
        self._deliver_again(copy)

    # Operators

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def cancel(self, data):
        message_id = data.draw(st.sampled_from(sorted(self.sent)))
        with db.transaction() as conn:
            if cancellations.cancel(conn, message_id) == "deleted":
                self.sent[message_id].ended = "cancelled"
        self.sent[message_id].cancelled = True

    @rule(queue=st.sampled_from(sorted(KINDS.values())))
    def cancel_by_a_rule(self, queue):
        """Cancel every job that was sent to a queue so far, wherever it is."""
        with db.transaction() as conn:
            cancel_rules.create_rule(conn, cancel_rules.JobFilter(queue=queue))

    @rule(data=st.data())
    def redrive(self, data):
        """Retry a dead job."""
        with db.transaction() as conn:
            ids = [m for (m,) in conn.execute("SELECT message_id FROM workshed.dead ORDER BY 1")]
            if ids:
                message_id = data.draw(st.sampled_from(ids))
                assert dead_jobs.retry_job(conn, message_id)
                self.sent[message_id].ended = None
                self.sent[message_id].cancelled = False
                self.sent[message_id].waits = True

    # What must hold

    @invariant()
    def nothing_is_lost(self):
        """A job that has not ended is somewhere: in a row, in RabbitMQ, or with a worker."""
        somewhere = {copy.message.message_id for copy in self.bag}
        somewhere |= {run.job.message_id for run in self.open}
        with db.autocommit_statement() as conn:
            query = (
                "SELECT message_id FROM workshed.schedule UNION SELECT message_id "
                "FROM workshed.dead"
            )
            somewhere |= {message_id for (message_id,) in conn.execute(query)}
        for message_id, sent in self.sent.items():
            assert sent.ended or message_id in somewhere, f"{message_id} is lost"

    @invariant()
    def an_effect_happens_once(self):
        assert all(sent.effects <= 1 for sent in self.sent.values())

    @invariant()
    def a_generation_has_one_outcome(self):
        """With two, the copy that fails starts a retry of a job that has ended."""
        assert all(times == 1 for times in self.outcomes.values())

    @invariant()
    def a_lock_has_a_job(self):
        """A lock without a job would keep its key for ever."""
        with db.autocommit_statement() as conn:
            held = conn.execute("SELECT key, message_id FROM workshed.unique_locks").fetchall()
        for key, message_id in held:
            sent = self.sent[message_id]
            if sent.strategy != "until_expired":
                assert sent.ended is None, f"{key} is held by a job that has ended"

    @invariant()
    def a_job_has_its_lock(self):
        """A sender of the same key meanwhile gets the id of this job."""
        with db.autocommit_statement() as conn:
            held = {m for (m,) in conn.execute("SELECT message_id FROM workshed.unique_locks")}
        for message_id, sent in self.sent.items():
            if sent.strategy == "until_executed" and not (sent.ended or sent.waits):
                assert message_id in held, f"{message_id} lives without its lock"
            at_start = sent.strategy in {"until_executing", "until_and_while_executing"}
            if at_start and not (sent.started or sent.ended or sent.waits):
                assert message_id in held, f"{message_id} waits without its lock"

    @invariant()
    def one_has_the_turn(self):
        """Runs that overlap with the holder, because their lease ran out, get no outcome."""
        with db.autocommit_statement() as conn:
            held = {token for (token,) in conn.execute("SELECT token FROM workshed.run_locks")}
        turns = Counter(
            lock.key for run in self.open if (lock := run_lock(run.job)) and lock.token in held
        )
        assert all(times == 1 for times in turns.values())

    def teardown(self):
        """Let every job end."""
        for _ in range(400):
            self.relay_dies()
            self.a_turn_runs_out()
            self.a_span_is_over()
            self._resend()
            self._time_passes()
            self.relay_takes_a_window(most=100)
            self.relay_marks_what_was_confirmed()
            while self.bag:
                self._work_off(self.bag.pop())
            while self.open:
                self._work_off(self.open.pop().copy)
            with db.transaction() as conn:
                left = conn.execute("SELECT count(*) FROM workshed.schedule").fetchone()[0]
            if not (left or self.bag or self.open):
                break
        self._all_ended()

    def _all_ended(self):
        with db.transaction() as conn:
            conn.execute("DELETE FROM workshed.unique_locks WHERE actor LIKE '%until_expired'")
            conn.execute("DELETE FROM workshed.limit_slots WHERE expires_at <= workshed.now()")
            # A job that was called, and ended before it came, is forgotten after a day.
            gone = [name for name, sent in self.sent.items() if sent.ended in WENT]
            prune = (
                "DELETE FROM workshed.limit_waiters WHERE offered_at < workshed.now() "
                "AND message_id = ANY(%s)"
            )
            conn.execute(prune, (gone,))
            for table in (
                "schedule",
                "redelivered_starts",
                "unique_locks",
                "limit_slots",
                "limit_waiters",
            ):
                query = f"SELECT * FROM workshed.{table}"  # noqa: S608 -- of a constant
                rows = conn.execute(query).fetchall()
                assert rows == [], f"{table} has rows left"
        for message_id, sent in self.sent.items():
            assert sent.ended is not None, f"{message_id} did not end"
            if sent.ended == "succeeded" and sent.once:
                assert sent.effects == 1

    def _work_off(self, copy):
        run = Run(copy, job_of(copy, isolated=True))
        with db.transaction() as conn:
            _, ids = cancellations.list_since(conn, 0)
            self.execution.apply_cancellations(set(ids), cancel_rules.list_rules(conn))
        try:
            self._check(run.job)
        except (DuplicateDelivery, SkipMessage):
            return
        except OutcomeKnown as err:
            self._conclude(run, err.outcome)
            return
        self.sent[run.job.message_id].waits = False
        if self.sent[run.job.message_id].once:
            self._run_once(run)
        else:
            self._conclude(run, Outcome("succeeded"))

    def _time_passes(self):
        """Let each start leave its window, end the slots kept for called jobs, and offer slots."""
        with db.transaction() as conn:
            conn.execute("UPDATE workshed.limit_starts SET at = at - interval '1 hour'")
            conn.execute(
                "UPDATE workshed.limit_waiters SET offered_at = offered_at - interval '1 hour'"
            )
        with db.transaction() as conn:
            for key in limits.keys_with_waiters(conn):
                limits.offer_slots(conn, key)

    def _new_relay(self):
        self.relay = uuid4()
        self.taken = []
        with db.transaction() as conn:
            relays.record_relay(conn, self.relay, "here", 1)

    def _resend(self):
        with db.transaction() as conn:
            ready = {copy.message.queue_name for copy in self.bag}
            if KINDS["classic"] not in ready:
                (now,) = conn.execute("SELECT workshed.now() + interval '1 hour'").fetchone()
                claims.mark_seen_empty(conn, KINDS["classic"], now)
                claims.release_lost(conn, timedelta(hours=-2))

    def _check(self, job):
        """Run the checks that precede a job, in their order."""
        self.execution._refuse_cancelled(job)
        message = SimpleNamespace(job=job, actor_name=job.message.actor_name)
        for middleware in (FENCE, EXPIRY, UNIQUENESS, LIMITS):
            middleware.before_process_message(BROKER, message)

    def _message(self, kind, once, actor="work", args=(), **options):
        name = f"m{len(self.refused) + len(self.sent)}"
        message = dramatiq.Message(KINDS[kind], actor, args, {}, options, message_id=name)
        self.sent[message.message_id] = Sent(once=once, strategy=actor.removeprefix(LIMITED))
        return message

    def _publish(self, message, *, outbox, possible_duplicate=False):
        self.bag.append(Copy(message, outbox=outbox, possible_duplicate=possible_duplicate))

    def _deliver_again(self, copy):
        self.bag.append(Copy(copy.message, copy.outbox, copy.possible_duplicate, redelivered=True))

    def _conclude(self, run, outcome):
        """Store an outcome as a worker does; a copy of a settled job changes nothing."""
        sent = self.sent[run.job.message_id]
        turn = run_lock(run.job)
        has_turn = turn is None or self._has_turn(turn)
        try:
            if writers := self.execution._writers_for(run.job, outcome):
                outcome = self.execution._write_in_transaction(run.job, outcome, writers)
        except DuplicateDelivery:
            return
        except RunLockLost as lost:
            run.job.lose_run_lock()
            self._conclude(run, Outcome("interrupted", str(lost)))
            return
        assert has_turn, "a run that has lost its turn has an outcome"
        if run.job.may_be_duplicate or outcome.kind != "succeeded":
            self.outcomes[run.job.message_id, run.job.generation] += 1
        if outcome.is_final:
            sent.ended = outcome.kind
        sent.done += outcome.kind == "succeeded"

    def _run_once(self, run):
        sent = self.sent[run.job.message_id]
        wrote = Counter()
        ONCE._current.job = run.job
        before = run.job.outcome
        try:
            ONCE._wrap(self.execution, "work", lambda: wrote.update(["effect"]))()
        except RunLockLost:  # and what it wrote is undone with its outcome
            run.job.lose_run_lock()
            self._conclude(run, outcome_of("interrupted", run.job))
            return
        assert before is None
        assert run.job.outcome is not None
        if self._has_key(run.job.message_id):  # else a copy of it had an outcome before
            sent.effects += bool(wrote)
            sent.ended = "succeeded"

    def _has_turn(self, turn):
        with db.autocommit_statement() as conn:
            query = "SELECT FROM workshed.run_locks WHERE token = %s"
            return conn.execute(query, (turn.token,)).rowcount == 1

    def _has_key(self, message_id):
        """Return whether the transaction of this run committed, which stores its key."""
        with db.autocommit_statement() as conn:
            query = "SELECT FROM workshed.once_keys WHERE key = %s"
            return conn.execute(query, (message_id,)).rowcount == 1


def run_lock(job):
    """The run lock that a job holds, if it holds one."""
    return job.unique and job.unique.run_lock


def row(message, reason, *, possible_duplicate=False):
    return OutboxRow(
        message_id=message.message_id,
        generation=message.options.get("generation", 0),
        queue=message.queue_name,
        actor=message.actor_name,
        body=message.encode().decode(),
        reason=reason,
        possible_duplicate=possible_duplicate,
    )


def holder(conn, key):
    """Return the job that holds a key, unless the key has expired."""
    query = """
        SELECT message_id FROM workshed.unique_locks
         WHERE key = %s AND (expires_at IS NULL OR expires_at > workshed.now())
    """
    found = conn.execute(query, (key,)).fetchone()
    return None if found is None else found[0]


def outcome_of(kind, job):
    """Return the outcome of a run; one beyond its time limit is a failed attempt."""
    match kind:
        case "interrupted":
            return INTERRUPTED
        case "time limit":
            policy = RETRIES.policy(ACTORS[job.message.actor_name], job)
            return decide_outcome(TimeLimitExceeded(), run_facts(job), policy)
    return Outcome(kind, "said", delay=NOW)


def job_of(copy, *, isolated):
    redelivered = copy.redelivered or copy.possible_duplicate
    return Job(
        copy.message,
        may_be_duplicate=redelivered or copy.outbox,
        redelivered=redelivered,
        isolated=isolated,
    )


class UniqueJobs(Jobs):
    """The same histories with keys for all jobs, because keys rarely meet among the others."""

    send_directly = send_in_a_transaction = send_with_a_lease = None
    send_while_rabbitmq_is_away = send_one_that_expires = classic_queues_are_lost = None


class LimitedJobs(UniqueJobs):
    """The same with limits as well, which keep jobs from starting."""

    prefix = LIMITED

    @rule(key=st.sampled_from(["a", "b"]), once=st.booleans())
    def send_a_limited_one(self, key, once):
        """Send a job that only its limits keep from running."""
        message = self._message("quorum", once, actor=LIMITED + "work", args=(key,))
        with db.transaction() as conn:
            schedule.insert_row(conn, row(message, "transactional"))
        self.relay_takes_a_window()

    @rule()
    def time_passes(self):
        self._time_passes()

    @rule()
    def a_relay_calls_waiting_jobs(self):
        """Offer slots; afterwards no slot is free while a job waits that was not called."""
        with db.transaction() as conn:
            for key in limits.keys_with_waiters(conn):
                limits.offer_slots(conn, key)
            query = """
                SELECT l.key,
                       l.size - (SELECT count(*) FROM workshed.limit_slots AS s
                                  WHERE s.key = l.key AND s.expires_at > workshed.now())
                              - (SELECT count(*) FROM workshed.limit_waiters AS w
                                  WHERE w.key = l.key AND w.offered_at > workshed.now() - %s),
                       (SELECT count(*) FROM workshed.limit_waiters AS w
                         WHERE w.key = l.key AND w.offered_at IS NULL)
                  FROM workshed.limits AS l
                 WHERE l.kind = 'concurrent'
            """
            for key, free, uncalled in conn.execute(query, (limits.OFFER_LIFETIME,)):
                assert free <= 0 or not uncalled, f"{key} has a slot, and no waiting job is called"

    @invariant()
    def no_limit_is_exceeded(self):
        with db.autocommit_statement() as conn:
            running = conn.execute(
                "SELECT s.key, count(*), max(l.size) FROM workshed.limit_slots AS s "
                "JOIN workshed.limits AS l USING (key) WHERE expires_at > workshed.now() GROUP BY 1"
            ).fetchall()
        with db.autocommit_statement() as conn:
            (started,) = conn.execute(
                "SELECT count(*) FROM workshed.limit_starts "
                "WHERE at > workshed.now() - interval '50 min'"
            ).fetchone()
        assert all(count <= size for _, count, size in running)
        assert started <= WITHIN

    @invariant()
    def who_runs_has_all_its_slots(self):
        """Each has two: one of the total limit and one of its key's limit."""
        with db.autocommit_statement() as conn:
            query = "SELECT token, count(*) FROM workshed.limit_slots GROUP BY 1"
            held = dict(conn.execute(query).fetchall())
        for run in self.open:
            slots = run.job.slots
            if slots is not None and slots.state == "held" and not run.silent:
                assert held.get(slots.token) == 2, "it runs without its slots"
        assert set(held.values()) <= {2}, "only a part of its limits was taken"


@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("machine", "histories"), [(Jobs, 1_500), (UniqueJobs, 1_500), (LimitedJobs, 1_000)]
)
def test_any_history_loses_nothing_and_repeats_no_effect(machine, histories, scale, lane):
    """Fails without the deduplication at the start or the end of a run, without kept rows, and
    without generations of locks.

    It also fails if a retry frees the key of a unique job, if a start keeps the key of a limited
    job only until the check, or if limits are taken one by one.
    """
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=lane(sample=15, exhaustive=scale(histories, by=30)),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[phase for phase in Phase if phase != Phase.explain],
        ),
    )
