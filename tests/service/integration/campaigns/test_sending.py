"""A campaign from its start to its end, and jobs that are delivered twice."""

import pytest

from actors import send_bulk_email, send_campaign_email
from shop import retention
from shop.campaigns import CampaignStateError
from shop.people import unsubscribe_links
from tests.service.integration.campaigns.conftest import addresses, handed_out, run_out
from workshed.contrib import mail


def test_each_of_its_audience_gets_one_mail(jobs, post, received, hundred):
    post.people(5)
    number = post.draft()

    post.start(number)
    run_out(jobs)

    assert received() == addresses(range(1, 6))
    assert post.progress(number) == {"sent": 5}
    assert post.find(number).state == "sent"


def test_send_with_its_id_is_enough(jobs, post, received):
    post.people(3)
    number = post.draft()

    send_bulk_email.send(number)
    run_out(jobs)

    assert received() == addresses(range(1, 4))


def test_each_mail_is_made_from_the_templates(jobs, post):
    (user_id,) = post.people(1)

    post.start(post.draft())
    run_out(jobs)

    (mail,) = jobs.mailbox
    link = unsubscribe_links.build_link(user_id)
    assert mail["Subject"] == "News for Ada 1"
    assert f"Hello Ada 1, Workshed has news.\n\nNo more of these: {link}" in mail.get_body(
        ("plain",)
    ).get_content().replace("=\n", "")
    page = mail.get_body(("html",)).get_content()
    assert 'style="color: #123456' in page
    assert f'href="{link}"' in page


def test_mails_have_headers_to_unsubscribe_by_one_click(jobs, post):
    (user_id,) = post.people(1)

    post.start(post.draft())
    run_out(jobs)

    (mail,) = jobs.mailbox
    assert mail["List-Unsubscribe"] == f"<{unsubscribe_links.build_link(user_id)}>"
    assert mail["List-Unsubscribe"].startswith("<https://")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_its_mails_yield_to_those_to_one_person(jobs, post):
    post.people(1)

    handed_out(jobs, post)

    jobs.assert_enqueued(send_campaign_email, queue="emails", priority=mail.BULK)
    assert mail.BULK < mail.SINGLE < mail.ALERT


@pytest.mark.parametrize(
    ("audience", "expected"), [("everyone", 5), ("active", 2), ("inactive", 3)]
)
def test_its_audience_has_no_unsubscribed_users(jobs, post, received, audience, expected):
    post.people(2, active=True, prefix="active")
    post.people(3, prefix="inactive")
    for user_id in (
        *post.people(1, active=True, prefix="left"),
        *post.people(1, prefix="gone"),
    ):
        post.unsubscribe(user_id)

    post.start(post.draft(audience=audience))
    run_out(jobs)

    assert sum(received().values()) == expected
    assert {"left1@example.org", "gone1@example.org"}.isdisjoint(received())


def test_later_users_are_not_in_its_audience(jobs, post, received, hundred):
    post.people(3)
    post.start(number := post.draft())
    jobs.drain()

    post.people(2, prefix="late")
    run_out(jobs)

    assert received() == addresses(range(1, 4))
    assert post.find(number).state == "sent"


def test_without_an_audience_it_is_sent(jobs, post):
    post.start(number := post.draft())

    run_out(jobs)

    assert (post.find(number).state, jobs.mailbox) == ("sent", [])


def test_a_campaign_that_is_started_twice_is_sent_once(jobs, post, received, hundred):
    post.people(5)
    number = post.draft()

    post.start(number)
    with pytest.raises(CampaignStateError, match="is starting: it cannot be started"):
        post.start(number)
    for _ in range(2):
        send_bulk_email.send(number)
    run_out(jobs)

    assert received() == addresses(range(1, 6))
    assert post.one("SELECT count(*) FROM workshed.batches") == 1


def test_copies_of_a_job_that_hands_out_do_nothing(jobs, post, received, hundred):
    users = post.people(5)
    post.start(number := post.draft())
    jobs.drain()

    with jobs.expect_discard("past user 0"):
        jobs.perform(send_bulk_email, number, 0)
    for _ in range(2):
        send_bulk_email.send(number, users[1])
    run_out(jobs)

    assert received() == addresses(range(1, 6))
    assert post.one("SELECT count(*) FROM workshed.batch_jobs") == 5


def test_a_copy_of_a_mails_job_sends_nothing(jobs, post, received):
    (user_id,) = post.people(1)
    post.start(number := post.draft())
    run_out(jobs)

    with jobs.expect_discard("is sent"):
        jobs.perform(send_campaign_email, number, user_id)

    assert received() == addresses([1])


def test_old_campaigns_go_with_their_mails(jobs, post, hundred):
    post.people(5)
    post.start(old := post.draft())
    run_out(jobs)
    jobs.advance(days=400)
    post.start(new := post.draft())
    run_out(jobs)

    jobs.advance(days=400)
    deleted = retention.prune_expired()["rows of campaigns"]

    assert deleted == 6
    assert post.progress(old) == {}
    assert post.progress(new) == {"sent": 5}
    assert post.one("SELECT count(*) FROM workshed_mail.emails") == 5
    assert post.one("SELECT array_agg(id) FROM shop.campaigns") == [new]
