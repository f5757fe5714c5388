"""The examples of docs/testing.md, run as they stand there, and what it shows of a failure."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from actors import send_onboarding_reminder, send_welcome_email
from workshed import db, people

DOCS = Path(__file__).parents[3] / "docs" / "testing.md"
EXAMPLE = re.compile(r"<!-- file: (\S+) -->\n```python\n(.*?)```", re.DOTALL)


def test_the_examples_pass(project):
    for name, text in EXAMPLE.findall(DOCS.read_text("utf-8")):
        project.write(name, text)

    project.run().assert_outcomes(passed=5)


def test_a_failure_looks_as_is_said(jobs):
    with db.transaction() as conn:
        conn.execute("ALTER TABLE product.users ALTER id RESTART WITH 7")
        user = people.create(conn, name="Ada Lovelace", email="ada@example.org")
    jobs.perform(send_welcome_email, user.id)

    with pytest.raises(AssertionError) as failed:
        jobs.assert_enqueued(send_onboarding_reminder, 8, in_=timedelta(days=3))

    assert f"```\n{failed.value}\n```" in DOCS.read_text("utf-8")
