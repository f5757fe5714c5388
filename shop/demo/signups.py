"""What happened to each person's welcome email, read from PostgreSQL and the mailbox."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from psycopg.rows import class_row

from shop.demo.mailbox import Mailbox
from shop.demo.people import Person
from workshed.db import Connection
from workshed.jobs.history import attempts
from workshed.jobs.history.attempts import Attempt

DUE_WITHIN = timedelta(seconds=60)
REMIND_AFTER = timedelta(days=3)


@dataclass(slots=True)
class SignupDemo:
    """What was seen of one person so far."""

    person: Person
    user_id: int
    message_id: str
    queued: bool = False
    sent_at: datetime | None = None
    delivered: bool = False
    reminder_at: datetime | None = None
    attempts: list[Attempt] = field(default_factory=list)

    def pending(self, *, mailbox_is_ours: bool) -> list[str]:
        """Name the events expected for this person that were not seen yet."""
        if self.person.role == "leaves":
            expected = {"queued": self.queued, "discarded with its reason": self._is_discarded()}
        else:
            expected = {
                "queued": self.queued,
                "sent": self.sent_at is not None,
                "reminder due in three days": self._has_right_reminder(),
            }
            if mailbox_is_ours:
                expected["delivered"] = self.delivered
                if self.person.role == "busy":
                    expected["refused once, then retried"] = self._is_retried()
        return [what for what, seen in expected.items() if not seen]

    def summary_line(self) -> str:
        """List the outcomes other than success, for example a retry."""
        return ", ".join(attempt.outcome for attempt in self.attempts)

    def _is_discarded(self) -> bool:
        return [a.outcome for a in self.attempts] == ["discarded"]

    def _is_retried(self) -> bool:
        return [a.outcome for a in self.attempts] == ["retry"]

    def _has_right_reminder(self) -> bool:
        if self.reminder_at is None or self.sent_at is None:
            return False
        return abs(self.reminder_at - self.sent_at - REMIND_AFTER) < DUE_WITHIN


@dataclass(frozen=True, slots=True)
class SignupProgress:
    """A row of the query below."""

    sent_at: datetime | None
    message_id: str | None
    reminder_at: datetime | None


def update_signups(conn: Connection, mailbox: Mailbox, sightings: list[SignupDemo]) -> None:
    """Look once; keep what was seen before."""
    arrived = mailbox.subjects()
    for sighting in sightings:
        progress = fetch_progress(conn, sighting.user_id)
        sighting.sent_at = progress.sent_at or sighting.sent_at
        sighting.reminder_at = progress.reminder_at or sighting.reminder_at
        sighting.attempts = attempts.list_job_attempts(conn, sighting.message_id)
        subject = arrived.get(progress.message_id or "")
        sighting.delivered |= subject is not None and sighting.person.name in subject


def fetch_progress(conn: Connection, user_id: int) -> SignupProgress:
    """Return the progress of a user's welcome email; its fields are `None` for a deleted user."""
    query = """
        SELECT emails.sent_at, emails.message_id, schedule.due_at AS reminder_at
          FROM (SELECT %(id)s::bigint AS id) AS wanted
          LEFT JOIN shop.users USING (id)
          LEFT JOIN workshed_mail.emails
            ON emails.user_id = wanted.id::text AND emails.kind = 'welcome'
          LEFT JOIN workshed.schedule ON schedule.message_id = users.reminder_id
    """
    with conn.cursor(row_factory=class_row(SignupProgress)) as cur:
        found = cur.execute(query, {"id": user_id}).fetchone()
    return found or SignupProgress(None, None, None)
