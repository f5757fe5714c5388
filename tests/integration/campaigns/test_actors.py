"""The actors that send campaigns, with all that is around a job."""

import contextlib
import threading
from datetime import timedelta

import pytest

import actors
from actors import send_bulk_email, send_campaign_email
from actors.campaigns import pause_after
from brokers import Batch
from workshed import campaigns, db, mail, product
from workshed.campaigns import CampaignNameError, CampaignStateError, TemplateError
from workshed.jobs import dead
from workshed.people import unsubscribing
from workshed.settings import settings


@pytest.fixture
def hundred(configured):
    """Batches of two, so that a few people are some of them."""
    configured(bulk_batch="2", bulk_pause="5")


def addresses(numbers):
    return {f"user{n}@example.org": 1 for n in numbers}


def run_out(jobs):
    """Run all, also what waits for a moment between two batches."""
    while jobs.enqueued:
        jobs.advance(seconds=5)
        jobs.drain()


def handed_out(jobs, post):
    """A campaign all of whose recipients are handed out, and none has been sent; its id."""
    number = post.draft()
    jobs.perform(send_bulk_email, number)
    jobs.perform(send_bulk_email, number, 0)
    return number


# A campaign


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


def test_it_says_to_each_what_the_templates_say(jobs, post):
    (user_id,) = post.people(1)

    post.start(post.draft())
    run_out(jobs)

    (mail,) = jobs.mailbox
    link = unsubscribing.link(user_id)
    assert mail["Subject"] == "News for Ada 1"
    assert f"Hello Ada 1, Workshed has news.\n\nNo more of these: {link}" in mail.get_body(
        ("plain",)
    ).get_content().replace("=\n", "")
    page = mail.get_body(("html",)).get_content()
    assert 'style="color: #123456' in page
    assert f'href="{link}"' in page


def test_mail_programs_are_told_how_to_unsubscribe_by_one_click(jobs, post):
    (user_id,) = post.people(1)

    post.start(post.draft())
    run_out(jobs)

    (mail,) = jobs.mailbox
    assert mail["List-Unsubscribe"] == f"<{unsubscribing.link(user_id)}>"
    assert mail["List-Unsubscribe"].startswith("<https://")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_its_mails_yield_to_those_to_one_person(jobs, post):
    post.people(1)

    handed_out(jobs, post)

    jobs.assert_enqueued(send_campaign_email, queue="emails", priority=mail.BULK)
    assert mail.BULK < mail.SINGLE < mail.ALERT


@pytest.mark.parametrize(("audience", "wanted"), [("everyone", 5), ("active", 2), ("inactive", 3)])
def test_its_audience_is_who_has_not_unsubscribed(jobs, post, received, audience, wanted):
    post.people(2, active=True, prefix="active")
    post.people(3, prefix="inactive")
    for user_id in (
        *post.people(1, active=True, prefix="left"),
        *post.people(1, prefix="gone"),
    ):
        post.unsubscribe(user_id)

    post.start(post.draft(audience=audience))
    run_out(jobs)

    assert sum(received().values()) == wanted
    assert {"left1@example.org", "gone1@example.org"}.isdisjoint(received())


def test_who_comes_after_it_has_begun_is_not_of_its_audience(jobs, post, received, hundred):
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


# Batches


def test_recipients_are_handed_out_in_batches_with_a_pause(jobs, post, configured):
    configured(bulk_batch="2", bulk_pause="7")
    post.people(5)

    post.start(number := post.draft())
    jobs.drain()

    assert post.progress(number) == {"sent": 2, "waiting": 3}
    jobs.assert_enqueued(send_bulk_email, in_=timedelta(seconds=7))
    jobs.advance(seconds=7)
    jobs.drain()
    assert post.progress(number) == {"sent": 4, "waiting": 1}


def test_by_default_they_are_a_hundred_and_a_tenth_of_a_second():
    assert (settings().bulk_batch, pause_after(100)) == (100, timedelta(seconds=0.1))


def test_all_are_jobs_of_one_batch(jobs, post, hundred):
    post.people(5)

    post.start(number := post.draft())
    run_out(jobs)

    query = "SELECT description, count(*) FROM jobs.batches JOIN jobs.batch_jobs ON batch_id = id"
    with db.transaction() as conn:
        found = conn.execute(f"{query} GROUP BY id").fetchall()
    assert found == [(f"campaign {number}", 5)]


