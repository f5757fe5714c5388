"""Rows and locks of messages that are being sent: one transaction for all of a flight."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import psycopg

from brokers.parcel import Parcel
from workshed import db
from workshed.db import PASSING_ERRORS, Connection
from workshed.jobs import leases, schedule, unique

Failures = dict[Parcel, psycopg.Error]


def lease(parcels: Sequence[Parcel], span: timedelta) -> Failures:
    """Store messages that are published next; a relay sends them if they are still there then.

    One whose key is held by another is not stored, and has its `holder` then.
    """

    def store(conn: Connection, parcels: Sequence[Parcel]) -> None:
        lock(conn, parcels)
        leases.take(conn, [p.row("lease") for p in parcels if p.holder is None], span)

    return _each(parcels, store)


def hand_over(parcels: Sequence[Parcel]) -> Failures:
    """Let a relay send what RabbitMQ did not take, as soon as it can."""

    def store(conn: Connection, parcels: Sequence[Parcel]) -> None:
        leased = [p for p in parcels if p.leased]
        if leased:
            unknown = [p.unknown for p in leased]
            leases.give_up(conn, [p.key for p in leased], unknown=unknown)
        others = [p for p in parcels if not p.leased]
        lock(conn, others)
        rows = [p.row("stored") for p in others if p.holder is None]
        if rows:
            schedule.insert_many(conn, rows, timedelta())

    return _each(parcels, store)


def join(parcels: Sequence[Parcel]) -> None:
    """Let a relay send messages once the transaction that this thread has joined commits."""
    with db.transaction() as conn:
        lock(conn, parcels)
        schedule.insert_many(conn, [p.row("send") for p in parcels if not p.holder], timedelta())


def withdraw(parcels: Sequence[Parcel]) -> Failures:
    """Take back the rows and locks of what is not sent."""

    def remove(conn: Connection, parcels: Sequence[Parcel]) -> None:
        leases.end(conn, [p.key for p in parcels])
        for parcel in parcels:
            if parcel.unique_key is not None:
                unique.free(conn, *parcel.key)

    return _each(parcels, remove)


def lock(conn: Connection, parcels: Sequence[Parcel]) -> None:
    """Take the keys of unique messages; one that is held by another names its `holder`."""
    claims: dict[str, unique.Claim] = {}
    for parcel in parcels:
        if parcel.unique_key is not None:
            claim = unique.Claim(
                parcel.unique_key, *parcel.key, parcel.message.actor_name, parcel.queue.name
            )
            claims.setdefault(parcel.unique_key, claim)
    holders = unique.take_many(conn, list(claims.values())) if claims else {}
    for parcel in parcels:
        holder = holders.get(parcel.unique_key or "")
        parcel.holder = None if holder == parcel.message.message_id else holder


def _each(
    parcels: Sequence[Parcel], work: Callable[[Connection, Sequence[Parcel]], None]
) -> Failures:
    """Work on all in one transaction; where one of them spoils it, on each in its own."""
    try:
        with db.transaction() as conn:
            work(conn, parcels)
    except psycopg.Error as err:
        if len(parcels) == 1 or isinstance(err, PASSING_ERRORS):
            return dict.fromkeys(parcels, err)
        return {p: bad for one in parcels for p, bad in _each([one], work).items()}
    return {}
