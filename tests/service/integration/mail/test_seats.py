"""Seats at a mail server: leases shared by all processes."""

import pytest

from workshed import db
from workshed.contrib.mail import MailServerAway, seats
from workshed.contrib.mail.protocol import connection_cache
from workshed.contrib.mail.protocol.deadline import MailDeadline
from workshed.contrib.mail.seats import Seats
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.jobs.locks import limits


@pytest.fixture
def one(jobs, monkeypatch):
    """The seats of one process, with a short wait for a seat."""
    monkeypatch.setattr(seats, "SEAT_WAIT_S", 0.1)
    found = Seats()
    yield found
    found.close()


@pytest.fixture
def other(jobs):
    found = Seats()
    yield found
    found.close()


def used():
    with db.transaction() as conn:
        return [(one.key, one.used, one.size) for one in limits.list_limits(conn)]


def rest(through, server, seats_of=2):
    """Send through a seat and leave its connection idle."""
    with through.use_seat(server, seats_of):
        client = connection_cache.take_connection(server) or connection_cache.connect_to_server(
            server, MailDeadline.start(None)
        )
        connection_cache.cache_connection(server, client)


def test_a_seat_that_rests_is_still_taken_and_is_used_again(one, scripted):
    server = SmtpServer.from_url(scripted.url)

    for _ in range(3):
        rest(one, server)

    assert used() == [(f"mail server {server}", 1, 2)]


def test_a_job_without_a_seat_is_postponed_at_no_cost(one, other, scripted):
    server = SmtpServer.from_url(scripted.url)

    with (
        one.use_seat(server, 1),
        pytest.raises(MailServerAway, match="all 1 connections to the mail server"),
        other.use_seat(server, 1),
    ):
        pass


def test_a_seat_without_a_connection_is_given_up(one, other, scripted):
    server = SmtpServer.from_url(scripted.url)
    with one.use_seat(server, 1):
        pass

    with other.use_seat(server, 1):
        pass


def test_a_seat_is_given_up_after_some_mails_or_another_process_would_get_none(
    one, other, scripted, monkeypatch
):
    monkeypatch.setattr(seats, "MOST_MAILS", 2)
    server = SmtpServer.from_url(scripted.url)
    rest(one, server, 1)
    with pytest.raises(MailServerAway), other.use_seat(server, 1):
        pass

    rest(one, server, 1)

    with other.use_seat(server, 1):
        pass


def test_the_seats_of_a_process_that_died_are_free_after_their_lease(one, other, scripted, jobs):
    server = SmtpServer.from_url(scripted.url)
    rest(one, server, 1)
    one._free.clear()  # as if it were no longer renewed

    jobs.advance(seconds=31)

    with other.use_seat(server, 1):
        pass


def test_a_seat_is_held_for_as_long_as_its_process_lives(one, other, scripted, jobs, eventually):
    server = SmtpServer.from_url(scripted.url)
    query = "SELECT expires_at > workshed.now() + interval '20 s' FROM workshed.limit_slots"

    def is_renewed():
        with db.transaction() as conn:
            return conn.execute(query).fetchone()[0]

    with one.use_seat(server, 1):
        for _ in range(3):
            jobs.advance(seconds=15)
            eventually(is_renewed)
        with pytest.raises(MailServerAway), other.use_seat(server, 1):
            pass


def test_the_thread_that_renews_ends_when_nothing_is_left_and_starts_again(
    one, scripted, jobs, monkeypatch, eventually
):
    """If it did not start again, the next seat would be lost while its mail is sent."""
    monkeypatch.setattr(seats, "RENEW_S", 0.02)
    server = SmtpServer.from_url(scripted.url)
    threads = []
    for _ in range(2):
        with one.use_seat(server, 1):
            threads.append(one._renewer)
            assert threads[-1].is_running
        eventually(lambda: not threads[-1].is_running)

    assert threads[0] is not threads[1]


def test_a_connection_that_idles_for_long_is_closed(one, other, scripted, monkeypatch, eventually):
    monkeypatch.setattr(seats, "IDLE_S", 0.0)
    server = SmtpServer.from_url(scripted.url)
    rest(one, server, 1)

    eventually(lambda: used()[0][1] == 0)
    eventually(lambda: "QUIT" in scripted.heard)


def test_a_worker_that_ends_gives_its_seats_up(one, other, scripted):
    server = SmtpServer.from_url(scripted.url)
    rest(seats.process_seats, server, 1)
    with pytest.raises(MailServerAway), other.use_seat(server, 1):
        pass

    db.release_claims()  # as `db.close_pool` does, before the pool is closed

    with other.use_seat(server, 1):
        pass