def test_no_more_are_handed_out_than_may_be_sent(run_python):
    code = """
from actors.campaigns import PER_MINUTE, pause_after
print(PER_MINUTE.size, PER_MINUTE.span.total_seconds(), pause_after(100).total_seconds())
"""

    assert run_python(code, WORKSHED_BULK_RATE="600") == "10 0.1 10.0\n"
    assert run_python(code, WORKSHED_BULK_RATE="6") == "1 10.0 1000.0\n"


# Twice


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
    assert post.one("SELECT count(*) FROM jobs.batches") == 1


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
    assert post.one("SELECT count(*) FROM jobs.batch_jobs") == 5


def test_a_copy_of_a_mails_job_sends_nothing(jobs, post, received):
    (user_id,) = post.people(1)
    post.start(number := post.draft())
    run_out(jobs)

    with jobs.expect_discard("is sent"):
        jobs.perform(send_campaign_email, number, user_id)

    assert received() == addresses([1])


# Who has left


def test_who_unsubscribes_before_it_is_sent_gets_nothing(jobs, post, received, hundred):
    users = post.people(5)
    post.start(number := post.draft())
    jobs.drain()

    post.unsubscribe(users[4])
    run_out(jobs)

    assert received() == addresses(range(1, 5))
    assert post.progress(number) == {"sent": 4, "unsubscribed": 1}
    assert post.find(number).state == "sent"


def test_who_unsubscribes_while_it_is_tried_again_gets_nothing(jobs, post, received):
    (user_id,) = post.people(1)
    post.start(number := post.draft())
    jobs.fail_next(mail_job := send_campaign_email, mail.MailTimeoutError("mail:25", "DATA", 10))
    with jobs.expect_retry():
        jobs.drain()

    post.unsubscribe(user_id)
    run_out(jobs)

    assert (mail_job.actor_name, received()) == ("send_campaign_email", {})
    assert post.progress(number) == {"unsubscribed": 1}


def test_who_is_deleted_before_it_is_sent_is_gone(jobs, post, received, hundred):
    users = post.people(3)
    post.start(number := post.draft())
    jobs.drain()

    with db.transaction() as conn:
        conn.execute("DELETE FROM product.users WHERE id = %s", (users[2],))
    run_out(jobs)

    assert post.progress(number) == {"sent": 2, "gone": 1}
    assert post.find(number).state == "sent"


# Pause, resume, cancel


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
    assert post.one("SELECT count(*) FROM jobs.batches") == 1


def test_it_ends_when_the_jobs_of_all_its_batches_have(jobs, post, received):
    users = post.people(3)
    number = handed_out(jobs, post)
    post.pause(number)
    jobs.perform(send_campaign_email, number, users[0])
    post.resume(number)
    batch = post.find(number).batch
    jobs.perform(send_bulk_email, number, post.find(number).reached)

    with db.transaction() as conn:
        assert not campaigns.end_batch(conn, number, batch)

    assert post.progress(number) == {"handed": 2, "failed": 1}
    run_out(jobs)
    assert post.find(number).state == "sent"
    assert received() == addresses(range(1, 4))


def test_one_whose_first_job_was_lost_is_started_by_resuming_it(jobs, post, received):
    post.people(1)
    post.start(number := post.draft())
    with db.transaction() as conn:
        conn.execute("DELETE FROM jobs.schedule")

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


