"""The tests of the sample application in docs/testing.md, run as printed."""

from datetime import timedelta

import pytest

from actors import send_onboarding_reminder, send_welcome_email
from shop import people
from tests import pages
from workshed import db

DOCS = "docs/testing.md"
FILES = pages.files(DOCS)
INLINE = pages.files(DOCS, "inline")
REAL = pages.files(DOCS, "real")
NOT_ENQUEUED = pages.block(DOCS, "send_onboarding_reminder(user_id=8)")


@pytest.fixture
def sample(project):
    """A project that tests the sample application, whose queues are in its App."""
    project.environment["WORKSHED_APP"] = "brokers.app:app"


@pytest.mark.usefixtures("sample")
def test_the_tests_of_the_welcome_job_pass(project):
    for example in (FILES | INLINE).items():
        project.write(*example)

    project.run().assert_outcomes(passed=6)


@pytest.mark.usefixtures("sample")
def test_the_test_with_a_worker_that_is_killed_passes(project):
    """It starts its own RabbitMQ, as on the page."""
    for example in REAL.items():
        project.write(*example)

    project.run().assert_outcomes(passed=1)

    left = [one.name for one in project.temporary.iterdir()]
    # A killed master deletes nothing: neither its metrics nor, from Python 3.14 on, the folder
    # of its fork server.
    expected = ("workshed-metrics-", "pymp-")
    assert [name for name in left if not name.startswith(expected)] == []


def test_a_failure_looks_as_documented(jobs):
    with db.transaction() as conn:
        conn.execute("ALTER TABLE shop.users ALTER id RESTART WITH 7")
        user = people.create(conn, name="Ada Lovelace", email="ada@example.org")
    jobs.perform(send_welcome_email, user.id)

    with pytest.raises(AssertionError) as failed:
        jobs.assert_enqueued(send_onboarding_reminder, 8, in_=timedelta(days=3))

    assert f"{failed.value}\n" == NOT_ENQUEUED
