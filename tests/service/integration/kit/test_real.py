"""Jobs of the service that RabbitMQ carries and a worker process runs."""

from datetime import timedelta

import pytest

from actors import daily_report, send_onboarding_reminder, send_welcome_email, sign_up
from shop import people
from workshed import db
from workshed.testing.errors import DiedError, KitError
from workshed.transport.errors import InvalidArgumentError

pytestmark = [pytest.mark.jobs(mode="real"), pytest.mark.one_in(3)]


def test_what_is_sent_has_run_when_it_is_drained(jobs):
    """Sent directly, and in a transaction; a job that dies is raised once the others have run."""
    with db.transaction() as conn:
        ada = people.create(conn, name="Ada Lovelace", email="ada@example.org")
        grace = sign_up(conn, name="Grace Hopper", email="grace@example.org")
    send_welcome_email.send(ada.id)
    daily_report.send_with_options(args=("no day",), max_retries=0)

    with pytest.raises(DiedError, match="daily_report died: "):
        jobs.drain()

    assert len(jobs.mailbox) == 2
    for user in (ada, grace):
        jobs.assert_enqueued(send_onboarding_reminder, user.id, in_=timedelta(days=3), times=1)
    assert [one.actor for one in jobs.dead] == ["daily_report"]


def test_nothing_of_another_test_is_there_and_what_does_not_end_is_told(jobs):
    assert (jobs.enqueued, jobs.mailbox, jobs.dead) == ([], [], [])
    sent = send_welcome_email.send(404)

    with pytest.raises(
        KitError, match=f"still due or running after 0 s: 1 jobs, as {sent.message_id}"
    ):
        jobs.drain(within=timedelta())


def test_a_worker_dies_where_it_is_told_to(jobs):
    """Before the second commit: the mail is out and not noted, so the next one sends it again."""
    with db.transaction() as conn:
        ada = people.create(conn, name="Ada Lovelace", email="ada@example.org")

    jobs.crash_during(send_welcome_email, ada.id, at="before COMMIT (no. 2)")

    [claimed] = jobs.scheduled
    assert (claimed.actor, len(jobs.mailbox)) == ("send_welcome_email", 1)
    with pytest.raises(KitError, match="reminder has not come to its commit, so no worker was"):
        jobs.crash_during(send_onboarding_reminder, ada.id, at="its commit")


def test_a_worker_that_does_not_start_is_told_with_its_last_words(jobs):
    send_welcome_email.send(404)
    jobs._worker._modules = ["nowhere"]

    with pytest.raises(KitError, match=r"the worker has ended; the last it said:[^$]*nowhere"):
        jobs.drain()


def test_what_only_other_modes_have_is_told(jobs):
    with pytest.raises(KitError, match=r"jobs\.perform is there in the modes fake and inline"):
        jobs.perform(send_welcome_email, 404)
    with pytest.raises(AttributeError, match="dran"):
        jobs.dran()


def test_what_production_would_refuse_is_refused(jobs):
    """By the annotations of the actor, and by its parameters."""
    with pytest.raises(InvalidArgumentError, match="argument user_id"):
        send_welcome_email.send("seven")
    with pytest.raises(InvalidArgumentError, match="missing a required argument: 'user_id'"):
        send_welcome_email.send(user=7)
