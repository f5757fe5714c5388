"""A mail server that misbehaves in every way, while the workers that send to it are killed."""

import asyncio
import functools
import random
from collections import Counter

import pytest

from actors import deliver_email
from tests.faults.every import Every
from tests.faults.experiment import Remedy, Result, experiment
from tests.faults.proxy import Proxy
from workshed import db
from workshed.contrib import mail
from workshed.devserver.mail import ACCEPTED_REPLY, BUSY_REPLY, MailCatcher
from workshed.jobs.dead import dead_jobs
from workshed.settings import settings

TIMEOUT_S = 1
AWAY_S = 0.02
"""The delay of each answer, so that some killed workers have sent without knowing it."""
REFUSED = 0.05
"""The share of addresses that are refused permanently."""
OPEN = "SELECT count(*) FROM workshed_mail.emails WHERE state NOT IN ('sent', 'failed')"
LEFT = (
    "SELECT (SELECT count(*) FROM workshed.schedule) + (SELECT count(*) "
    "FROM workshed.redelivered_starts)"
)
SURE = "SELECT recipient, possible_duplicates FROM workshed_mail.emails"
DEAD = "SELECT message_id FROM workshed.dead WHERE error_class <> 'RecipientRejectedError'"
FAILED = "SELECT recipient FROM workshed_mail.emails WHERE state = 'failed'"
HURRY = (
    """
    UPDATE workshed.schedule SET due_at = workshed.now()
     WHERE due_at > workshed.now() AND claimed_by IS NULL AND reason IN ('retry', 'snoozed')
    """,
    """
    UPDATE workshed_mail.mail_servers
       SET circuit_open_until = workshed.now()
     WHERE circuit_open_until > workshed.now()
    """,
)
HELD_NOW = "SELECT count(*) FROM workshed_mail.emails WHERE held_at IS NOT NULL"
HELD = "SELECT id FROM workshed_mail.emails WHERE held_at IS NOT NULL"


class Moody(MailCatcher):
    """Refuses some addresses permanently; until it is calm, any other email may fail."""

    def __init__(self, maildir):
        super().__init__(maildir)
        self.calm = False
        self.chance = random.Random()  # noqa: S311 -- seeded by its test
        self.done = Counter()

    async def handle_RCPT(self, *words):  # noqa: N802 -- its name in aiosmtpd
        if not self.calm and self.chance.random() < 0.1:
            self.done["4xx"] += 1
            return BUSY_REPLY
        return await super().handle_RCPT(*words)

    async def handle_DATA(self, conversation, session, envelope):  # noqa: N802
        ways = ["kept", "not kept", "busy", "slow"]
        way = self.chance.choice(ways) if not self.calm and self.chance.random() < 0.3 else ""
        self.done[way or "taken"] += 1
        if way in {"kept", "not kept"}:
            self.close_after_dot(keep=way == "kept")
        elif way == "busy":
            return BUSY_REPLY
        elif way == "slow":
            self._store(envelope)
            await asyncio.sleep(TIMEOUT_S * self.chance.uniform(0.5, 1.5))
            return ACCEPTED_REPLY
        return await super().handle_DATA(conversation, session, envelope)


@pytest.fixture
def mail_server(tmp_path, monkeypatch):
    """A moody mail server, behind a proxy that breaks connections in mid-conversation."""
    with Moody(tmp_path / "mail") as server, Proxy("127.0.0.1", server.port) as between:
        between.delay(AWAY_S)
        server.between = between
        monkeypatch.setenv("WORKSHED_SMTP_URL", between.url(server.url))
        monkeypatch.setenv("WORKSHED_SMTP_TIMEOUT", str(TIMEOUT_S))
        # A killed worker's connections are freed after half a minute, which is ten kills.
        monkeypatch.setenv("WORKSHED_SMTP_CONNECTIONS", "64")
        settings.cache_clear()
        yield server


@pytest.fixture
def start_one(start_worker):
    return functools.partial(start_worker, "actors", threads=8)


