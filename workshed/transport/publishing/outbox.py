"""Rows and locks of messages that are being sent: one transaction for all of a flight."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

import psycopg

from workshed import db
from workshed.db import PASSING_ERRORS, Connection
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.locks import unique
from workshed.jobs.outbox import leases, schedule
from workshed.settings import settings
from workshed.transport.publishing.outgoing import OutgoingMessage, waiting_body


class StoreFailure(NamedTuple):
    """Why a message is not stored."""

    error: psycopg.Error
    unknown: bool
    """It failed in or after the commit: it may be stored all the same."""

    def __str__(self) -> str:
        """Say what PostgreSQL said, and what is not known."""
        said = str(self.error).strip()
        return f"{said} (it may be stored all the same)" if self.unknown else said


Failures = dict[OutgoingMessage, StoreFailure]


def insert_leased(parcels: Sequence[OutgoingMessage], span: timedelta) -> Failures:
    """Store messages that are published next; a relay sends them if they are still there then.

    One whose key is held by another is not stored, and has its `holder` then.
    """
    if len(parcels) == 1:
        return _lease_one(parcels[0], span)

    def store(conn: Connection, parcels: Sequence[OutgoingMessage]) -> None:
        acquire_unique_keys(conn, parcels)
        leases.insert_leases(conn, [p.row("outbox_lease") for p in parcels if p.goes], span)
        insert_awaiting_key(conn, parcels)

    return _each(parcels, store)


def _lease_one(parcel: OutgoingMessage, span: timedelta) -> Failures:
    """Do the same in one statement, for a sender that waits for it."""
    claim, row = parcel.claim(timedelta()), parcel.row("outbox_lease")
    try:
        with db.limited_wait(), db.autocommit_statement() as conn:
            if claim is None:
                leases.insert_leases(conn, [row], span)
            else:
                parcel.conflicts_with(
                    unique.insert_leased_with_key(
                        conn, row, claim, span, waiting_body(parcel.message)
                    )
                )
    except psycopg.Error as err:
        return {parcel: StoreFailure(err, db.commit_is_unknown(err))}
    return {}


def release_to_relay(parcels: Sequence[OutgoingMessage]) -> Failures:
    """Let a relay send what RabbitMQ did not take, as soon as it can."""

    def store(conn: Connection, parcels: Sequence[OutgoingMessage]) -> None:
        leased = [p for p in parcels if p.leased]
        if leased:
            unknown = [p.unknown for p in leased]
            leases.give_up(conn, [p.key for p in leased], unknown=unknown)
        others = [p for p in parcels if not p.leased]
        acquire_unique_keys(conn, others)
        rows = [p.row("broker_down") for p in others if p.goes]
        if rows:
            schedule.insert_many(conn, rows, timedelta())
        insert_awaiting_key(conn, others)

    return _each(parcels, store)


def insert_in_joined_transaction(parcels: Sequence[OutgoingMessage]) -> None:
    """Let a relay send messages once the transaction that this thread has joined commits."""
    with db.transaction() as conn:
        acquire_unique_keys(conn, parcels)
        schedule.insert_many(conn, [p.row("transactional") for p in parcels if p.goes], timedelta())
        insert_awaiting_key(conn, parcels)


def delete_rows_and_locks(parcels: Sequence[OutgoingMessage]) -> Failures:
    """Take back the rows and locks of what is not sent."""

    def remove(conn: Connection, parcels: Sequence[OutgoingMessage]) -> None:
        leases.delete_leases(conn, [p.key for p in parcels])
        for parcel in parcels:
            if parcel.unique_key is not None:
                unique.release_locks(conn, *parcel.key)

    return _each(parcels, remove)


def acquire_unique_keys(conn: Connection, parcels: Sequence[OutgoingMessage]) -> None:
    """Take the keys of unique messages; each notes what follows when another has its key."""
    claims: dict[str, unique.KeyClaim] = {}
    for parcel in parcels:
        claim = parcel.claim(timedelta())
        if claim is not None and (claim.replace or claim.key not in claims):
            claims[claim.key] = claim  # of several that replace each other the last one stays
    holders = unique.take_many(conn, list(claims.values())) if claims else {}
    for parcel in parcels:
        if parcel.unique_key is not None:
            parcel.conflicts_with(holders[parcel.unique_key])


def insert_awaiting_key(conn: Connection, parcels: Sequence[OutgoingMessage]) -> None:
    """Store what is to wait for the key that another message has."""
    rows = [p.row("delayed") for p in parcels if p.waits]
    if rows:
        schedule.insert_many(conn, rows, unique.WAIT)


def combined_error(error: Exception, failure: StoreFailure) -> Exception:
    """Say that neither RabbitMQ nor PostgreSQL took it."""
    found = type(error)(f"{error}; and PostgreSQL could not store it: {failure}")
    found.__cause__ = failure.error
    return found


def cannot_store_error(parcel: OutgoingMessage, failure: StoreFailure) -> Exception:
    """Say that a message which needs a row could not be stored."""
    if not isinstance(failure.error, PASSING_ERRORS):
        return failure.error
    kind = "a unique message" if parcel.unique_key else f"a message for {parcel.queue.name!r}"
    place = db.describe_address(settings().database_url.get_secret_value())
    found = DatabaseUnreachableError(
        f"PostgreSQL does not answer at {place} (WORKSHED_DATABASE_URL): {failure}; "
        f"nothing was sent, since {kind} is stored before it is sent"
    )
    found.__cause__ = failure.error
    return found


def _each(
    parcels: Sequence[OutgoingMessage],
    work: Callable[[Connection, Sequence[OutgoingMessage]], None],
) -> Failures:
    """Work on all in one transaction; where one of them spoils it, on each in its own."""
    worked = False
    try:
        with db.limited_wait(), db.transaction() as conn:
            work(conn, parcels)
            worked = True
    except psycopg.Error as err:
        if len(parcels) == 1 or isinstance(err, PASSING_ERRORS):
            return dict.fromkeys(parcels, StoreFailure(err, worked))
        return {p: bad for one in parcels for p, bad in _each([one], work).items()}
    return {}
