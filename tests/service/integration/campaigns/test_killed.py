"""Each job of a campaign may be killed at any line and redelivered: one email, or one held."""

import contextlib
from collections import Counter
from email import message_from_bytes

import pytest

from actors import send_bulk_email, send_campaign_email
from tests.service.integration.images.conftest import killed
from workshed.jobs import Discard

pytestmark = pytest.mark.one_in(3)  # a kill at every line, each in its own process

__all__ = ["killed"]

MOST_LINES = 1_000
HELD = """
    WITH held AS (
        UPDATE workshed_mail.emails SET claimed_until = '-infinity'
         WHERE user_id = %s::text AND state = 'sending'
        RETURNING id)
    SELECT count(*) FROM held
"""
"""Ends the claims of killed workers on a user's emails, and counts them."""


@pytest.fixture
def mails(database, broker, tmp_path, configured):
    """`mails()`: the number of emails of each address."""
    configured(smtp_url=f"maildir:{tmp_path}/mail", campaign_batch="2")

    def read():
        files = (tmp_path / "mail" / "new").glob("*")
        return Counter(message_from_bytes(file.read_bytes())["To"] for file in files)

    return read


def sent(post, actor):
    """Return the arguments of each sent job of an actor."""
    query = "SELECT array_agg((body::jsonb ->> 'args')) FROM workshed.schedule WHERE actor = %s"
    return post.one(query, actor) or []


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("after", [None, 0])
def test_handing_out_is_killed_at_any_line(mails, post, killed, scale, lane, after):
    """After redelivery each recipient has one job, and the next batch is sent once."""
    users = post.people(3)
    step = lane(sample=21, exhaustive=13 - scale(12))
    for line in range(1, MOST_LINES, step):
        number = post.draft()
        if after is not None:
            send_bulk_email(number)

        ended = killed(line, "send_bulk_email", number, *([] if after is None else [after]))
        with contextlib.suppress(Discard):  # if all of it was done
            send_bulk_email(number, after)

        if after is None:
            assert post.progress(number) == {"waiting": 3}
            assert sent(post, "send_bulk_email").count(f"[{number}, 0]") == 1
        else:
            assert post.progress(number) == {"handed": 2, "waiting": 1}
            jobs = sent(post, "send_campaign_email")
            assert [jobs.count(f"[{number}, {user}]") for user in users] == [1, 1, 0]
            assert sent(post, "send_bulk_email").count(f"[{number}, {users[1]}]") == 1
        if ended:
            break
    else:
        pytest.fail("it never came to its end")
    assert line > 20


@pytest.mark.timeout(3600)
def test_sending_a_mail_is_killed_at_any_line(mails, post, killed, scale, lane):
    """The email is sent and delivered once, or held and delivered at most once."""
    step, outcomes = lane(sample=21, exhaustive=13 - scale(12)), Counter()
    for line in range(1, MOST_LINES, step):
        (user_id,) = post.people(1, prefix=f"line{line}user")
        number = post.draft()
        send_bulk_email(number)
        send_bulk_email(number, 0)

        ended = killed(line, "send_campaign_email", number, user_id)
        in_between = post.one(HELD, user_id) > 0
        with contextlib.suppress(Discard):
            send_campaign_email(number, user_id)

        (state,) = [name for name, count in post.progress(number).items() if count]
        came = sum(count for to, count in mails().items() if f"line{line}user" in to)
        outcomes[state, came] += 1
        assert state == ("unknown" if in_between else "sent")
        assert came <= 1
        if ended:
            break
        post.unsubscribe(user_id)
    else:
        pytest.fail("it never came to its end")
    wanted = {("sent", 1), ("unknown", 0), ("unknown", 1)}
    assert outcomes.keys() == wanted if step == 1 else outcomes.keys() <= wanted
