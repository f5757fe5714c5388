"""The tests that docs/testing.md shows, run as printed, on the actor of README."""

from datetime import timedelta

import pytest

from actors import send_onboarding_reminder, send_welcome_email
from tests import pages
from workshed import db, people

DOCS = "docs/testing.md"
FILES = pages.files(DOCS)
README = pages.files("README.md")
THEIR_TESTS = pages.files(DOCS, "test")
SHOP = pages.files(DOCS, "orders")
TWICE = pages.files(DOCS, "twice")
INLINE = pages.files(DOCS, "inline")
REAL = pages.files(DOCS, "real")
NOT_ENQUEUED = pages.block(DOCS, "send_onboarding_reminder(user_id=8)")
NOT_IDEMPOTENT = pages.block(DOCS, "reorder(1) is not idempotent")


def test_the_tests_of_the_welcome_job_pass(project):
    for example in (FILES | INLINE).items():
        project.write(*example)

    project.run().assert_outcomes(passed=6)


def test_the_tests_of_the_first_actor_pass(project):
    for example in (README | THEIR_TESTS | SHOP | TWICE).items():
        project.write(*example)

    project.run().assert_outcomes(passed=4)


def test_a_job_that_is_not_idempotent_fails_as_is_said(project):
    [(name, example)] = TWICE.items()
    for one in [*SHOP.items(), (name, example.replace(", once=True", ""))]:
        project.write(*one)

    done = project.run("-q")

    done.assert_outcomes(failed=1)
    said = [line.removeprefix("E").strip() for line in done.said.splitlines()]
    for line in NOT_IDEMPOTENT.splitlines():
        assert line.strip() in [*said, *(line.partition(": ")[2] for line in said)]


def test_the_test_with_a_worker_that_is_killed_passes(project):
    """With a RabbitMQ of its own, as there."""
    for example in REAL.items():
        project.write(*example)

    project.run().assert_outcomes(passed=1)

    left = [one.name for one in project.temporary.iterdir()]
    assert [name for name in left if not name.startswith("workshed-metrics-")] == []


def test_a_failure_looks_as_is_said(jobs):
    with db.transaction() as conn:
        conn.execute("ALTER TABLE product.users ALTER id RESTART WITH 7")
        user = people.create(conn, name="Ada Lovelace", email="ada@example.org")
    jobs.perform(send_welcome_email, user.id)

    with pytest.raises(AssertionError) as failed:
        jobs.assert_enqueued(send_onboarding_reminder, 8, in_=timedelta(days=3))

    assert f"{failed.value}\n" == NOT_ENQUEUED