def store(address, *, twice):
    """Store an email with its job; some have a second job."""
    draft = mail.Draft("test", address, "Ada", "Hello", "Hello.\n" * 100, about=address)
    with db.transaction() as conn:
        email_id = mail.store(conn, draft)
        mail.deliver_stored(conn, email_id)
    if twice:
        deliver_email.send(email_id)


def decide_all():
    """Retry dead jobs and send held emails again, as an operator may."""
    with db.connect() as conn:
        for (message_id,) in conn.execute(DEAD).fetchall():
            dead_jobs.retry_job(conn, message_id)
        held = conn.execute(HELD).fetchall()
    for (email_id,) in held:
        with db.transaction() as conn:
            mail.decide_held(conn, email_id, arrived=False)


@pytest.mark.timeout(1800)
@experiment(
    "mail-server",
    number=18,
    fails_by="uncounted",
    needs_rabbitmq=False,
    fault="a mail server closes the connection before or after it accepts an email, is slow, "
    "answers 4xx or 5xx, or loses the connection midway; `kill -9` of one of two worker masters "
    "every 3 s, once the other is up",
    load="10 000 emails to one person each, a fifth of them requested twice",
    remedy=Remedy(
        "workshed/contrib/mail/protocol/smtp.py",
        "            raise MailDeliveryUnknownError(str(server), describe_failure(err)) from err",
        "            raise MailServerUnreachableError(str(server), describe_failure(err)) from err",
    ),
)
def test_each_mail_comes_and_what_comes_twice_is_counted(
    mail_server, kill_a_worker, connect, judged, quiet, seed, scale
):
    chance = mail_server.chance = random.Random(seed)  # noqa: S311 -- repeatable
    conn = connect(autocommit=True)
    good, bad = set(), set()

    def one(query):
        return conn.execute(query).fetchone()[0]

    def hurry():
        with db.connect() as own:
            for query in HURRY:
                own.execute(query)

    def break_off():
        mail_server.between.truncate(random.randrange(1_500), random.choice(["up", "down"]))  # noqa: S311

    def moved():
        return one(OPEN), one(LEFT), len(mail_server.received)

    def is_over():
        return one(OPEN) == one(HELD_NOW) and kill_a_worker.times > 1

    for number in range(scale(10_000, by=60)):
        address = f"ada{number}@example.org"
        (bad if chance.random() < REFUSED else good).add(address)
        if address in bad:
            mail_server.refuse_with(550, address)
        store(address, twice=chance.random() < 0.2)
    judged.all_sent()
    with Every(0.5, hurry):
        with Every(3, kill_a_worker), Every(1, break_off) as breaks:
            quiet(is_over, moved, within_s=600, still_s=60)
        mail_server.calm = True
        # On a slow machine, emails that were in doubt before are held only now.
        with Every(1, decide_all):
            quiet(lambda: one(OPEN) == one(LEFT) == 0, moved, within_s=600, still_s=60)

    came = Counter(address for one in mail_server.received for address in one.recipients)
    sure = dict(conn.execute(SURE).fetchall())
    failed = {address for (address,) in conn.execute(FAILED)}
    outside, counted = came.total() - len(came), sum(sure.values())
    more = sum(max(0, times - 1 - sure.get(address, 0)) for address, times in came.items())
    judged(
        Result(
            lost=len(good - came.keys()) + len(bad - failed),
            ghost=len(came.keys() - good) + len(failed - bad),
            outside=outside,
            counted=outside - more if more else counted,
            stuck=one(OPEN) + one(LEFT) + len(conn.execute(DEAD).fetchall()),
            notes={
                "mails": len(sure),
                "refused for good": len(bad),
                "breaks": breaks.times,
                **mail_server.done,
            },
        )
    )
    assert kill_a_worker.times > 0
    assert set(mail_server.done) >= {"kept", "not kept", "busy", "slow", "4xx"}
