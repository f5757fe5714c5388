"""How much was done, refused and retried, and how fast, read back from where it is stored."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from shop.demo.fairness_actors import ACTORS
from shop.demo.mailbox import Mailbox
from workshed.contrib.storage import ContentMissingError, storage
from workshed.db import Connection


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A row of the table."""

    label: str
    done: int
    refused: int
    """Refused, discarded, failed permanently, or unsubscribed."""
    retried: int
    """Failed attempts that were retried."""
    speed: str
    cross_check: str
    """What was found of it elsewhere, for example in the mailbox."""


def read_rows(conn: Connection, mailbox: Mailbox) -> Iterator[ResultRow]:
    """Read all rows of the table in one snapshot."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield _welcome_row(conn, mailbox)
        yield _picture_row(conn)
        yield _import_row(conn)
        yield _report_row(conn, mailbox)
        yield _sync_row(conn)
        yield _campaign_row(conn, mailbox)
        yield _fairness_row(conn)


def _welcome_row(conn: Connection, mailbox: Mailbox) -> ResultRow:
    query = """
        SELECT count(*), percentile_cont(0.5) WITHIN GROUP (
                   ORDER BY extract(epoch FROM e.sent_at - u.created_at))
          FROM workshed_mail.emails AS e JOIN shop.users AS u ON u.id::text = e.user_id
         WHERE e.kind = 'welcome' AND e.state = 'sent'
    """
    [(done, median)] = conn.execute(query).fetchall()
    refused, retried = _count_failures(conn, "send_welcome_email")
    speed = f"{median or 0:.1f} s after the sign-up"
    return ResultRow(
        "welcome mails", done, refused, retried, speed, _format_mail_count(mailbox, "welcome")
    )


def _picture_row(conn: Connection) -> ResultRow:
    query = """
        SELECT (SELECT count(*) FROM shop.image_variants),
               (SELECT count(*) FROM shop.attachments WHERE refusal IS NOT NULL)
    """
    [(done, refused)] = conn.execute(query).fetchall()
    _, retried = _count_failures(conn, "process_image")
    whole = sum(
        _is_whole(sha256) for (sha256,) in conn.execute("SELECT sha256 FROM workshed_storage.blobs")
    )
    speed = f"{_median_duration_s(conn, 'process_image'):.1f} s each"
    return ResultRow(
        "pictures", done, refused, retried, speed, f"{whole} contents in the blob store"
    )


def _import_row(conn: Connection) -> ResultRow:
    query = """
        SELECT COALESCE(sum(succeeded), 0), COALESCE(sum(failed), 0),
               extract(epoch FROM max(ended_at) - min(created_at))
          FROM shop.imports
    """
    [(done, refused, seconds)] = conn.execute(query).fetchall()
    _, retried = _count_failures(conn, "import_users", "import_user_rows")
    came = "SELECT count(*) FROM shop.users WHERE imported_from IS NOT NULL"
    [(users,)] = conn.execute(came).fetchall()
    return ResultRow(
        "imported rows", done, refused, retried, _format_rate(done, seconds), f"{users} users"
    )


def _report_row(conn: Connection, mailbox: Mailbox) -> ResultRow:
    query = (
        "SELECT count(*) FROM workshed_mail.emails WHERE kind = 'daily_report' AND state = 'sent'"
    )
    [(done,)] = conn.execute(query).fetchall()
    refused, retried = _count_failures(conn, "daily_report")
    speed = f"{_median_duration_s(conn, 'daily_report'):.1f} s for 30 days of orders"
    return ResultRow(
        "report mails", done, refused, retried, speed, _format_mail_count(mailbox, "daily_report")
    )


def _sync_row(conn: Connection) -> ResultRow:
    query = """
        SELECT count(*), extract(epoch FROM max(at) - min(at)) FROM shop.sync_log
    """
    [(done, seconds)] = conn.execute(query).fetchall()
    refused, retried = _count_failures(conn, "sync_critical_data", "sync_record")
    kept = "SELECT count(*) FROM shop.sync_records WHERE deleted_at IS NULL AND version > 0"
    [(records,)] = conn.execute(kept).fetchall()
    return ResultRow(
        "synced changes", done, refused, retried, _format_rate(done, seconds), f"{records} records"
    )


def _campaign_row(conn: Connection, mailbox: Mailbox) -> ResultRow:
    query = """
        SELECT count(*) FILTER (WHERE r.state = 'sent'), count(*) FILTER (WHERE r.state <> 'sent'),
               extract(epoch FROM max(c.ended_at) - min(c.started_at))
          FROM shop.campaigns AS c JOIN shop.campaign_recipients AS r ON r.campaign_id = c.id
    """
    [(done, refused, seconds)] = conn.execute(query).fetchall()
    _, retried = _count_failures(conn, "send_campaign_email")
    return ResultRow(
        "campaign mails",
        done,
        refused,
        retried,
        _format_rate(done, seconds),
        _format_mail_count(mailbox, "campaign"),
    )


def _fairness_row(conn: Connection) -> ResultRow:
    names = [actor.actor_name for actor in ACTORS.values()]
    query = """
        SELECT count(*), extract(epoch FROM max(ended_at) - min(started_at))
          FROM workshed.runs WHERE actor = ANY (%s) AND outcome = 'succeeded'
    """
    [(done, seconds)] = conn.execute(query, (names,)).fetchall()
    refused, retried = _count_failures(conn, *names)
    speed = _format_rate(done, seconds)
    return ResultRow("jobs of full queues", done, refused, retried, speed, f"{len(names)} queues")


def _count_failures(conn: Connection, *actors: str) -> tuple[int, int]:
    """Return how many jobs were discarded or died, and how many attempts were retried."""
    query = """
        SELECT count(*) FILTER (WHERE outcome <> 'retry'),
               count(*) FILTER (WHERE outcome = 'retry')
          FROM workshed.attempts WHERE actor = ANY (%s)
    """
    [(refused, retried)] = conn.execute(query, (list(actors),)).fetchall()
    return refused, retried


def _median_duration_s(conn: Connection, actor: str) -> float:
    """Return the median run time of an actor, in seconds."""
    query = """
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_s)
          FROM workshed.runs WHERE actor = %s AND outcome = 'succeeded'
    """
    [(median,)] = conn.execute(query, (actor,)).fetchall()
    return float(median or 0)


def _format_rate(number: int | None, seconds: object) -> str:
    return f"{float(number or 0) / max(float(str(seconds or 0)), 0.001):,.0f} per second"


def _format_mail_count(mailbox: Mailbox, kind: str) -> str:
    return f"{mailbox.count(kind)} in the mailbox" if mailbox.is_ours else ""


def _is_whole(sha256: str) -> bool:
    """Return whether the store has exactly this content."""
    try:
        with storage().open(sha256) as content:
            return hashlib.sha256(content.read()).hexdigest() == sha256
    except ContentMissingError:
        return False
