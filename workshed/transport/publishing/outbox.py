"""Rows and locks of messages that are being sent: one transaction for a whole batch."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from workshed import db
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.locks import unique
from workshed.jobs.outbox import leases, schedule
from workshed.transport.publishing.outgoing import OutgoingMessage, awaiting_key_body

if TYPE_CHECKING:
    import psycopg


class StoreFailure(NamedTuple):
    """Why a message is not stored."""

    error: "psycopg.Error"
    maybe_stored: bool
    """It failed during or after the commit, so the message may nevertheless be stored."""

    @property
    def doubt(self) -> str:
        """What is unknown; empty if nothing is."""
        return " (it may have been stored nevertheless)" if self.maybe_stored else ""

    def __str__(self) -> str:
        """Return PostgreSQL's error, and what is unknown."""
        return f"{str(self.error).strip()}{self.doubt}"


Failures = dict[OutgoingMessage, StoreFailure]


def insert_leased(messages: Sequence[OutgoingMessage], span: timedelta) -> Failures:
    """Store messages that are published next; a relay sends them if they are still there then.

    A message whose key another one has is not stored, and has a `conflict` afterwards.
    """
    if len(messages) == 1:
        return _insert_one_leased(messages[0], span)

    def store(conn: Connection, messages: Sequence[OutgoingMessage]) -> None:
        acquire_unique_keys(conn, messages)
        leases.insert_leases(
            conn,
            [each.build_row("outbox_lease") for each in messages if each.conflict is None],
            span,
        )
        insert_awaiting_key(conn, messages)

    return _run_in_transaction(messages, store)


def _insert_one_leased(outgoing: OutgoingMessage, span: timedelta) -> Failures:
    """Do the same in one statement, for a sender that waits for it."""
    claim, row = outgoing.build_key_claim(timedelta()), outgoing.build_row("outbox_lease")
    try:
        with db.limited_wait(), db.autocommit_statement() as conn:
            if claim is None:
                leases.insert_leases(conn, [row], span)
            else:
                outgoing.record_key_holder(
                    unique.insert_leased_with_key(
                        conn, row, claim, span, awaiting_key_body(outgoing.message)
                    )
                )
    except db.errors.Error as err:
        return {outgoing: StoreFailure(err, db.commit_is_unknown(err))}
    return {}


def release_to_relay(messages: Sequence[OutgoingMessage]) -> Failures:
    """Let a relay send what RabbitMQ did not take, as soon as it can."""

    def store(conn: Connection, messages: Sequence[OutgoingMessage]) -> None:
        leased = [each for each in messages if each.is_leased]
        if leased:
            doubtful = [each.may_have_arrived for each in leased]
            leases.release_to_relay(conn, [each.key for each in leased], unknown=doubtful)
        others = [each for each in messages if not each.is_leased]
        acquire_unique_keys(conn, others)
        rows = [each.build_row("broker_down") for each in others if each.conflict is None]
        if rows:
            schedule.insert_many(conn, rows, timedelta())
        insert_awaiting_key(conn, others)

    return _run_in_transaction(messages, store)


@db.move_to_joined_thread
def insert_in_joined_transaction(messages: Sequence[OutgoingMessage]) -> None:
    """Let a relay send messages once the transaction that this thread has joined commits."""
    with db.transaction() as conn:
        acquire_unique_keys(conn, messages)
        rows = [each.build_row("transactional") for each in messages if each.conflict is None]
        schedule.insert_many(conn, rows, timedelta())
        insert_awaiting_key(conn, messages)


def delete_rows_and_locks(messages: Sequence[OutgoingMessage]) -> Failures:
    """Take back the rows and locks of what is not sent."""

    def remove(conn: Connection, messages: Sequence[OutgoingMessage]) -> None:
        leases.delete_leases(conn, [each.key for each in messages])
        for outgoing in messages:
            if outgoing.unique_key is not None:
                unique.release_locks(conn, *outgoing.key)

    return _run_in_transaction(messages, remove)


def acquire_unique_keys(conn: Connection, messages: Sequence[OutgoingMessage]) -> None:
    """Take the keys of unique messages; each notes what follows when another has its key."""
    claims: dict[str, unique.KeyClaim] = {}
    for outgoing in messages:
        claim = outgoing.build_key_claim(timedelta())
        if claim is not None and (claim.replace or claim.key not in claims):
            claims[claim.key] = claim  # of several that replace each other, the last one wins
    holders = unique.acquire_keys(conn, list(claims.values())) if claims else {}
    for outgoing in messages:
        if outgoing.unique_key is not None:
            outgoing.record_key_holder(holders[outgoing.unique_key])


def insert_awaiting_key(conn: Connection, messages: Sequence[OutgoingMessage]) -> None:
    """Store what is to wait for the key that another message has."""
    rows = [
        each.build_row("delayed")
        for each in messages
        if each.conflict is not None and each.conflict.awaits_key
    ]
    if rows:
        schedule.insert_many(conn, rows, unique.KEY_RETRY_DELAY)


def combined_error(error: Exception, failure: StoreFailure) -> Exception:
    """Return an error that says that neither RabbitMQ nor PostgreSQL took a message."""
    found = type(error)(f"{error}; and PostgreSQL could not store it: {failure}")
    found.__cause__ = failure.error
    return found


def cannot_store_error(outgoing: OutgoingMessage, failure: StoreFailure) -> Exception:
    """Say that a message which needs a row could not be stored."""
    if not isinstance(failure.error, db.TRANSIENT_ERRORS):
        return failure.error
    kind = "a unique message" if outgoing.unique_key else f"a message for {outgoing.queue.name!r}"
    found = DatabaseUnreachableError(
        f"{db.describe_outage(failure.error)}{failure.doubt}; "
        f"nothing was sent, because {kind} is stored before it is sent"
    )
    found.__cause__ = failure.error
    return found


def _run_in_transaction(
    messages: Sequence[OutgoingMessage],
    work: Callable[[Connection, Sequence[OutgoingMessage]], None],
) -> Failures:
    """Run `work` on all in one transaction; if one message makes it fail, on each separately."""
    worked = False
    try:
        with db.limited_wait(), db.transaction() as conn:
            work(conn, messages)
            worked = True
    except db.errors.Error as err:
        if len(messages) == 1 or isinstance(err, db.TRANSIENT_ERRORS):
            return dict.fromkeys(messages, StoreFailure(err, worked))
        return {
            each: bad for one in messages for each, bad in _run_in_transaction([one], work).items()
        }
    return {}