def test_one_whose_batch_somebody_cancels_is_paused_and_goes_on_in_another(
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


# When the mail server refuses


@pytest.fixture
def refusing(monkeypatch):
    """`refusing(error, "user2@example.org")`: the mail server says this of an address."""

    def refuse(error, address, times=99):
        deliver, left = mail.deliver, [times]

        def deliver_or_not(email):
            if email.recipient == address and left[0]:
                left[0] -= 1
                with db.transaction() as conn:
                    mail.give_back(
                        conn, email, state=getattr(error, "leaves", "pending"), error=str(error)
                    )
                raise error
            deliver(email)

        monkeypatch.setattr(mail, "deliver", deliver_or_not)

    return refuse


SECOND = "user2@example.org"
NOT_OURS = mail.MailRefusedError("MAIL FROM", 550, "who are you")
BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def note(number, user_id, error):
    with db.transaction() as conn:
        campaigns.note_error(conn, number, user_id, error)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (mail.RecipientRejectedError(SECOND, 550, "no such user"), "rejected"),
        (mail.MailRefusedError("the text of the mail", 554, "spam"), "rejected"),
        (mail.MailFateUnknownError("mail:25", "it hung up"), "unknown"),
    ],
)
def test_one_that_is_not_accepted_for_good_is_an_outcome_and_no_dead_job(
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
    """Else all its recipients are spent on one bad day of the mail server."""
    post.people(30)
    error = mail.MailRefusedError("the text of the mail", 554, "no")

    def refuse(email):
        with db.transaction() as conn:
            mail.give_back(conn, email, state=error.leaves, error=str(error))
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


def test_one_that_may_have_come_is_no_failed_one(jobs, post, received):
    """Killed when it knew, and before it noted it; the batch is cancelled before it comes back."""
    (user_id,) = post.people(1)
    number = handed_out(jobs, post)
    batch = post.one("SELECT batch::text FROM product.campaign_recipients")
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


def test_who_is_put_back_while_it_is_resumed_is_not_left_behind(
    jobs, post, received, hundred, eventually
):
    """Refused for its sender, as another was that paused it, which somebody resumes just then."""
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
        conn.execute("SELECT FROM product.campaign_recipients FOR UPDATE")
        late.start()
        eventually(lambda: post.one(BLOCKED))
        assert mail.emails.hold(conn, slow.id)
    late.join()

    assert post.progress(number) == {"sent": 1}
    assert post.one("SELECT state FROM product.emails") == "sent"


def test_a_batch_that_was_left_is_not_left_again(jobs, post, hundred):
    """A copy that met a cancelled batch comes late: the campaign is in another one by now."""
    post.people(5)
    post.start(number := post.draft())
    jobs.drain()
    old = post.find(number).batch
    with db.transaction() as conn:
        campaigns.leave_batch(conn, number, old, "it was cancelled")
    post.resume(number)

    with db.transaction() as conn:
        campaigns.leave_batch(conn, number, old, "it was cancelled")

    assert post.find(number).state == "sending"
    assert post.find(number).batch not in (None, old)


@pytest.mark.parametrize("again", ["rejected", "unknown", "failed"])
def test_one_that_was_sent_is_sent_once_more_to_those_who_have_it_not(
    jobs, post, received, refusing, again
):
    post.people(3)
    error = {
        "rejected": mail.RecipientRejectedError(SECOND, 550, "no such user"),
        "unknown": mail.MailFateUnknownError("mail:25", "it hung up"),
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


def test_one_whose_job_dies_has_failed_and_can_be_retried(jobs, post, received, refusing):
    users = post.people(2)
    refusing(mail.MailTimeoutError("mail:25", "DATA", 10), SECOND, times=5)

    post.start(number := post.draft())
    for _ in range(5):
        with contextlib.suppress(mail.MailTimeoutError):
            jobs.advance(hours=1)
            jobs.drain()
    run_out(jobs)

    assert post.progress(number) == {"sent": 1, "failed": 1}
    assert "died" in post.reasons(number)[users[1]]
    assert post.find(number).state == "sent"
    with db.transaction() as conn:
        (one,) = jobs.dead
        assert dead.retry(conn, one.message_id)
    run_out(jobs)
    assert received() == addresses([1, 2])
    assert post.progress(number) == {"sent": 2}


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
    assert post.one("SELECT state FROM product.emails") == "unknown"
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
    assert post.one("SELECT state FROM product.emails") == "sent"


# Templates


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"subject": "{{ nam }}"},
            "the subject cannot be sent: UndefinedError: 'nam' is undefined",
        ),
        ({"text": "Hi\n{% if %}"}, "the text cannot be sent: line 2: Expected an expression"),
        ({"html": "{{ name.split()[9] }}"}, "the HTML cannot be sent: UndefinedError"),
        ({"subject": " "}, "the subject cannot be sent: it is empty"),
        ({"text": ""}, "the text cannot be sent: it is empty"),
        ({"text": "Hello"}, "the text cannot be sent: it shows no way to unsubscribe"),
        ({"html": "<p>Hello</p>"}, "the HTML cannot be sent: it shows no way to unsubscribe"),
        ({"text": "{{ name.__class__.__mro__ }}"}, "the text cannot be sent: SecurityError"),
        ({"text": "{{ 1 // 0 }}"}, "the text cannot be sent: ZeroDivisionError"),
        ({"text": "{% include 'welcome.txt' %}"}, "the text cannot be sent: TypeError"),
        ({"text": "{{ '\\ud800' }}"}, "the text cannot be sent: UnicodeEncodeError"),
        (
            {"html": "<style>p{color:red}</style><p style='margin:0; color'>"},
            "the HTML cannot be sent: its style cannot be read",
        ),
        ({"text": "{{ 'a' * 2000000 }}"}, "the text cannot be sent: it has 2000000 characters"),
    ],
)
def test_templates_are_tried_before_the_first_mail_leaves(jobs, post, wrong, said):
    post.people(3)
    number = post.draft(**wrong)

    with pytest.raises(TemplateError, match="cannot be sent"):
        post.start(number)
    assert post.find(number).state == "draft"
    jobs.refute_enqueued(send_bulk_email)
    send_bulk_email.send(number)  # also where nobody asked before
    with pytest.raises(TemplateError):
        run_out(jobs)

    found = post.find(number)
    assert found.state == "refused"
    assert found.error.startswith(said)
    assert jobs.mailbox == []
    assert post.progress(number) == {}


