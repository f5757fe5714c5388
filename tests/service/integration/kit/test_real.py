"""Jobs of the service that a worker process runs, with RabbitMQ and without it."""

from datetime import timedelta

import pytest

from actors import daily_report, send_onboarding_reminder, send_welcome_email, sign_up
from shop import people
from tests.conftest import TRANSPORTS
from workshed import db
from workshed.testing.errors import DiedError, KitError
from workshed.transport.errors import InvalidArgumentError

pytestmark = [
    pytest.mark.jobs(mode="real"),
    pytest.mark.one_in(3),
    pytest.mark.usefixtures("any_transport"),
    pytest.mark.parametrize("transport", TRANSPORTS, indirect=True),
]


def test_sent_jobs_have_run_after_drain(jobs):
    """Jobs are sent directly and in a transaction; a dead one raises once the others have run."""
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


def test_jobs_of_other_tests_are_gone_and_unfinished_ones_are_reported(jobs):
    assert (jobs.enqueued, jobs.mailbox, jobs.dead) == ([], [], [])
    sent = send_welcome_email.send(404)

    with pytest.raises(
        KitError, match=f"still due or running after 0s: 1 jobs, such as {sent.message_id}"
    ):
        jobs.drain(within=timedelta())


def test_a_worker_dies_at_the_given_place(jobs):
    """It dies before the second commit: the email is out but not recorded, so it is sent again."""
    with db.transaction() as conn:
        ada = people.create(conn, name="Ada Lovelace", email="ada@example.org")

    jobs.crash_during(send_welcome_email, ada.id, at="before COMMIT (no. 2)")

    [claimed] = jobs.scheduled
    assert (claimed.actor, len(jobs.mailbox)) == ("send_welcome_email", 1)
    with pytest.raises(KitError, match="reminder did not reach its commit, so no worker was"):
        jobs.crash_during(send_onboarding_reminder, ada.id, at="its commit")


def test_a_worker_that_does_not_start_is_reported_with_its_last_output(jobs):
    send_welcome_email.send(404)
    jobs._worker._modules = ["nowhere"]

    with pytest.raises(KitError, match=r"the worker has ended; the end of its log:[^$]*nowhere"):
        jobs.drain()


def test_functions_of_other_modes_are_reported(jobs):
    with pytest.raises(KitError, match=r"jobs\.perform exists in the modes fake and inline"):
        jobs.perform(send_welcome_email, 404)
    with pytest.raises(AttributeError, match="dran"):
        jobs.dran()


def test_arguments_that_production_would_refuse_are_refused(jobs):
    """The actor's annotations and its parameters decide."""
    with pytest.raises(InvalidArgumentError, match="argument user_id"):
        send_welcome_email.send("seven")
    with pytest.raises(InvalidArgumentError, match="missing a required argument: 'user_id'"):
        send_welcome_email.send(user=7)
