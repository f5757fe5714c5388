"""A sign-up becomes a delivered email and a reminder, whatever dies on the way."""

import random

import pytest

import actors
from shop import people
from workshed import db
from workshed.jobs.outbox import schedule


def sign_up(number):
    with db.transaction() as conn:
        return actors.sign_up(conn, name=f"Person {number}", email=f"p{number}@example.org")


def recipients(mail_server):
    return sorted(mail.recipients[0] for mail in mail_server.received)


def test_a_sign_up_becomes_a_mail_and_a_reminder(
    start_worker, mail_server, eventually, conn, count
):
    start_worker()

    user = sign_up(1)

    eventually(lambda: people.get_user(conn, user.id).welcomed_at)
    assert recipients(mail_server) == ["p1@example.org"]
    reminder = schedule.list_scheduled(conn, actor="send_onboarding_reminder")[0]
    wait = reminder.due_at - people.get_user(conn, user.id).welcomed_at
    assert wait.total_seconds() == pytest.approx(3 * 86_400, abs=90)


def test_a_killed_worker_loses_no_welcome(start_worker, mail_server, eventually, count, scale):
    """An email that was being sent waits for the end of its claim, which depends on the timeout."""
    # Long enough for a busy machine: an email with two late replies is held for an operator.
    wanted, soon = scale(500), {"WORKSHED_SMTP_TIMEOUT": "5"}
    first = start_worker(env=soon)
    for number in range(wanted):
        sign_up(number)
    eventually(lambda: 0 < len(mail_server.received) < wanted)

    first.kill()
    start_worker(env=soon)

    eventually(lambda: count("shop.users WHERE welcomed_at IS NOT NULL") == wanted, within_s=240)
    assert set(recipients(mail_server)) == {f"p{n}@example.org" for n in range(wanted)}
    possible_duplicates = count("workshed_mail.emails WHERE possible_duplicates > 0")
    assert len(mail_server.received) <= wanted + possible_duplicates
    assert count("workshed.schedule WHERE actor = 'send_onboarding_reminder'") == wanted


SLOWEST_COMMIT_S = 0.5


def sign_up_and_send_before_commit(number):
    """Do what a plain `send` in a request does: the job may run before its user is visible."""
    with db.transaction() as conn:
        user = people.create(conn, name=f"Person {number}", email=f"p{number}@example.org")
        actors.send_welcome_email.send(user.id)
        conn.execute("SELECT pg_sleep(%s)", (random.uniform(0, SLOWEST_COMMIT_S),))  # noqa: S311


def sign_up_slowly(number):
    with db.transaction() as conn:
        actors.sign_up(conn, name=f"Person {number}", email=f"p{number}@example.org")
        conn.execute("SELECT pg_sleep(%s)", (random.uniform(0, SLOWEST_COMMIT_S),))  # noqa: S311


@pytest.mark.parametrize("way", [sign_up_slowly, sign_up_and_send_before_commit])
def test_sign_ups_whose_commit_is_slow_all_get_a_welcome(
    way, start_worker, mail_server, eventually, count, in_threads, scale
):
    wanted = scale(500)
    start_worker()

    in_threads(way, range(wanted), threads=8)

    eventually(lambda: count("shop.users WHERE welcomed_at IS NOT NULL") == wanted, within_s=120)
    assert recipients(mail_server) == sorted(f"p{n}@example.org" for n in range(wanted))
    assert count("workshed.attempts WHERE outcome = 'discarded'") == 0


def test_without_looking_again_a_send_before_the_commit_is_lost(
    start_worker, mail_server, eventually, count, in_threads, scale
):
    """As in stock dramatiq, without the remedies: `sign_up`'s row and the second look."""
    wanted = scale(500)
    start_worker(env={"WORKSHED_RECORD_VISIBILITY_GRACE": "0"})

    in_threads(sign_up_and_send_before_commit, range(wanted), threads=8)

    welcomed = "shop.users WHERE welcomed_at IS NOT NULL"
    lost = "workshed.attempts WHERE outcome = 'discarded'"
    eventually(lambda: count(welcomed) + count(lost) == wanted)
    assert count(lost) > 0
