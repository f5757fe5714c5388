"""A campaign whose mail server accepts nothing: it pauses, says why, and resumes by itself."""

import contextlib
import logging

import psycopg
import pytest

import actors
from actors import go_on_with_campaign
from shop import campaigns
from shop.campaigns import CampaignStateError
from tests import pages
from tests.service.integration.campaigns.conftest import addresses
from tests.service.integration.mail.strict import Greylisting, Quota
from workshed import db
from workshed.contrib import mail
from workshed.contrib.mail import seats

PEOPLE = 40
NAMED = pages.block("docs/bulk-mail.md", "from actors import start_campaign")


@pytest.fixture
def serve(jobs, tmp_path, configured):
    """`serve(Greylisting)`: a mail server of this kind that receives all emails."""
    with contextlib.ExitStack() as opened:

        def start(kind, **how):
            server = opened.enter_context(kind(tmp_path / "strict", **how))
            configured(smtp_url=server.url)
            return server

        yield start
        seats.process_seats.close()


def live(jobs, minutes, step=1):
    """Let time pass in steps in which jobs run; postponed jobs are no error here."""
    for _ in range(0, minutes, step):
        with contextlib.suppress(mail.MailServerError):
            jobs.drain()
        jobs.advance(minutes=step)
    with contextlib.suppress(mail.MailServerError):
        jobs.drain()


def arrived(server):
    came = [address for one in server.received for address in one.recipients]
    assert len(set(came)) == len(came)
    return dict.fromkeys(came, 1)


def test_an_outage_pauses_it_with_the_reason_and_it_resumes_by_itself(jobs, post, serve):
    server = serve(Greylisting, wait_s=0)
    server.stop()
    post.people(PEOPLE)
    post.start(number := post.draft())

    live(jobs, minutes=60)

    paused = post.find(number)
    assert paused.state == "paused"
    assert "nothing listens there" in paused.error
    assert paused.resumes_at is not None
    assert post.progress(number) == {"waiting": PEOPLE}
    server.start()
    live(jobs, minutes=8)
    assert arrived(server) == addresses(range(1, PEOPLE + 1))
    assert post.progress(number) == {"sent": PEOPLE}
    assert (post.find(number).state, post.find(number).error) == ("sent", None)
    assert jobs.dead == []


def test_greylisting_of_all_pauses_it_with_the_words_of_the_server(jobs, post, serve):
    server = serve(Greylisting)
    post.people(PEOPLE)
    post.start(number := post.draft())

    jobs.advance(seconds=1)
    with contextlib.suppress(mail.MailServerError):
        jobs.drain()

    paused = post.find(number)
    assert paused.state == "paused"
    assert "450: 4.2.0 Greylisted, come back in 300 seconds" in paused.error
    assert len(server.attempts) < PEOPLE  # the rest is not tried
    live(jobs, minutes=30)
    assert arrived(server) == addresses(range(1, PEOPLE + 1))
    assert post.find(number).state == "sent"
    assert jobs.dead == []


def test_a_daily_quota_is_waited_for_by_a_campaign(jobs, post, serve):
    server = serve(Quota, a_day=5)
    post.people(12)
    post.start(number := post.draft())

    live(jobs, minutes=60, step=10)
    assert "452" in post.find(number).error
    assert "Daily quota exceeded" in post.find(number).error
    assert post.progress(number) == {"sent": 5, "waiting": 7}

    live(jobs, minutes=2 * 24 * 60, step=60)
    assert arrived(server) == addresses(range(1, 13))
    assert post.find(number).state == "sent"
    assert jobs.dead == []


def test_one_that_is_put_off_again_soon_pauses_for_longer(jobs, post, serve):
    serve(Greylisting, wait_s=9 * 3600)
    post.people(PEOPLE)
    post.start(number := post.draft())

    spans = set()
    for _ in range(60):
        live(jobs, minutes=4, step=4)
        spans.add(post.one("SELECT pauses_for FROM shop.campaigns"))

    assert sorted(span.total_seconds() / 60 for span in spans if span) == [5, 10, 20, 40, 60]
    assert post.find(number).state == "paused"


def test_a_pause_by_an_operator_lasts(jobs, post, serve):
    server = serve(Greylisting, wait_s=0)
    server.stop()
    post.people(3)
    post.start(number := post.draft())
    live(jobs, minutes=5)
    assert post.find(number).resumes_at is not None

    assert post.pause(number)
    server.start()
    live(jobs, minutes=30)

    assert post.find(number).state == "paused"
    assert server.received == []
    with jobs.expect_discard("is no longer paused, or not by itself"):
        jobs.perform(go_on_with_campaign, number)
    post.resume(number)
    live(jobs, minutes=8)
    assert arrived(server) == addresses([1, 2, 3])


def test_one_that_an_operator_cancels_stays_cancelled(jobs, post, serve):
    server = serve(Greylisting, wait_s=0)
    server.stop()
    post.people(3)
    post.start(number := post.draft())
    live(jobs, minutes=5)

    post.cancel(number)
    server.start()
    live(jobs, minutes=30)

    assert post.find(number).state == "cancelled"
    assert server.received == []


def test_while_the_server_is_held_no_more_are_handed_out(jobs, post, serve, hundred):
    server = serve(Greylisting, wait_s=0)
    server.stop()
    post.people(PEOPLE)
    post.start(number := post.draft())

    live(jobs, minutes=30)

    assert post.progress(number)["waiting"] == PEOPLE
    query = "SELECT count(*) FROM workshed_mail.emails"
    assert post.one(query) < 20  # one for each probe, and those that were under way
    assert server.attempts == []


