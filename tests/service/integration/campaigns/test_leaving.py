"""Whether a recipient has unsubscribed is checked when their email is sent."""

from actors import send_campaign_email
from tests.service.integration.campaigns.conftest import addresses, run_out
from workshed import db
from workshed.contrib import mail


def test_a_user_who_unsubscribes_before_it_is_sent_gets_nothing(jobs, post, received, hundred):
    users = post.people(5)
    post.start(number := post.draft())
    jobs.drain()

    post.unsubscribe(users[4])
    run_out(jobs)

    assert received() == addresses(range(1, 5))
    assert post.progress(number) == {"sent": 4, "unsubscribed": 1}
    assert post.find(number).state == "sent"


def test_a_user_who_unsubscribes_during_retries_gets_nothing(jobs, post, received):
    (user_id,) = post.people(1)
    post.start(number := post.draft())
    jobs.fail_next(mail_job := send_campaign_email, mail.MailTimeoutError("mail:25", "DATA", 10))
    with jobs.expect_retry():
        jobs.drain()

    post.unsubscribe(user_id)
    run_out(jobs)

    assert (mail_job.actor_name, received()) == ("send_campaign_email", {})
    assert post.progress(number) == {"unsubscribed": 1}


def test_a_user_deleted_before_it_is_sent_counts_as_gone(jobs, post, received, hundred):
    users = post.people(3)
    post.start(number := post.draft())
    jobs.drain()

    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.users WHERE id = %s", (users[2],))
    run_out(jobs)

    assert post.progress(number) == {"sent": 2, "gone": 1}
    assert post.find(number).state == "sent"
