"""Postpone jobs that are over a limit of their actor."""

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.worker import Worker

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.locks import limits, unique
from workshed.jobs.locks.limits import JobStart, SlotRequest
from workshed.metrics import meters
from workshed.middleware.concurrency.lease_renewal import LeaseRenewer
from workshed.middleware.job import Job, Outcome, OutcomeKnown, OutcomeMiddleware
from workshed.middleware.job_state import SlotClaim
from workshed.middleware.options.limit import Limit
from workshed.middleware.retrying.retries import as_tuple

logger = logging.getLogger(__name__)


class Limits(OutcomeMiddleware):
    """Take a slot of every limit before a job starts, or postpone the job if any limit is full.

    Waiting costs no attempt. Waiting jobs are first come, first served: window and bucket limits
    assign each job a start time, and for concurrency limits a finishing job wakes the next one in
    the transaction that stores its own outcome. Running jobs hold leases, so the slot of a worker
    that died is free 30 s later. A retry counts as another start.

    *Order:* below `Uniqueness`, because a slot of a window is spent once it is taken: a job asks
    only when nothing else keeps it from running. Above `Retries`, which stores when the job runs
    again.
    *Options:* `limit=` (a `Limit`, or several).
    """

    is_one_statement = True

    def __init__(self) -> None:
        self._renewal = LeaseRenewer("slots", limits.renew_slots)
        self._limits_by_actor: dict[str, tuple[Limit, ...]] = {}
        """By actor name, only for actors that have limits."""
        self._limits_by_title: dict[str, Limit] = {}

    @property
    def actor_options(self) -> set[str]:
        """The limits of an actor."""
        return {"limit"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse limits that cannot work."""
        self._limits_by_actor.pop(actor.actor_name, None)
        if "limit" not in actor.options:
            return
        rules: tuple[Limit, ...] = as_tuple(actor.options["limit"])
        for rule in rules:
            if not isinstance(rule, Limit):
                raise ValueError(f"{actor.actor_name}: limit={rule!r} is not a Limit.…(…)")  # noqa: TRY004 -- as for every option
            rule.check(actor)
        titles = [rule.title(actor.actor_name) for rule in rules]
        if doubled := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(
                f"{actor.actor_name}: two limits are both {doubled[0]}; give one of them a name="
            )
        for title, rule in zip(titles, rules, strict=True):
            self._check_same(actor.actor_name, title, rule)
        self._limits_by_actor[actor.actor_name] = rules

    def before_enqueue(
        self, broker: Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        """Raise in the caller of `send` what would keep the job from asking for its slots."""
        if message.actor_name in self._limits_by_actor:
            self._slot_requests(broker, message)

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Start renewing leases, if any actor has a concurrency limit."""
        if any(
            rule.kind == "concurrent" for rules in self._limits_by_actor.values() for rule in rules
        ):
            self._renewal.start()

    def checks_plain_jobs(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return whether the actor has limits."""
        return actor.actor_name in self._limits_by_actor

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Take the job's slots; postpone a job that does not get them."""
        if message.actor_name not in self._limits_by_actor:
            return
        job: Job = message.job
        try:
            requests = self._slot_requests(broker, job.message)
        except Exception as err:
            reason = f"the key of a limit cannot be computed: {err}"
            raise OutcomeKnown(Outcome("dead", reason, err)) from err
        job.slots = job.slots or SlotClaim(requests)
        self._start(job, job.slots)
        if any(request.is_held for request in requests):
            self._renewal.add(job.slots.token)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: Any = None
    ) -> None:
        """Stop renewing its slots; they are free, or will be when their lease ends."""
        self._stop_renewal(message.job)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Do the same for a job that a later check has stopped."""
        self._stop_renewal(message.job)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop renewing, because no job runs any more."""
        self._renewal.stop()

    def writes_plain_success(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return whether the actor has limits."""
        return actor.actor_name in self._limits_by_actor

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether the outcome frees a slot, or starts or ends a wait for one."""
        if job.message.actor_name not in self._limits_by_actor:
            return False
        return outcome.kind != "succeeded" or (
            job.slots is not None and any(request.is_held for request in job.slots.requests)
        )

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> Outcome | None:
        """Release its slots, or let it wait for one."""
        slots = job.slots or SlotClaim()
        if slots.state == "over_limit" and not outcome.is_final:
            wait = limits.enqueue_waiter(conn, slots.requests, job.message_id, job.generation + 1)
            sooner = "" if wait.opens_in is not None else ", or as soon as another has ended"
            return replace(
                outcome, delay=wait.recheck_in, reason=f"over the limit {wait.key}{sooner}"
            )
        held = [request.key for request in slots.requests if request.is_held]
        holds = slots.state == "held"
        keys = held if holds else [request.key for request in slots.requests]
        generation = None if outcome.is_final else job.generation + 1
        had = limits.release_slots(conn, keys, slots.held_token, job.message_id, generation)
        if holds and had < len(held):
            logger.warning(
                "ran without its slot of %s, because its lease had expired", ", ".join(held)
            )
        return None

    def _check_same(self, actor_name: str, title: str, rule: Limit) -> None:
        known = self._limits_by_title.setdefault(title, rule) if rule.name is not None else rule
        if (known.size, known.span) != (rule.size, rule.span):
            raise ValueError(
                f"{actor_name}: the limit {title} is {rule.size} per {rule.span} here, but "
                f"{known.size} per {known.span} on another actor; use the same object for both"
            )

    def _stop_renewal(self, job: Job) -> None:
        if job.slots is not None and job.slots.state == "held":
            self._renewal.drop(job.slots.token)

    def _slot_requests(
        self, broker: Broker, message: dramatiq.Message[Any]
    ) -> Sequence[SlotRequest]:
        actor = broker.get_actor(message.actor_name)
        return [rule.request(actor, message) for rule in self._limits_by_actor[message.actor_name]]

    def _start(self, job: Job, slots: SlotClaim) -> None:
        start = JobStart(slots.token, job.message_id, job.actor, socket.gethostname(), os.getpid())
        rule = None if job.unique is None else job.unique.rule
        if rule is None or not rule.releases_on_start:
            with db.autocommit_statement() as conn:
                refused = limits.acquire_slots(conn, slots.requests, start)
            if refused is not None:
                raise over_limit_outcome(job, slots, refused)
            slots.state = "held"
            return
        with db.transaction() as conn:
            # If the job does not start, this rolls back and it keeps its key. The key comes before
            # the slots, as in every outcome, or two copies of the job would deadlock.
            unique.release_locks(conn, job.message_id, job.generation)
            refused = limits.acquire_slots(conn, slots.requests, start)
            if refused is not None:
                raise over_limit_outcome(job, slots, refused)
        slots.state = "held"


def over_limit_outcome(job: Job, slots: SlotClaim, key: str) -> OutcomeKnown:
    """Return the outcome of a job over a limit; `on_outcome` decides when it runs again."""
    slots.state = "over_limit"
    meters.JOBS_OVER_LIMIT.add(job.actor)
    return OutcomeKnown(Outcome("snoozed", f"over the limit {key}"))
