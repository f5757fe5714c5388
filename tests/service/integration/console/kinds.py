"""One object of each kind that a command can show or end."""

import secrets
from datetime import timedelta
from uuid import uuid4

import actors
from shop import campaigns, people, sync
from shop.sync import skipped_items
from shop.sync.schemas import SkippedEntry
from workshed import db
from workshed.contrib import mail
from workshed.cronspec import daily
from workshed.jobs.batches import batches
from workshed.jobs.control import cancel_rules, console_sessions, workers
from workshed.jobs.control.console_sessions import SessionLimits, SessionOrigin
from workshed.jobs.control.workers import QueueReport, WorkerIdentity
from workshed.jobs.locks import limits, unique
from workshed.jobs.locks.limits import JobStart, SlotRequest
from workshed.jobs.outbox import relays
from workshed.jobs.periodic import periodic_jobs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration

BATCH = "00000000-0000-4000-8000-000000000001"
ORIGIN = "https://crm.example.org"
GRACE = "grace@example.org"
SERVER = "mail.example.org:25"
"""A mail server that accepts no emails."""


def jobs(conn, store, bury, ran):
    """Make waiting, dead and finished jobs, a batch of the first two, a key, a limit and a rule."""
    store("waits")
    bury("died")
    ran("ran")
    with conn.transaction():
        conn.execute(*batches.open_statement(BATCH, "greetings", {}))
        conn.execute(*batches.join_statement(BATCH, ["waits", "died"]))
        conn.execute(*batches.close_statement(BATCH))
    batches.end_batch_job(conn, "died", "dead")
    limits.acquire_slots(
        conn, [SlotRequest("crm", "concurrent", 2)], JobStart(uuid4(), "waits", "greet", "here", 1)
    )
    unique.acquire_key(conn, unique.KeyClaim("greet:7", "waits", 0, "greet", "default"))
    workers.record_heartbeat(
        conn, WorkerIdentity(uuid4(), "here", 1, 8, ""), 0, [QueueReport("default", *5 * [None])]
    )
    relays.record_relay(conn, uuid4(), "here", 1)
    periodic_jobs.declare_jobs(conn, [PeriodicDeclaration("nightly", "low", daily("03:00"))])
    begin_session(conn, "olga")
    cancel_rules.create_rule(conn, cancel_rules.JobFilter("stranger", None, None, timedelta()))


def begin_session(conn, user_name):
    """Begin a session of a user of the web console, with a token that no browser has."""
    console_sessions.create_session(
        conn,
        token_hash=secrets.token_bytes(32),
        proof="",
        user_name=user_name,
        origin=SessionOrigin("192.0.2.1", "Firefox"),
        limits=SessionLimits(timedelta(hours=1), timedelta(hours=1)),
    )


def product():
    """Make two users, a source, a draft campaign and a sent one; return their ids."""
    with db.transaction() as conn:
        grace = people.create(conn, name="Grace", email=GRACE)
        people.create(conn, name="Bob", email="bob@example.org")
        sync.add(conn, "crm", f"{ORIGIN}/v1")
        skipped_items.record_skipped(
            conn, "crm", 1, [SkippedEntry('{"id": "bad/id"}', "not as agreed: id")]
        )
        drafts = [
            campaigns.create(
                conn, name=name, subject="S", text="{{ unsubscribe_url }}", audience="everyone"
            ).id
            for name in ("Draft", "Sent")
        ]
        actors.start_campaign(conn, drafts[1])
    actors.campaigns.begin_campaign(drafts[1])
    with db.transaction() as conn:
        campaigns.next_recipients(conn, drafts[1], 0, 10)
        query = "UPDATE shop.campaign_recipients SET state = 'rejected' WHERE user_id = %s"
        conn.execute(query, (grace.id,))
    return drafts


def mail_in_doubt():
    """Make a held email whose server accepts no more; return its id."""
    draft = mail.Draft("test", GRACE, "Grace", "Hello", "Hello.")
    held = """
        UPDATE workshed_mail.emails
           SET state = 'unknown', held_at = workshed.now(), possible_duplicates = 1
         WHERE id = %s
    """
    away = """
        INSERT INTO workshed_mail.mail_servers
               (name, failures, failing_since, last_error, circuit_opened_at,
                circuit_open_until)
        VALUES (%s, 4, workshed.now(), 'it answered 421 closing', workshed.now(),
                workshed.now() + interval '1 hour')
    """
    with db.transaction() as conn:
        email_id = mail.store(conn, draft)
        conn.execute(held, (email_id,))
        conn.execute(away, (SERVER,))
    return email_id
