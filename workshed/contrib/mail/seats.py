"""Seats at a mail server: they limit its connections across all processes.

A seat is a lease in PostgreSQL with a slot for one connection. A delivery takes a free seat of its
process, or else a new one. If it gets none within a short wait, its job runs again later at no cost
of an attempt. A thread renews the process's leases and the claims of the mails that it delivers,
and closes connections that have been idle for long.
"""

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from workshed import db
from workshed.contrib.mail import stored_mails
from workshed.contrib.mail.errors import MailServerAway
from workshed.contrib.mail.protocol import connection_cache
from workshed.contrib.mail.protocol.connection_cache import IDLE_S, ConnectionSlot
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.database.postgres import Connection
from workshed.interrupts import thread_gate
from workshed.jobs.locks import limits
from workshed.jobs.locks.limits import JobStart, SlotRequest
from workshed.threads.background import BackgroundThread

logger = logging.getLogger(__name__)

SEAT_WAIT_S = 2.0
"""How long a thread waits for a seat, before its mail is postponed."""
ASK_EVERY_S = 0.2
RETRY_DELAY = timedelta(seconds=3)
"""A mail that got no seat is retried after one to two times this."""
MOST_MAILS, MOST_S = 50, 30.0
"""A seat is given up after so many mails or seconds, so that other processes get one."""
RENEW_S = 2.0
"""Short compared with the leases: half a minute for a seat, ten seconds or more for a claim."""


@dataclass(slots=True)
class Seat:
    """One of the connections that a mail server is given."""

    key: str
    token: UUID = field(default_factory=uuid4)
    slot: ConnectionSlot = field(default_factory=ConnectionSlot)
    acquired_at_s: float = field(default_factory=time.monotonic)
    mails: int = 0
    idle_since_s: float = 0.0

    @property
    def is_spent(self) -> bool:
        """Whether it is another process's turn."""
        return self.mails >= MOST_MAILS or time.monotonic() - self.acquired_at_s > MOST_S


class Seats:
    """The seats of this process."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._acquire_lock = threading.Lock()
        self._in_use: dict[UUID, Seat] = {}
        self._free: list[Seat] = []
        self._claims: dict[UUID, timedelta] = {}
        self._renewer: BackgroundThread | None = None

    @contextmanager
    def use_seat(self, server: SmtpServer, most: int) -> Generator[None]:
        """Send through a seat inside the block; raises `MailServerAway` if there is none."""
        with (
            thread_gate().defer()
        ):  # an interrupt in between would keep the seat until the process ends
            seat = self._acquire(server, most)
            try:
                with connection_cache.use_slot(seat.slot), thread_gate().allow():
                    yield
            finally:
                self._return(seat)

    @contextmanager
    def renew_claim(self, claim: UUID, lease: timedelta) -> Generator[None]:
        """Renew the claim of a mail inside the block."""
        with thread_gate().defer():  # an interrupt in between would keep the claim likewise
            with self._change:
                self._claims[claim] = lease
                self._start_renewal()
            try:
                with thread_gate().allow():
                    yield
            finally:
                with self._change:
                    self._claims.pop(claim, None)

    def close(self) -> None:
        """Close idle connections, and release their seats."""
        with self._change:
            free, self._free = self._free, []
        for seat in free:
            self._release(seat)

    def _acquire(self, server: SmtpServer, most: int) -> Seat:
        key, ends_at_s = f"mail server {server}", time.monotonic() + SEAT_WAIT_S
        while True:
            with self._change:
                if seat := self._pop_idle(key):
                    self._in_use[seat.token] = seat
                    return seat
            # One thread asks on behalf of all waiting threads; any of them may get the seat.
            if self._acquire_lock.acquire(blocking=False):
                try:
                    if seat := self._acquire_new(key, most):
                        return seat
                finally:
                    self._acquire_lock.release()
            left_s = ends_at_s - time.monotonic()
            if left_s <= 0:
                said = f"all {most} connections to the mail server {server} are in use"
                raise MailServerAway(
                    RETRY_DELAY * random.uniform(1, 2),  # noqa: S311
                    *(str(server), said),
                    is_held=False,
                )
            with self._change:
                if not any(one.key == key for one in self._free):
                    self._change.wait(min(ASK_EVERY_S, left_s))

    def _pop_idle(self, key: str) -> Seat | None:
        for place, seat in enumerate(self._free):
            if seat.key == key:
                return self._free.pop(place)
        return None

    def _acquire_new(self, key: str, most: int) -> Seat | None:
        seat = Seat(key)
        start = JobStart(seat.token, key, "mail", socket.gethostname(), os.getpid())
        with db.autocommit_statement() as conn:
            if (
                limits.acquire_slots(conn, [SlotRequest(key, "concurrent", most)], start)
                is not None
            ):
                return None
        with self._change:
            self._in_use[seat.token] = seat
            self._start_renewal()
        return seat

    def _return(self, seat: Seat) -> None:
        seat.mails += 1
        seat.idle_since_s = time.monotonic()
        with self._change:
            self._in_use.pop(seat.token, None)
            if rests := seat.slot.cached is not None and not seat.is_spent:
                self._free.append(seat)
            self._change.notify()
        if not rests:
            self._release(seat)

    def _release(self, seat: Seat) -> None:
        with connection_cache.use_slot(seat.slot):
            connection_cache.close_connection()
        try:
            with db.autocommit_statement() as conn:
                limits.release_slots(conn, [seat.key], seat.token, seat.key, None)
        except db.TRANSIENT_ERRORS as lost:
            logger.debug("a seat at the %s is free when its lease ends: %s", seat.key, lost)

    def _start_renewal(self) -> None:
        """Start the thread that renews leases, unless it runs; the caller has the lock."""
        if self._renewer is None:
            # Most mails are sent after the delay, and need no connection to PostgreSQL.
            self._renewer = BackgroundThread(
                "mail seats", self._renew_leases, RENEW_S, delay_s=RENEW_S, report=self._report
            )
            self._renewer.start()

    def _renew_leases(self) -> None:
        if self._has_leases():
            # Not from the pool, which is closed before the last of these threads ends.
            with db.limited_wait(), db.connect() as conn:
                while self._has_leases():
                    self._renew(conn)
                    time.sleep(RENEW_S)

    def _report(self, error: Exception, _pause_s: float) -> None:
        logger.warning(
            "claims of emails could not be renewed: %s; trying again", str(error).strip()
        )

    def _has_leases(self) -> bool:
        """Return whether there is anything to renew; if not, the thread ends."""
        with self._change:
            if self._renewer is not None and not (self._in_use or self._free or self._claims):
                self._renewer.stop()
                self._renewer = None
            return self._renewer is not None

    def _renew(self, conn: Connection) -> None:
        with self._change:
            now = time.monotonic()
            idle = [seat for seat in self._free if now - seat.idle_since_s > IDLE_S]
            self._free = [seat for seat in self._free if seat not in idle]
            tokens = [*self._in_use, *(seat.token for seat in self._free)]
            claims = dict(self._claims)
        for seat in idle:
            self._release(seat)
        if tokens:
            limits.renew_slots(conn, tokens)
        for claim, lease in claims.items():
            stored_mails.renew_claim(conn, claim, lease)


def _reset_after_fork() -> None:
    """Drop all seats, because after a fork they belong to the parent."""
    process_seats.__init__()  # type: ignore[misc]


process_seats = Seats()
"""The seats of this process."""
os.register_at_fork(after_in_child=_reset_after_fork)
db.add_close_hook(process_seats.close)