def test_its_end_reports_its_result(jobs, post, serve, caplog):
    server = serve(Greylisting, wait_s=0)
    server.refuse_with(550, "user2@example.org")
    post.people(3)
    post.start(number := post.draft())

    with caplog.at_level(logging.INFO):
        live(jobs, minutes=1)

    assert f"campaign {number} has ended: 2 sent, 1 rejected" in caplog.text
    assert campaigns.CampaignProgress(sent=4624, failed=376).summary == "4 624 sent, 376 failed"


# Its audience, and when it starts


def test_its_audience_may_be_a_list_of_ids(jobs, post, received):
    users = post.people(5)

    post.start(number := post.draft(audience=[users[3], users[0], users[0], 10**9]))
    live(jobs, minutes=1)

    assert received() == addresses([1, 4])
    assert (post.find(number).audience, post.find(number).state) == ("chosen", "sent")


def test_its_audience_may_be_a_query_of_the_application(jobs, post, received):
    post.people(5)
    query = "SELECT id FROM shop.users WHERE email LIKE %s"

    choice = campaigns.Choice(query, ("user_@example.org",))
    post.start(post.draft(audience=choice))
    live(jobs, minutes=1)

    assert received() == addresses(range(1, 6))


def test_a_query_may_be_one_without_values(jobs, post, received):
    post.people(2)
    choice = campaigns.Choice("SELECT id FROM shop.users WHERE email LIKE 'user2%'")

    post.start(post.draft(audience=choice))
    live(jobs, minutes=1)

    assert received() == addresses([2])


def test_a_named_user_who_has_unsubscribed_gets_nothing(jobs, post, received):
    users = post.people(4)
    post.unsubscribe(users[0])
    number = post.draft(audience=users)
    post.unsubscribe(users[1])

    with db.transaction() as conn:
        assert campaigns.count_audience(conn, number) == 2
    post.start(number)
    live(jobs, minutes=1)

    assert received() == addresses([3, 4])
    assert post.progress(number) == {"sent": 2}


@pytest.mark.parametrize("audience", [[], [10**9], campaigns.Choice("SELECT 1 WHERE false")])
def test_a_campaign_without_recipients_is_refused_and_not_stored(jobs, post, audience):
    post.people(2)

    with pytest.raises(campaigns.EmptyAudienceError, match="none of the named recipients"):
        post.draft(audience=audience)

    assert post.one("SELECT count(*) FROM shop.campaigns") == 0


def test_a_worker_of_the_previous_release_sends_it_to_no_one_else(jobs, post):
    """It would add all users, but violates the unique key of the existing recipient."""
    users = post.people(3)
    number = post.draft(audience=users[:1])
    everybody = """
        INSERT INTO shop.campaign_recipients (campaign_id, user_id)
        SELECT c.id, u.id FROM shop.campaigns AS c
          JOIN shop.users AS u ON u.unsubscribed_at IS NULL AND c.audience = 'everyone'
         WHERE c.id = %s RETURNING user_id
    """

    with pytest.raises(psycopg.errors.UniqueViolation):
        post.one(everybody, number)


def test_it_begins_at_the_time_that_was_named(jobs, post, received):
    now = jobs.freeze()
    post.people(2)
    number = post.draft()

    with db.transaction() as conn:
        actors.start_campaign(conn, number, at=now.replace(year=now.year + 1))
    live(jobs, minutes=5)
    assert (post.find(number).state, received()) == ("starting", {})
    post.people(1, prefix="late")
    jobs.advance(days=366)
    live(jobs, minutes=1)

    assert received() == addresses([1, 2]) | {"late1@example.org": 1}


def test_one_that_is_to_begin_is_not_begun_sooner_by_a_resume(jobs, post, received):
    now = jobs.freeze()
    post.people(2)
    number = post.draft()
    with db.transaction() as conn:
        actors.start_campaign(conn, number, at=now.replace(year=now.year + 1))

    post.resume(number)
    live(jobs, minutes=5)

    assert received() == {}


def test_one_that_is_to_begin_can_be_cancelled(jobs, post, received):
    now = jobs.freeze()
    post.people(2)
    number = post.draft()
    with db.transaction() as conn:
        actors.start_campaign(conn, number, at=now.replace(year=now.year + 1))

    post.cancel(number)
    jobs.advance(days=366)
    with contextlib.suppress(CampaignStateError):
        live(jobs, minutes=1)

    assert received() == {}
    assert post.find(number).state == "cancelled"


def test_a_test_mail_goes_to_one_address_and_counts_nowhere(jobs, post):
    post.people(2)
    number = post.draft()

    with db.transaction() as conn:
        actors.send_test_email(conn, number, "Editor@EXAMPLE.org")
        actors.send_test_email(conn, number, "user2@example.org")
    jobs.drain()

    to_editor, to_user = sorted(jobs.mailbox, key=lambda one: one["To"])
    assert to_editor["To"].addresses[0].addr_spec == "Editor@example.org"
    assert to_editor["Subject"].startswith("[Test] News for Zo")
    assert to_user["Subject"] == "[Test] News for Ada 2"
    assert "List-Unsubscribe" not in to_user
    assert post.progress(number) == {}
    assert post.find(number).state == "draft"


def test_the_functions_of_the_page_mail_the_named_users(jobs, post, received):
    users, made = post.people(3), {}
    exec(NAMED, made)  # noqa: S102 -- from our own page
    text = "Thank you {{ name }}: {{ unsubscribe_url }}"

    made["thank"](users[:2], "Thank you", text)
    made["thank_newcomers"]("Welcome", text)
    live(jobs, minutes=1)

    assert received() == {"user1@example.org": 2, "user2@example.org": 2, "user3@example.org": 1}
