"""The consequences of emails that the mail server refuses."""

import contextlib

import pytest

import actors
from tests.service.integration.campaigns.conftest import SECOND, addresses, run_out
from workshed import db
from workshed.contrib import mail
from workshed.jobs.dead import dead_jobs

NOT_OURS = mail.MailRefusedError("MAIL FROM", 550, "who are you")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (mail.RecipientRejectedError(SECOND, 550, "no such user"), "rejected"),
        (mail.MailRefusedError("the text of the mail", 554, "spam"), "rejected"),
        (mail.MailDeliveryUnknownError("mail:25", "it hung up"), "unknown"),
    ],
)
def test_a_permanent_refusal_is_an_outcome_and_no_dead_job(
    jobs, post, received, refusing, error, state
):
    users = post.people(3)
    refusing(error, SECOND)

    post.start(number := post.draft())
    run_out(jobs)

    assert received() == addresses([1, 3])
    assert post.progress(number) == {"sent": 2, state: 1}
    assert post.reasons(number) == {users[1]: str(error)}
    assert post.find(number).state == "sent"
    assert not jobs.dead


def test_a_sender_that_is_refused_pauses_it_for_all(jobs, post, received, refusing):
    post.people(3)
    refusing(NOT_OURS, SECOND, times=1)

    post.start(number := post.draft())
    run_out(jobs)

    assert post.find(number).state == "paused"
    assert post.find(number).error == str(NOT_OURS)
    assert sum(received().values()) + post.progress(number)["waiting"] == 3
    post.resume(number)
    run_out(jobs)
    assert received() == addresses(range(1, 4))
    assert post.find(number).state == "sent"


def test_a_text_that_is_refused_to_most_pauses_it(jobs, post, monkeypatch):
    """Otherwise one bad day of the mail server would use up all recipients."""
    post.people(30)
    error = mail.MailRefusedError("the text of the mail", 554, "no")

    def refuse(email, **_):
        with db.transaction() as conn:
            mail.release_claim(conn, email, state=error.resulting_state, error=str(error))
        raise error

    with monkeypatch.context() as bad:
        bad.setattr(mail, "deliver", refuse)
        post.start(number := post.draft())
        run_out(jobs)

    assert (post.find(number).state, post.find(number).error) == ("paused", str(error))
    assert post.progress(number) == {"rejected": 12, "waiting": 18}
    with db.transaction() as conn:
        actors.resume_campaign(conn, number, ["rejected"])
    run_out(jobs)
    assert post.progress(number) == {"sent": 30}
    assert len(jobs.mailbox) == 30


def test_one_whose_job_dies_has_failed_and_can_be_retried(jobs, post, received, refusing):
    users = post.people(2)
    refusing(TypeError("a fault of ours"), SECOND, times=4)

    post.start(number := post.draft())
    for _ in range(5):
        with contextlib.suppress(TypeError):
            jobs.advance(hours=1)
            jobs.drain()
    run_out(jobs)

    assert post.progress(number) == {"sent": 1, "failed": 1}
    assert "died" in post.reasons(number)[users[1]]
    assert post.find(number).state == "sent"
    with db.transaction() as conn:
        (one,) = jobs.dead
        assert dead_jobs.retry_job(conn, one.message_id)
    run_out(jobs)
    assert received() == addresses([1, 2])
    assert post.progress(number) == {"sent": 2}
