"""What a job calls while it runs; type checkers must refuse a line marked `# E: …`."""

from datetime import datetime, timedelta
from typing import assert_type

import psycopg

from workshed import db
from workshed.jobs import (
    Discard,
    Progress,
    RecordMissing,
    RetryAfter,
    Snooze,
    cancelled,
    checkpoint,
    once,
    scheduled_for,
    sent_at,
    step,
)

MINUTE = timedelta(minutes=1)


def signals() -> None:
    """Signal the outcome to the worker."""
    Snooze(MINUTE)
    RetryAfter(MINUTE, "too many requests")
    Discard("nothing to do")
    RecordMissing("user", 7)
    Snooze()  # E: call-arg
    Snooze(60)  # E: arg-type
    Snooze(MINUTE, 7)  # E: arg-type
    Snooze(delay_s=60)  # E: call-arg
    RetryAfter(60)  # E: arg-type
    RecordMissing(7)  # E: call-arg
    RecordMissing(7, "user")  # E: arg-type


def questions(conn: db.Connection) -> None:
    """Ask about the job."""
    checkpoint()
    assert_type(once(conn, "charge 7"), bool)
    assert_type(cancelled(), bool)
    assert_type(scheduled_for(), datetime | None)
    checkpoint("loop")  # E: call-arg
    once(conn)  # E: call-overload
    once("charge 7")  # E: call-overload
    once("charge", conn)  # E: call-overload
    once(conn, 7)  # E: call-overload
    once(conn, key=b"charge 7")  # E: call-overload
    when: datetime = sent_at()  # E: assignment
    assert when.tzinfo


def send_all(progress: Progress, tenant: str, *, most: int = 10) -> None:
    """Do a step."""
    with progress.transaction() as conn:
        progress.save(conn, {"tenant": tenant, "most": most})
    progress.save({"tenant": tenant})  # E: call-overload


def steps(conn: psycopg.Connection) -> None:
    """Do a long job in steps."""
    step("send", send_all, "acme", most=5)
    step("send", send_all)  # E: call-arg
    step("send", send_all, 7)  # E: arg-type
    step("send", send_all, "acme", least=5)  # E: call-arg
    step(send_all, "send", "acme")  # E: arg-type
    step("send", signals)  # E: arg-type
    db.transaction(conn)  # E: call-arg
