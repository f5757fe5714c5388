"""Campaigns with the test kit: people, templates, and the outcome of each recipient."""

import secrets
from collections import Counter

import pytest

import actors
from actors import send_bulk_email
from shop import campaigns
from tests.service.integration.reports.conftest import run_python
from tests.service.variables import variable
from workshed import db
from workshed.contrib import mail
from workshed.settings import settings

__all__ = ["run_python"]

TEXT = "Hello {{ name }}, {{ product }} has news.\n\nNo more of these: {{ unsubscribe_url }}\n"
HTML = """<style>p { color: #123456 }</style>
<p>Hello {{ name }}</p><p><a href="{{ unsubscribe_url }}">No more of these</a></p>"""


SECOND = "user2@example.org"
"""The second of `post.people`."""
BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


class Post:
    """A test's operations on campaigns, each in its own transaction."""

    def people(self, count, *, active=False, prefix="user"):
        """Create users and return their ids."""
        query = """
            INSERT INTO shop.users (name, email, activated_at)
            SELECT 'Ada ' || n, %s || n || '@example.org', CASE WHEN %s THEN now() END
              FROM generate_series(1, %s) AS n
            RETURNING id
        """
        with db.transaction() as conn:
            rows = conn.execute(query, (prefix, active, count)).fetchall()
        return [user_id for (user_id,) in rows]

    def draft(self, **given):
        """Create a draft campaign and return its id."""
        said = {"name": "News", "subject": "News for {{ name }}", "text": TEXT, "html": HTML}
        with db.transaction() as conn:
            return campaigns.create(conn, **said | given).id

    def start(self, campaign_id):
        with db.transaction() as conn:
            actors.start_campaign(conn, campaign_id)

    def pause(self, campaign_id):
        with db.transaction() as conn:
            return campaigns.pause(conn, campaign_id)

    def resume(self, campaign_id):
        with db.transaction() as conn:
            actors.resume_campaign(conn, campaign_id)

    def cancel(self, campaign_id):
        with db.transaction() as conn:
            actors.cancel_campaign(conn, campaign_id)

    def unsubscribe(self, user_id):
        with db.transaction() as conn:
            actors.unsubscribe_user(conn, user_id)

    def find(self, campaign_id):
        with db.transaction() as conn:
            return campaigns.get_campaign(conn, campaign_id)

    def progress(self, campaign_id):
        """Return the number of recipients in each state, without states that have none."""
        with db.transaction() as conn:
            found = campaigns.get_progress(conn, campaign_id)
        counts = {name: getattr(found, name) for name in found.__slots__}
        return {name: count for name, count in counts.items() if count}

    def reasons(self, campaign_id):
        with db.transaction() as conn:
            found = campaigns.list_recipients(
                conn, campaign_id, states=campaigns.CampaignProgress.__slots__, limit=10_000
            )
        return {one.user_id: one.reason for one in found if one.reason}

    def one(self, query, *values):
        with db.transaction() as conn:
            return conn.execute(query, values).fetchone()[0]


@pytest.fixture(autouse=True)
def configured(monkeypatch):
    """`configured(campaign_batch="2")`: settings of this test, in addition to a signing key."""

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(variable(name), value)
        settings.cache_clear()

    change(secret_key=secrets.token_urlsafe(32), site_url="https://shop.example")
    return change


@pytest.fixture
def post():
    return Post()


@pytest.fixture
def received(jobs):
    """`received()`: the number of emails of each address."""
    return lambda: Counter(mail["To"].addresses[0].addr_spec for mail in jobs.mailbox)


@pytest.fixture
def hundred(configured):
    """Batches of two, so that a few people make several batches."""
    configured(campaign_batch="2", campaign_pause="5")


def addresses(numbers):
    return {f"user{n}@example.org": 1 for n in numbers}


def run_out(jobs):
    """Run all jobs, including those that wait between two batches."""
    while jobs.enqueued:
        jobs.advance(seconds=5)
        jobs.drain()


def handed_out(jobs, post):
    """Return the id of a campaign whose recipients are all handed out and not sent yet."""
    number = post.draft()
    jobs.perform(send_bulk_email, number)
    jobs.perform(send_bulk_email, number, 0)
    return number


@pytest.fixture
def refusing(monkeypatch):
    """`refusing(error, "user2@example.org")`: the server refuses an address with this error."""

    def refuse(error, address, times=99):
        deliver, left = mail.deliver, [times]

        def deliver_or_not(email, **options):
            if email.recipient == address and left[0]:
                left[0] -= 1
                with db.transaction() as conn:
                    mail.release_claim(
                        conn,
                        email,
                        state=getattr(error, "resulting_state", "pending"),
                        error=str(error),
                    )
                raise error
            deliver(email, **options)

        monkeypatch.setattr(mail, "deliver", deliver_or_not)

    return refuse
