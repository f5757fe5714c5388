"""The ordinary behaviour of mail servers: each email arrives once."""

import contextlib
import threading
from collections import Counter
from datetime import timedelta

import pytest

import actors
from actors import send_welcome_email
from shop import onboarding
from tests.service.integration.mail.strict import Greylisting, Narrow, Quota, Thorough
from workshed import db
from workshed.contrib import mail
from workshed.contrib.mail import seats, servers
from workshed.contrib.mail.protocol import connection_cache, deadline
from workshed.contrib.mail.protocol.deadline import SmtpStep
from workshed.contrib.mail.seats import Seats
from workshed.jobs import Snooze

PEOPLE = 12


@pytest.fixture
def serve(jobs, tmp_path, configure):
    """`serve(Greylisting)`: a mail server of this kind that receives all emails."""
    with contextlib.ExitStack() as opened:

        def start(kind, **how):
            server = opened.enter_context(kind(tmp_path / "strict", **how))
            configure(smtp_url=server.url)
            return server

        yield start
        seats.process_seats.close()


@pytest.fixture
def sign_up(jobs):
    """`sign_up(12)`: create this many users and enqueue their welcomes."""

    def sign_up(count=PEOPLE):
        with db.transaction() as conn:
            for number in range(count):
                actors.sign_up(conn, name="Ada", email=f"ada{number}@example.org")

    return sign_up


def live(jobs, step_minutes=1, **span):
    """Let time pass in steps in which jobs run; postponed jobs are no error here."""
    for _ in range(int(timedelta(**span) / timedelta(minutes=step_minutes))):
        with contextlib.suppress(mail.MailServerError):
            jobs.drain()
        jobs.advance(minutes=step_minutes)
    with contextlib.suppress(mail.MailServerError):
        jobs.drain()


def arrived(server):
    return Counter(one.recipients[0] for one in server.received)


def everybody(count=PEOPLE):
    return {f"ada{number}@example.org": 1 for number in range(count)}


def welcomed():
    with db.transaction() as conn:
        query = "SELECT count(*) FROM shop.users WHERE welcomed_at IS NOT NULL"
        return conn.execute(query).fetchone()[0]


def test_an_outage_of_an_hour_costs_no_mail_and_no_attempt(jobs, serve, sign_up):
    server = serve(Greylisting, wait_s=0)
    server.stop()
    sign_up()

    live(jobs, hours=1)

    assert welcomed() == 0
    assert {run.outcome.kind for run in jobs.runs} == {"snoozed"}
    with db.transaction() as conn:
        [trouble] = servers.list_troubles(conn)
        tries = conn.execute("SELECT max(attempts) FROM workshed_mail.emails").fetchone()[0]
    assert "nothing listens there" in trouble.last_error
    assert trouble.failures < 25  # one email probes it every five minutes
    assert tries == 0
    server.start()
    live(jobs, minutes=6)
    assert arrived(server) == everybody()
    assert welcomed() == PEOPLE
    assert jobs.dead == []
    with db.transaction() as conn:
        assert servers.list_troubles(conn) == []


def test_greylisting_puts_each_mail_off_and_none_dies(jobs, serve, sign_up):
    server = serve(Greylisting)
    sign_up()

    live(jobs, minutes=10)

    assert arrived(server) == everybody()
    assert welcomed() == PEOPLE
    assert jobs.dead == []


def test_a_recipient_is_refused_for_now_for_two_days_and_no_longer(jobs, serve, sign_up):
    server = serve(Greylisting, wait_s=timedelta(days=1, hours=23).total_seconds())
    sign_up(1)

    live(jobs, days=2, hours=1)

    assert arrived(server) == everybody(1)
    assert max(Counter(server.attempts).values()) < 70  # about one attempt per hour


def test_a_recipient_refused_for_longer_is_dead_with_the_servers_reply(jobs, serve, sign_up):
    serve(Greylisting, wait_s=timedelta(days=9).total_seconds())
    sign_up(1)

    live(jobs, days=2, hours=1)

    [dead] = jobs.dead
    assert "Greylisted, come back in 300 seconds" in dead.reason


