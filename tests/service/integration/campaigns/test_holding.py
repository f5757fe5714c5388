"""Mails that may have arrived: held, counted, and never sent again by themselves."""

import threading

import actors
from shop import campaigns
from tests.service.integration.campaigns.conftest import BLOCKED, addresses, handed_out, run_out
from workshed import Batch, db
from workshed.contrib import mail


def test_one_that_may_have_come_is_no_failed_one(jobs, post, received):
    """Killed when it knew, and before it noted it; the batch is cancelled before it comes back."""
    (user_id,) = post.people(1)
    number = handed_out(jobs, post)
    batch = post.one("SELECT batch::text FROM shop.campaign_recipients")
    with db.transaction() as conn:
        email = campaigns.claim(conn, number, user_id)
    mail.deliver(email)
    with db.transaction() as conn:
        mail.give_back(conn, email, state="unknown", error="it hung up")
        Batch.with_id(batch).cancel(conn)

    run_out(jobs)

    assert post.progress(number) == {"unknown": 1}
    with db.transaction() as conn:
        actors.resume_campaign(conn, number, ["failed"])
    run_out(jobs)
    assert received() == addresses([1])


def test_who_was_only_slow_and_a_copy_lock_in_one_order(jobs, post, eventually):
    (user_id,) = post.people(1)
    number = handed_out(jobs, post)
    with db.transaction() as conn:
        slow = campaigns.claim(conn, number, user_id)
    jobs.advance(hours=1)

    def arrive():
        with db.transaction() as conn:
            campaigns.arrived(conn, number, slow)

    late = threading.Thread(target=arrive)
    with db.transaction() as conn:
        conn.execute("SELECT FROM shop.campaign_recipients FOR UPDATE")
        late.start()
        eventually(lambda: post.one(BLOCKED))
        assert mail.emails.mark_unknown(conn, slow.id)
    late.join()

    assert post.progress(number) == {"sent": 1}
    assert post.one("SELECT state FROM workshed_mail.emails") == "sent"


def test_one_whose_sender_was_killed_is_held_and_counted(jobs, post, received):
    """It may have arrived: of mails to many, one that is missing does less harm than two."""
    (user_id,) = post.people(1)
    number = handed_out(jobs, post)
    with db.transaction() as conn:
        campaigns.claim(conn, number, user_id)

    jobs.drain()
    assert post.progress(number) == {"handed": 1}  # by somebody who may yet be there
    jobs.advance(hours=1)
    run_out(jobs)

    assert received() == {}
    assert post.progress(number) == {"unknown": 1}
    assert post.one("SELECT state FROM workshed_mail.emails") == "unknown"
    assert post.find(number).state == "sent"


def test_one_who_was_only_slow_is_sent_after_all(jobs, post):
    (user_id,) = post.people(1)
    number = handed_out(jobs, post)
    with db.transaction() as conn:
        slow = campaigns.claim(conn, number, user_id)
    jobs.advance(hours=1)
    run_out(jobs)

    with db.transaction() as conn:
        campaigns.arrived(conn, number, slow)

    assert post.progress(number) == {"sent": 1}
    assert post.one("SELECT state FROM workshed_mail.emails") == "sent"
