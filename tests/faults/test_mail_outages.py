"""A mail server that is down for days or has a daily quota: each email arrives once."""

import functools
from collections import Counter
from datetime import timedelta

import pytest

from actors import start_campaign
from shop import campaigns
from tests.faults.every import Every
from tests.faults.experiment import Remedy, Result, experiment
from workshed import db
from workshed.contrib import mail
from workshed.devserver.mail import MailCatcher
from workshed.settings import settings

TEXT = "Hello {{ name }}: {{ unsubscribe_url }}"
PEOPLE = """
    INSERT INTO shop.users (name, email)
    SELECT 'Ada', 'ada' || n || '@example.org' FROM generate_series(1, %s) AS n
"""
LEFT = """
    SELECT (SELECT count(*) FROM workshed.schedule WHERE actor = ANY (%(actors)s))
           + (SELECT count(*) FROM workshed.redelivered_starts)
"""
ACTORS = ["deliver_email", "send_bulk_email", "send_campaign_email", "go_on_with_campaign"]
DEAD = "SELECT count(*) FROM workshed.dead"
# Let time pass: move all stored times into the past, including those in messages.
PASS = (
    """
    UPDATE workshed_mail.mail_servers
       SET failing_since = failing_since - %(span)s,
           circuit_opened_at = circuit_opened_at - %(span)s,
           circuit_open_until = circuit_open_until - %(span)s, probe_at = probe_at - %(span)s
    """,
    "UPDATE shop.campaigns SET resumes_at = resumes_at - %(span)s",
    """
    UPDATE workshed.schedule SET due_at = due_at - %(span)s
     WHERE claimed_by IS NULL AND reason IN ('retry', 'snoozed', 'delayed')
    """,
    """
    UPDATE workshed.schedule
       SET body = jsonb_set(body::jsonb, '{options,failing_since}', (
               SELECT jsonb_object_agg(key, value::bigint - %(ms)s)
                 FROM jsonb_each_text(body::jsonb #> '{options,failing_since}')))::text
     WHERE claimed_by IS NULL AND body::jsonb #> '{options,failing_since}' <> '{}'
    """,
)
AWAY = timedelta(days=3)
"""Longer than the retries of an email that the server refuses."""


class Rationed(MailCatcher):
    """Accepts a limited number of emails until the next day."""

    def __init__(self, maildir, a_day):
        super().__init__(maildir)
        self.a_day = a_day
        self.taken = self.refused = 0

    async def handle_MAIL(self, *words):  # noqa: N802 -- its name in aiosmtpd
        if self.taken >= self.a_day:
            self.refused += 1
            return "452 4.3.1 Daily quota exceeded"
        self.taken += 1
        return await super().handle_MAIL(*words)


@pytest.fixture
def start_one(start_worker):
    return functools.partial(start_worker, "actors", threads=8)


@pytest.fixture
def serve(tmp_path, broker, monkeypatch):
    """`serve(server)`: send all emails there, including those of workers that start later."""
    started = []

    def start(server):
        started.append(server.start())
        monkeypatch.setenv("WORKSHED_SMTP_URL", server.url)
        monkeypatch.setenv("WORKSHED_SECRET_KEY", "k" * 40)
        settings.cache_clear()
        return server

    yield start
    for server in started:
        server.stop()


class Post:
    """Emails to one person each, and a campaign."""

    def __init__(self, singles, recipients):
        self.singles = {f"one{n}@example.org" for n in range(singles)}
        self.recipients = {f"ada{n}@example.org" for n in range(1, recipients + 1)}
        with db.transaction() as conn:
            conn.execute(PEOPLE, (recipients,))
            self.campaign = campaigns.create(conn, name="News", subject="News", text=TEXT).id

    def send(self):
        with db.transaction() as conn:
            for address in sorted(self.singles):
                draft = mail.Draft("test", address, "Ada", "Hello", "Hello.", about=address)
                mail.deliver_later(conn, draft)
            start_campaign(conn, self.campaign)

    def result(self, conn, server, **notes):
        """Return the counts of the experiment."""
        came = Counter(address for one in server.received for address in one.recipients)
        sent = self.singles | self.recipients
        query = "SELECT coalesce(sum(possible_duplicates), 0) FROM workshed_mail.emails"
        return Result(
            lost=len(sent - came.keys()),
            ghost=len(came.keys() - sent),
            outside=came.total() - len(came),
            counted=conn.execute(query).fetchone()[0],
            stuck=conn.execute(LEFT, {"actors": ACTORS}).fetchone()[0]
            + (campaigns.get_campaign(conn, self.campaign).state != "sent"),
            notes={
                "mails": len(sent),
                "dead": conn.execute(DEAD).fetchone()[0],
                "connections": server.connections,
                **notes,
            },
        )


