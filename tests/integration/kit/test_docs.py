"""The tests that docs/testing.md and README show, run as they stand there."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from actors import send_onboarding_reminder, send_welcome_email
from workshed import db, people

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "testing.md"
README = ROOT / "README.md"


def examples(document, mark):
    """The blocks of a document that have this mark: file name and text."""
    block = re.compile(rf"<!-- {mark}: (\S+) -->\n```python\n(.*?)```", re.DOTALL)
    return block.findall(document.read_text("utf-8"))


def test_the_tests_of_the_welcome_job_pass(project):
    for example in [*examples(DOCS, "file"), *examples(DOCS, "inline")]:
        project.write(*example)

    project.run().assert_outcomes(passed=6)


def test_the_tests_of_the_first_actor_pass(project):
    for example in (
        *examples(README, "file"),
        *examples(README, "test"),
        *examples(DOCS, "orders"),
        *examples(DOCS, "twice"),
    ):
        project.write(*example)

    project.run().assert_outcomes(passed=4)


def test_a_job_that_is_not_idempotent_fails_as_is_said(project):
    [(name, example)] = examples(DOCS, "twice")
    for one in [*examples(DOCS, "orders"), (name, example.replace(", once=True", ""))]:
        project.write(*one)

    done = project.run("-q")

    done.assert_outcomes(failed=1)
    [shown] = re.findall(r"```\n(reorder.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    said = [line.removeprefix("E").strip() for line in done.said.splitlines()]
    for line in shown.splitlines():
        assert line.strip() in [*said, *(line.partition(": ")[2] for line in said)]


def test_the_test_with_a_worker_that_is_killed_passes(project):
    """With a RabbitMQ of its own, as there."""
    for example in examples(DOCS, "real"):
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

    assert f"```\n{failed.value}\n```" in DOCS.read_text("utf-8")
