"""Emails that may have arrived: held, counted, and never sent again automatically."""

import threading

import actors
from shop import campaigns
from tests.service.integration.campaigns.conftest import BLOCKED, addresses, handed_out, run_out
from workshed import Batch, db
from workshed.contrib import mail


def test_an_email_that_may_have_arrived_has_not_failed(jobs, post, received):
    """The worker is killed before it records the outcome; then the batch is cancelled."""
    (user_id,) = post.people(1)
    number = handed_out(jobs, post)
    batch = post.one("SELECT batch::text FROM shop.campaign_recipients")
    with db.transaction() as conn:
        email = campaigns.claim_email(conn, number, user_id)
    mail.deliver(email)
    with db.transaction() as conn:
        mail.release_claim(conn, email, state="unknown", error="it hung up")
        Batch.with_id(batch).cancel(conn)

    run_out(jobs)

    assert post.progress(number) == {"unknown": 1}
    with db.transaction() as conn:
        actors.resume_campaign(conn, number, ["failed"])
    run_out(jobs)
    assert received() == addresses([1])


def test_a_slow_worker_and_a_copy_lock_in_the_same_order(jobs, post, eventually):
    (user_id,) = post.people(1)
    number = handed_out(jobs, post)
    with db.transaction() as conn:
        slow = campaigns.claim_email(conn, number, user_id)
    jobs.advance(hours=1)

    def arrive():
        with db.transaction() as conn:
            campaigns.mark_delivered(conn, number, slow)

    late = threading.Thread(target=arrive)
    with db.transaction() as conn:
        conn.execute("SELECT FROM shop.campaign_recipients FOR UPDATE")
        late.start()
        eventually(lambda: post.one(BLOCKED))
        assert mail.stored_mails.mark_unknown(conn, slow.id)
    late.join()

    assert post.progress(number) == {"sent": 1}
    assert post.one("SELECT state FROM workshed_mail.emails") == "sent"


def test_one_whose_sender_was_killed_is_held_and_counted(jobs, post, received):
    """The email may have arrived: in a campaign, a missing email does less harm than two."""
    (user_id,) = post.people(1)
    number = handed_out(jobs, post)
    with db.transaction() as conn:
        campaigns.claim_email(conn, number, user_id)

    jobs.drain()
    assert post.progress(number) == {"handed": 1}  # its worker may still be alive
    jobs.advance(hours=1)
    run_out(jobs)

    assert received() == {}
    assert post.progress(number) == {"unknown": 1}
    assert post.one("SELECT state FROM workshed_mail.emails") == "unknown"
    assert post.find(number).state == "sent"


def test_an_email_of_a_slow_worker_counts_as_sent_later(jobs, post):
    (user_id,) = post.people(1)
    number = handed_out(jobs, post)
    with db.transaction() as conn:
        slow = campaigns.claim_email(conn, number, user_id)
    jobs.advance(hours=1)
    run_out(jobs)

    with db.transaction() as conn:
        campaigns.mark_delivered(conn, number, slow)

    assert post.progress(number) == {"sent": 1}
    assert post.one("SELECT state FROM workshed_mail.emails") == "sent"
