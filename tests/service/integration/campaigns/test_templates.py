"""Templates are tried before anything is sent, and names are text."""

import pytest

from actors import send_bulk_email
from shop.campaigns import CampaignNameError, TemplateError
from tests.service.integration.campaigns.conftest import SECOND, addresses, run_out
from workshed import db


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
    send_bulk_email.send(number)  # even without an earlier preview
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
        conn.execute("UPDATE shop.users SET name = '<b>Ada</b> & Co'")

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
        conn.execute("UPDATE shop.users SET name = 'Ada' WHERE email = %s", (SECOND,))
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
