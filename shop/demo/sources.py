"""A source that misbehaves, and how its sync recovers; retries run without their backoff."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from actors import sync_critical_data
from shop import sync
from shop.demo.api import Api
from workshed import db, schedule
from workshed.db import Connection
from workshed.jobs.history import attempts
from workshed.jobs.history.attempts import Attempt
from workshed.jobs.outbox import schedule as rows

NAME = "crm"
RECORDS, PAGE = 40, 20
FAULTS = ("429:30", "500", "html")
"""Its first answers: it is busy, it fails, and it sends an HTML page."""
MAILS = ("sync_failing", "sync_recovered")


@dataclass(slots=True)
class SyncDemo:
    """The demo's sync, and what was seen of it so far."""

    job_id: str
    admins: int
    records: int = 0
    waits: dict[int, timedelta] = field(default_factory=dict)
    """By attempt: its backoff, which the demo skips."""
    attempts: list[Attempt] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    done: bool = False

    @property
    def title(self) -> str:
        """Say what it is."""
        return f"{NAME}, an API that misbehaves, was synced by `sync_critical_data`"

    @property
    def bar(self) -> tuple[str, int, int]:
        """How many records are stored."""
        return "records", self.records, RECORDS

    @property
    def missing(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        seen = {
            f"{RECORDS} records": self.records == RECORDS,
            f"{len(FAULTS)} failed runs": len(self.attempts) == len(FAULTS),
            "its recovery": self.done,
            "emails about both": sorted(self.mails) == sorted(MAILS * self.admins),
        }
        return [f"{NAME}: {what}" for what, is_seen in seen.items() if not is_seen]

    def look(self, conn: Connection) -> None:
        """Look once, and run waiting retries at once."""
        self.attempts = attempts.of_message(conn, self.job_id)
        self._hurry(conn)
        [source] = sync.find(conn)
        self.records = sync.counts(conn).get(NAME, 0)
        self.done = source.last_success_at is not None and source.failed_runs == 0
        query = "SELECT kind FROM workshed_mail.emails WHERE kind = ANY (%s) AND state = 'sent'"
        self.mails = [kind for (kind,) in conn.execute(query, (list(MAILS),))]

    def _hurry(self, conn: Connection) -> None:
        """Run a waiting retry at once."""
        query = """
            SELECT (body::json #>> '{options,attempt}')::integer, due_at - created_at
              FROM workshed.schedule
             WHERE message_id = %s AND due_at > workshed.now() AND reason = 'retry'
        """
        for attempt, wait in conn.execute(query, (self.job_id,)).fetchall():
            self.waits[attempt - 1] = wait
            sync.release(conn, NAME)
            rows.run_now(conn, self.job_id)

    def stories(self) -> Iterator[str]:
        """Yield lines that say what happened."""
        for one in self.attempts:
            error = (one.error or "").removeprefix(f"{NAME}: ").partition(": ")[0]
            wait = self.waits.get(one.attempt)
            waited = "" if wait is None else f"waits {wait.total_seconds():.0f} s, run at once"
            yield f"{error:<54} {waited}"
        if self.done:
            yield f"{self.records} records, and the admins were notified of both"


def begin(api: Api, admins: int) -> SyncDemo:
    """Give the source records and faults, add it, and send the job that syncs it."""
    api.page = PAGE
    for number in range(RECORDS):
        api.put(f"c{number:02}", associations=[("owner", "c00")])
    api.misbehave(*FAULTS, at="/records")
    message = sync_critical_data.message(NAME)
    with db.transaction() as conn:
        sync.add(conn, NAME, api.origin)
        schedule.send(conn, message)
    return SyncDemo(message.message_id, admins)