def test_a_daily_quota_is_waited_for(jobs, serve, sign_up):
    """`452` at MAIL FROM is about the sender, so it costs no email an attempt."""
    server = serve(Quota, a_day=5)
    sign_up()

    live(jobs, step_minutes=60, days=2, hours=1)

    assert arrived(server) == everybody()
    assert welcomed() == PEOPLE
    assert jobs.dead == []


def test_a_server_that_allows_six_connections_refuses_none_of_ours(
    jobs, serve, sign_up, in_threads
):
    """There are two processes with sixteen threads each."""
    server = serve(Narrow)
    processes, ways = [Seats(), Seats()], iter(range(1_000_000))
    count = 120
    with db.transaction() as conn:
        drafts = (
            mail.Draft("test", f"ada{n}@example.org", "Ada", "Hello", "Hello.", about=str(n))
            for n in range(count)
        )
        ids = [mail.store(conn, draft) for draft in drafts]

    def deliver(email_id):
        with db.transaction() as conn:
            email = mail.claim(conn, email_id)
        while True:
            try:
                mail.deliver(email, processes[next(ways) % 2])
            except mail.MailServerAway:
                with db.transaction() as conn:
                    email = mail.claim(conn, email_id)
                continue
            with db.transaction() as conn:
                assert mail.mark_sent(conn, email)
            return

    in_threads(deliver, ids, threads=32)

    assert arrived(server) == everybody(count)
    assert server.refused == 0
    assert server.widest <= 4
    for process in processes:
        process.close()


def test_a_reply_after_five_minutes_is_waited_for_and_no_job_sends_it_meanwhile(
    jobs, serve, sign_up, eventually, monkeypatch
):
    server = serve(Thorough)
    sign_up(1)
    with db.transaction() as conn:
        user_id = conn.execute("SELECT id FROM shop.users").fetchone()[0]
        email = onboarding.claim_welcome(conn, user_id)
    sender = threading.Thread(target=mail.deliver, args=[email])
    sender.start()
    assert server.looks.wait(60)

    def renewed():
        query = "SELECT claimed_until - workshed.now() > %s FROM workshed_mail.emails"
        with db.transaction() as conn:
            return conn.execute(
                query, (deadline.LONGEST_CLAIM - timedelta(seconds=30),)
            ).fetchone()[0]

    try:
        for _ in range(5):
            jobs.advance(minutes=1)
            eventually(renewed)
            with (
                pytest.raises(Snooze, match="is being sent by another worker"),
                db.transaction() as conn,
            ):
                onboarding.claim_welcome(conn, user_id)
    finally:
        server.answers.set()
        sender.join()
    with db.transaction() as conn:
        assert mail.mark_sent(conn, email)

    assert arrived(server) == everybody(1)


def test_each_step_has_the_time_that_the_rfc_gives_it(send, scripted, monkeypatch):
    """The timeouts are read from the sockets when the server is about to answer."""
    spans = []

    clients, get_socket = [], connection_cache._GreetingTimeout._get_socket
    answers = type(scripted)._answer

    def answer(self, sock, verb):
        if kept := clients[-1:]:
            spans.append((verb, kept[0].gettimeout()))
        return answers(self, sock, verb)

    def socket_of(self, *words):
        sock = get_socket(self, *words)
        clients.append(sock)
        return sock

    monkeypatch.setattr(connection_cache._GreetingTimeout, "_get_socket", socket_of)
    monkeypatch.setattr(type(scripted), "_answer", answer)

    send(wait_s=None)

    waited = dict(spans)  # the greeting may arrive before the connection is registered
    assert waited["EHLO"] == waited["MAIL"] == waited["RCPT"] == 300
    assert waited["DATA"] == 120
    assert waited["DOT"] == 600
    assert SmtpStep.CONNECT.value == timedelta(seconds=30)


def test_the_time_limit_of_a_job_is_longer_than_a_server_may_take():
    longest_ms = deadline.longest_delivery(None) / timedelta(milliseconds=1)

    for actor in (actors.deliver_email, send_welcome_email, actors.send_campaign_email):
        assert actor.options["time_limit"] > longest_ms