def passes(**span):
    """Let this much time pass for everything that waits."""
    ms = timedelta(**span) // timedelta(milliseconds=1)
    with db.transaction() as conn:
        for query in PASS:
            conn.execute(query, {"span": timedelta(**span), "ms": ms})


@pytest.mark.timeout(1800)
@experiment(
    "mail-outage",
    number=18,
    fails_by="lost",
    needs_rabbitmq=False,
    fault="a mail server refuses connections for three days, which the clock passes in steps of "
    "six hours",
    load="2 000 emails to one person each, and a campaign of 2 000",
    remedy=Remedy(
        "workshed/contrib/mail/delivery.py", "    if error.is_server_failure:\n", "    if False:\n"
    ),
)
def test_an_outage_of_days_costs_no_mail(
    serve, start_one, connect, judged, quiet, eventually, tmp_path, scale
):
    server = serve(MailCatcher(tmp_path / "mail"))
    post = Post(scale(2_000, by=20), scale(2_000, by=20))
    conn = connect(autocommit=True)
    server.stop()
    for _ in range(2):
        start_one()
    post.send()
    judged.all_sent()
    failing = "SELECT count(*) FROM workshed_mail.emails WHERE last_error IS NOT NULL"
    eventually(lambda: conn.execute(failing).fetchone()[0])

    passed = []

    def six_hours():
        passes(hours=6)
        passed.append(6)

    with Every(1, six_hours):
        eventually(lambda: timedelta(hours=sum(passed)) > AWAY + timedelta(days=1))
    assert server.received == []
    server.start()

    def moved():
        return len(server.received), conn.execute(LEFT, {"actors": ACTORS}).fetchone()[0]

    def is_over():
        return campaigns.get_campaign(conn, post.campaign).state == "sent" and moved()[1] == 0

    with Every(1, functools.partial(passes, minutes=10)):
        quiet(is_over, moved, within_s=600, still_s=60)
    judged(post.result(conn, server, hours=sum(passed)))


@pytest.mark.timeout(1800)
@experiment(
    "mail-quota",
    number=18,
    fails_by="lost",
    needs_rabbitmq=False,
    fault="a mail server accepts a tenth of the emails per day, and answers MAIL FROM with 452 "
    "for the rest",
    load="1 200 emails to one person each, and a campaign of 300",
    remedy=Remedy(
        "workshed/contrib/mail/errors.py",
        "SERVER_STEPS = (CONNECTION, LOGIN, SENDER)",
        "SERVER_STEPS = (CONNECTION, LOGIN)",
    ),
)
def test_a_quota_of_days_costs_no_mail(
    serve, start_one, connect, judged, quiet, eventually, tmp_path, scale
):
    count = scale(1_200, by=20)
    server = serve(Rationed(tmp_path / "mail", a_day=(count + count // 4) // 10))
    post = Post(count, count // 4)
    conn = connect(autocommit=True)
    for _ in range(2):
        start_one()
    post.send()
    judged.all_sent()

    days = []

    def is_over():
        left = conn.execute(LEFT, {"actors": ACTORS}).fetchone()[0]
        return campaigns.get_campaign(conn, post.campaign).state == "sent" and left == 0

    def moved():
        return len(server.received), server.refused, conn.execute(DEAD).fetchone()[0]

    def is_spent():
        return server.refused > sum(days) or is_over()

    while not is_over() and len(days) < 20:
        with Every(1, functools.partial(passes, minutes=10)):
            quiet(is_spent, moved, within_s=120, still_s=30)
        passes(days=1)
        days.append(server.refused - sum(days))
        server.taken = 0
    judged(post.result(conn, server, days=len(days), refused=server.refused))
    assert len(days) > 4
