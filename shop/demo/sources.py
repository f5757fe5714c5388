"""A source that misbehaves, and how its sync recovers; retries run without their backoff."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from actors import sync_critical_data
from shop import sync
from shop.demo.faulty_api import FaultyApi
from workshed import db, schedule
from workshed.db import Connection
from workshed.jobs.history import attempts
from workshed.jobs.history.attempts import Attempt
from workshed.jobs.outbox import schedule as rows

NAME = "crm"
RECORDS, PAGE = 40, 20
FAULTS = ("429:30", "500", "html")
"""Its first answers: it is busy, it fails, and it sends an HTML page."""
EXPECTED_MAILS = ("sync_failing", "sync_recovered")


@dataclass(slots=True)
class SyncDemo:
    """The demo's sync, and what was seen of it so far."""

    message_id: str
    admins: int
    records: int = 0
    backoffs: dict[int, timedelta] = field(default_factory=dict)
    """By attempt: its backoff, which the demo skips."""
    attempts: list[Attempt] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    has_recovered: bool = False

    @property
    def title(self) -> str:
        """Say what it is."""
        return f"{NAME}, an API that misbehaves, was synced by `sync_critical_data`"

    @property
    def progress(self) -> tuple[str, int, int]:
        """How many records are stored."""
        return "records", self.records, RECORDS

    @property
    def pending(self) -> list[str]:
        """Name the expected events that were not seen yet."""
        seen = {
            f"{RECORDS} records": self.records == RECORDS,
            f"{len(FAULTS)} failed runs": len(self.attempts) == len(FAULTS),
            "its recovery": self.has_recovered,
            "emails about both": sorted(self.mails) == sorted(EXPECTED_MAILS * self.admins),
        }
        return [f"{NAME}: {what}" for what, is_seen in seen.items() if not is_seen]

    def update(self, conn: Connection) -> None:
        """Look once, and run waiting retries at once."""
        self.attempts = attempts.list_job_attempts(conn, self.message_id)
        self._run_retry_now(conn)
        [source] = sync.list_sources(conn)
        self.records = sync.count_records(conn).get(NAME, 0)
        self.has_recovered = source.last_success_at is not None and source.failed_runs == 0
        query = "SELECT kind FROM workshed_mail.emails WHERE kind = ANY (%s) AND state = 'sent'"
        self.mails = [kind for (kind,) in conn.execute(query, (list(EXPECTED_MAILS),))]

    def _run_retry_now(self, conn: Connection) -> None:
        """Run a waiting retry at once."""
        query = """
            SELECT (body::json #>> '{options,attempt}')::integer, due_at - created_at
              FROM workshed.schedule
             WHERE message_id = %s AND due_at > workshed.now() AND reason = 'retry'
        """
        for attempt, wait in conn.execute(query, (self.message_id,)).fetchall():
            self.backoffs[attempt - 1] = wait
            sync.close_circuit(conn, NAME)
            rows.run_now(conn, self.message_id)

    def summary_lines(self) -> Iterator[str]:
        """Yield lines that say what happened."""
        for one in self.attempts:
            error = (one.error or "").removeprefix(f"{NAME}: ").partition(": ")[0]
            wait = self.backoffs.get(one.attempt)
            waited = "" if wait is None else f"waits {wait.total_seconds():.0f} s, run at once"
            yield f"{error:<54} {waited}"
        if self.has_recovered:
            yield f"{self.records} records, and the admins were notified of both"


def begin_sync(api: FaultyApi, admins: int) -> SyncDemo:
    """Give the source records and faults, add it, and send the job that syncs it."""
    api.page_size = PAGE
    for number in range(RECORDS):
        api.put(f"c{number:02}", associations=[("owner", "c00")])
    api.queue_faults(*FAULTS, at="/records")
    message = sync_critical_data.message(NAME)
    with db.transaction() as conn:
        sync.add(conn, NAME, api.origin)
        schedule.send(conn, message)
    return SyncDemo(message.message_id, admins)