def test_a_name_is_text_in_a_page(jobs, post):
    post.people(1)
    with db.transaction() as conn:
        conn.execute("UPDATE product.users SET name = '<b>Ada</b> & Co'")

    post.start(post.draft())
    run_out(jobs)

    (message,) = jobs.mailbox
    assert "Hello &lt;b&gt;Ada&lt;/b&gt; &amp; Co" in message.get_body(("html",)).get_content()
    assert "Hello <b>Ada</b> & Co" in message.get_body(("plain",)).get_content()
    assert message["Subject"] == "News for <b>Ada</b> & Co"


def test_a_subject_is_one_line_that_fits(jobs, post):
    post.people(1)

    post.start(post.draft(subject="News\n\n for {{ name * 99 }}"))
    run_out(jobs)

    (message,) = jobs.mailbox
    assert message["Subject"].startswith("News for Ada 1")
    assert len(message["Subject"]) <= 250


def test_one_recipient_a_template_cannot_be_filled_in_for_is_dead(jobs, post, received):
    post.people(2)
    with db.transaction() as conn:
        conn.execute("UPDATE product.users SET name = 'Ada' WHERE email = %s", (SECOND,))
    text = "{{ name.split()[1] }} {{ unsubscribe_url }}"

    post.start(number := post.draft(text=text))
    with pytest.raises(TemplateError, match="the text cannot be sent"):
        run_out(jobs)
    run_out(jobs)

    assert received() == addresses([1])
    assert post.progress(number) == {"sent": 1, "failed": 1}


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "\u2028", "\ud800"])
def test_a_name_that_cannot_be_stored_is_refused(jobs, post, name):
    with pytest.raises(CampaignNameError, match="cannot be used: it h"):
        post.draft(name=name)


# When there are many


def test_to_hand_out_some_reads_no_others(jobs, post, scale):
    """Of a campaign that the planner knows nothing of; by itself it sorts all for each hundred."""
    post.people(scale(1_000_000))
    number = post.draft()
    read = """
        SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables
         WHERE relname = 'campaign_recipients'
    """
    with db.transaction() as conn:
        assert campaigns.begin(conn, number, "00000000-0000-0000-0000-000000000000")

    with db.transaction() as conn:
        handed = campaigns.hand_out(conn, number, 0, 100)
        rows = conn.execute(read).fetchone()[0]

    assert len(handed.users) == 100
    assert rows < 1_000


# When they are old


def test_old_campaigns_go_with_their_mails(jobs, post, hundred):
    post.people(5)
    post.start(old := post.draft())
    run_out(jobs)
    jobs.advance(days=400)
    post.start(new := post.draft())
    run_out(jobs)

    jobs.advance(days=400)
    deleted = product.prune(settings())["rows of campaigns"]

    assert deleted == 6
    assert post.progress(old) == {}
    assert post.progress(new) == {"sent": 5}
    assert post.one("SELECT count(*) FROM product.emails") == 5
    assert post.one("SELECT array_agg(id) FROM product.campaigns") == [new]
