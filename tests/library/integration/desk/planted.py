"""Rows of all tables that the console shows, with an attacker's input in every text."""

import json
from datetime import UTC, datetime, timedelta

from psycopg import sql
from psycopg.types.json import Jsonb

SHORT = "<img src=x onerror=alert(1)>\"'{{7*7}}"
"""For texts that may not hold a slash, a control character, or more than 100 characters."""
EVIL = (
    f"{SHORT}</title><script>alert(1)</script><svg/onload=alert(1)>javascript:alert(1)"
    " ${7*7} \x1b[31m\u202egnp.exe"
)
UUID = "00000000-0000-4000-8000-000000000001"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
BODY = json.dumps(
    {
        "queue_name": EVIL,
        "actor_name": EVIL,
        "args": [EVIL],
        "kwargs": {EVIL: EVIL},
        "options": {"unique_key": EVIL, "batch": UUID, "parent": EVIL, "traceparent": EVIL},
        "message_id": EVIL,
        "message_timestamp": int(NOW.timestamp() * 1000),
    }
)
KINDS = {
    "text": EVIL,
    "json": Jsonb({EVIL: EVIL}),
    "jsonb": Jsonb({EVIL: EVIL}),
    "bytea": BODY.encode(),
    "uuid": UUID,
    "integer": 1,
    "bigint": 1,
    "smallint": 1,
    "numeric": 1,
    "double precision": 1.0,
    "boolean": True,
    "timestamp with time zone": NOW,
    "date": NOW.date(),
    "interval": timedelta(minutes=1),
    "_text": [EVIL],
    "_timestamptz": [NOW],
}
ODD = {
    "workshed.actors": {},
    "workshed.attempts": {"outcome": "dead"},
    "workshed.audit": {"id": 1_000_000},  # a login writes the first row, with the id 1
    "workshed.batch_callbacks": {"event": "death", "sent_at": None, "body": BODY},
    "workshed.batch_jobs": {"state": "dead"},
    "workshed.batches": {"succeeded_at": None, "cancelled_at": None},
    "workshed.cancel_rules": {"sent_before": NOW.replace(microsecond=0)},
    "workshed.console_sessions": {"token_hash": b"x", "expires_at": NOW + DAY},
    "workshed.dead": {},
    "workshed.limits": {"kind": "concurrent", "span": None},
    "workshed.limit_slots": {"expires_at": NOW + DAY},
    "workshed.periodic_runs": {"blocked_by": None, "created_by": "manual"},
    "workshed.queues": {"kind": "quorum"},
    "workshed.periodic_jobs": {"next_at": NOW + DAY, "zone": "UTC", "misfire_policy": "skip"},
    "workshed.relays": {},
    "workshed.runs": {"outcome": "dead"},
    "workshed.schedule": {
        "reason": "delayed", "body": BODY, "claimed_by": None, "claimed_at": None,
        "sent_at": None, "seen_empty_at": None, "due_at": NOW + DAY,
    },
    "workshed.steps": {"name": SHORT},
    "workshed.unique_locks": {"expires_at": NOW + DAY},
    "workshed.workers": {
        "expired_at": None,
        "running": Jsonb(
            [{"message_id": EVIL, "actor": EVIL, "queue": EVIL, "since": NOW.isoformat()}]
        ),
    },
    "shop.campaign_recipients": {"state": "unknown"},
    "shop.campaigns": {
        "name": SHORT, "audience": "everyone", "state": "paused", "ended_at": None, "error": None,
    },
    "shop.daily_report_snapshots": {
        "zone": SHORT, "starts_at": NOW - 2 * DAY, "ends_at": NOW - DAY,
        "numbers": Jsonb({"new_users": 1, "active_users": 1, "sales": [{
            "currency": "EUR", "trend": ["0.5"] * 30,
            "top": [{"name": EVIL, "units": 1, "revenue": "0.5"}],
        }]}),
    },
    "workshed_mail.emails": {
        "kind": "evil", "recipient": "a@example.org", "recipient_name": SHORT, "subject": SHORT,
        "priority": 0,
        "state": "unknown", "claim": None, "claimed_until": None, "sent_at": None,
    },
    "shop.import_rows": {
        "outcome": "failed", "name": None, "email": None, "user_id": None, "problem": "email",
    },
    "shop.imports": {
        "filename": SHORT, "state": "failed", "total": 1, "succeeded": 0, "failed": 1,
    },
    "shop.products": {"name": SHORT},
    "shop.users": {"name": SHORT, "email": "a@example.org"},
}  # fmt: skip
"""For each table, the values that replace `EVIL` where it would violate a constraint."""
COLUMNS = """
    SELECT column_name, CASE WHEN data_type = 'ARRAY' THEN udt_name ELSE data_type END
      FROM information_schema.columns
     WHERE table_schema = %s AND table_name = %s
"""


def plant_mail(folder):
    """Write a mail into a maildir, as a file named `evil`."""
    (folder / "new").mkdir(parents=True)
    headers = "".join(f"{name}: {EVIL}\n" for name in ("Subject", "From", "To", "Message-ID"))
    kinds = f'Content-Type: multipart/mixed; boundary="x"\n\n--x\n\n{EVIL}\n'
    page = f"--x\nContent-Type: text/html\n\n{EVIL}\n"
    file = f"--x\nContent-Disposition: attachment; filename={EVIL}\n\n{EVIL}\n--x--\n"
    (folder / "new" / "evil").write_text(headers + kinds + page + file)


def plant(conn, **more):
    """Write a row into each of these tables; `more`: columns of one, as `workshed__runs={…}`."""
    conn.execute("SET session_replication_role = replica")  # foreign keys do not matter
    for table, odd in ODD.items():
        schema, name = table.split(".")
        columns = dict(conn.execute(COLUMNS, (schema, name)).fetchall())
        values = {column: KINDS[kind] for column, kind in columns.items()}
        if "recorded_at" in values:  # today's partition exists, and a day may have begun since
            values["recorded_at"] = datetime.now(UTC)
        values |= odd | more.get(f"{schema}__{name}", {})
        insert = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            sql.Identifier(schema, name),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join([sql.Placeholder()] * len(values)),
        )
        conn.execute(insert, list(values.values()))
    conn.execute("SET session_replication_role = DEFAULT")
