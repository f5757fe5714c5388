"""Campaigns that are paused, resumed, cancelled, or sent again to some recipients."""

import contextlib
import threading

import pytest

import actors
from actors import send_bulk_email, send_campaign_email
from shop import campaigns
from shop.campaigns import CampaignStateError, TemplateError
from tests.service.integration.campaigns.conftest import SECOND, addresses, handed_out, run_out
from workshed import Batch, db
from workshed.contrib import mail

NOT_OURS = mail.MailRefusedError("MAIL FROM", 550, "who are you")


def note(number, user_id, error):
    with db.transaction() as conn:
        campaigns.record_error(conn, number, user_id, error)


def test_while_it_is_paused_nothing_is_sent(jobs, post, received, hundred):
    post.people(5)
    post.start(number := post.draft())
    jobs.drain()

    assert post.pause(number)
    run_out(jobs)

    assert received() == addresses([1, 2])
    assert post.progress(number) == {"sent": 2, "waiting": 3}
    assert post.find(number).state == "paused"


def test_jobs_on_their_way_when_it_is_paused_are_put_back(jobs, post, received):
    post.people(3)
    number = handed_out(jobs, post)
    assert post.progress(number) == {"handed": 3}

    post.pause(number)
    run_out(jobs)

    assert post.progress(number) == {"waiting": 3}
    assert jobs.mailbox == []
    post.resume(number)
    run_out(jobs)
    assert received() == addresses(range(1, 4))
    assert post.find(number).state == "sent"


@pytest.mark.parametrize("times", [1, 3])
def test_it_is_resumed_where_it_was(jobs, post, received, hundred, times):
    post.people(7)
    post.start(number := post.draft())
    jobs.drain()
    post.pause(number)
    run_out(jobs)

    for _ in range(times):
        post.resume(number)
    run_out(jobs)

    assert received() == addresses(range(1, 8))
    assert post.find(number).state == "sent"


def test_it_is_resumed_before_its_jobs_have_seen_that_it_was_paused(jobs, post, received, hundred):
    post.people(7)
    post.start(number := post.draft())
    jobs.drain()

    post.pause(number)
    post.resume(number)
    run_out(jobs)

    assert received() == addresses(range(1, 8))
    assert post.one("SELECT count(*) FROM workshed.batches") == 1


def test_it_ends_when_the_jobs_of_all_its_batches_have(jobs, post, received):
    users = post.people(3)
    number = handed_out(jobs, post)
    post.pause(number)
    jobs.perform(send_campaign_email, number, users[0])
    post.resume(number)
    batch = post.find(number).batch
    jobs.perform(send_bulk_email, number, post.find(number).cursor)

    with db.transaction() as conn:
        assert not campaigns.complete_batch(conn, number, batch)

    assert post.progress(number) == {"handed": 2, "failed": 1}
    run_out(jobs)
    assert post.find(number).state == "sent"
    assert received() == addresses(range(1, 4))


def test_one_whose_first_job_was_lost_is_started_by_resuming_it(jobs, post, received):
    post.people(1)
    post.start(number := post.draft())
    with db.transaction() as conn:
        conn.execute("DELETE FROM workshed.schedule")

    post.resume(number)
    run_out(jobs)

    assert received() == addresses([1])


def test_a_campaign_that_is_cancelled_sends_no_more(jobs, post, received, hundred):
    post.people(5)
    post.start(number := post.draft())
    jobs.drain()

    post.cancel(number)
    run_out(jobs)

    assert received() == addresses([1, 2])
    assert post.progress(number) == {"sent": 2, "waiting": 3}
    assert post.find(number).state == "cancelled"
    with pytest.raises(CampaignStateError, match="is cancelled: it cannot be resumed"):
        post.resume(number)


def test_one_whose_batch_is_cancelled_is_paused_and_resumed_in_another(
    jobs, post, received, hundred
):
    post.people(5)
    post.start(number := post.draft())
    jobs.drain()
    with db.transaction() as conn:
        Batch.with_id(post.find(number).batch).cancel(conn)

    run_out(jobs)

    found = post.find(number)
    assert (found.state, found.batch) == ("paused", None)
    assert "cancelled" in found.error
    post.resume(number)
    run_out(jobs)
    assert received() == addresses(range(1, 6))
    assert post.find(number).state == "sent"


def test_a_recipient_put_back_during_a_resume_is_not_left_behind(
    jobs, post, received, hundred, eventually
):
    """Its email is refused because of the sender, just when the paused campaign is resumed."""
    users = post.people(5)
    post.start(number := post.draft())
    jobs.drain()
    jobs.perform(send_bulk_email, number, users[1])
    post.pause(number)
    refused = threading.Thread(target=note, args=(number, users[2], NOT_OURS))
    with db.transaction() as conn:
        campaigns.resume(conn, number, "00000000-0000-0000-0000-000000000000")
        refused.start()
        with contextlib.suppress(AssertionError):
            eventually(lambda: not refused.is_alive(), within_s=1)
        assert refused.is_alive()
    refused.join()

    assert post.find(number).state == "paused"
    post.resume(number)
    run_out(jobs)
    assert received() == addresses(range(1, 6))
    assert post.find(number).state == "sent"


def test_a_batch_that_was_left_is_not_left_again(jobs, post, hundred):
    """A copy from a cancelled batch comes late, when the campaign is already in another batch."""
    post.people(5)
    post.start(number := post.draft())
    jobs.drain()
    old = post.find(number).batch
    with db.transaction() as conn:
        campaigns.detach_cancelled_batch(conn, number, old, "it was cancelled")
    post.resume(number)

    with db.transaction() as conn:
        campaigns.detach_cancelled_batch(conn, number, old, "it was cancelled")

    assert post.find(number).state == "sending"
    assert post.find(number).batch not in (None, old)


@pytest.mark.parametrize("again", ["rejected", "unknown", "failed"])
def test_a_sent_campaign_is_sent_again_to_those_who_did_not_get_it(
    jobs, post, received, refusing, again
):
    post.people(3)
    error = {
        "rejected": mail.RecipientRejectedError(SECOND, 550, "no such user"),
        "unknown": mail.MailDeliveryUnknownError("mail:25", "it hung up"),
        "failed": TemplateError("text", "on this one day"),
    }[again]
    refusing(error, SECOND, times=1)
    post.start(number := post.draft())
    with contextlib.suppress(TemplateError):
        run_out(jobs)
    run_out(jobs)
    assert post.progress(number) == {"sent": 2, again: 1}

    with db.transaction() as conn:
        actors.resume_campaign(conn, number, [again])
    run_out(jobs)

    assert received() == addresses(range(1, 4))
    assert post.progress(number) == {"sent": 3}
    assert post.find(number).state == "sent"
    with pytest.raises(CampaignStateError, match="is sent: it cannot be resumed"):
        post.resume(number)
