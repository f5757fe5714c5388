"""An email interrupted before its final dot is not sent: it is sent again, and not in doubt."""

import threading

import pytest
from dramatiq.middleware import Shutdown

from tests.service.integration.mail.strict import Slow, Thorough
from workshed import db, interrupts
from workshed.contrib import mail
from workshed.contrib.mail import delivery, seats


@pytest.fixture
def deliver(claimed, configure, tmp_path):
    """`deliver(Slow)`: a thread delivers the email to a server that keeps it waiting."""
    begun = []

    class Delivery:
        def __init__(self, kind):
            self.server = kind(tmp_path / "slow")
            self.server.start()
            configure(smtp_url=self.server.url)
            self.raised = []
            self.gates = []
            self.thread = threading.Thread(target=self.run)
            self.thread.start()
            begun.append(self)
            assert self.server.looks.wait(90)

        def run(self):
            self.gates.append(interrupts.thread_gate())
            try:
                mail.deliver(claimed)
            except BaseException as err:  # noqa: BLE001 -- an interrupt is one
                self.raised.append(type(err))

        def end(self):
            """Let the server answer and the thread finish."""
            self.server.answers.set()
            self.thread.join()

    yield Delivery
    for one in begun:
        one.end()
        seats.process_seats.close()
        one.server.stop()


def again(email_id):
    with db.transaction() as conn:
        return mail.claim(conn, email_id)


def test_an_interrupt_before_the_final_dot_gives_the_mail_back(deliver, claimed, row):
    """Otherwise its claim would expire, and a campaign's email would be held permanently."""
    delivery = deliver(Slow)

    delivery.gates[0].interrupt(Shutdown)
    delivery.end()

    assert delivery.raised == [Shutdown]
    found = row(claimed.id)
    assert (found.state, found.claim, found.attempts, found.possible_duplicates) == (
        "pending",
        None,
        0,
        0,
    )
    assert found.last_error == "interrupted before its end was sent: Shutdown"
    assert delivery.server.received == []
    assert again(claimed.id).possible_duplicates == 0


def test_one_after_it_leaves_the_mail_in_doubt(deliver, claimed, row, run_out):
    """The server has the email, but its reply was not received."""
    delivery = deliver(Thorough)

    delivery.gates[0].interrupt(Shutdown)
    delivery.end()

    assert delivery.raised == [Shutdown]
    assert row(claimed.id).state == "sending"
    assert len(delivery.server.received) == 1
    run_out(claimed.id)
    assert again(claimed.id).possible_duplicates == 1


def test_an_error_that_no_server_has_to_do_with_gives_it_back_too(claimed, monkeypatch, row):
    def fail(_email, _unsubscribe):
        raise ZeroDivisionError("in a filter")

    monkeypatch.setattr(delivery.mime, "build_envelope", fail)

    with pytest.raises(ZeroDivisionError):
        mail.deliver(claimed)

    assert row(claimed.id).state == "pending"


def test_a_process_that_shuts_down_releases_its_mail_without_the_final_dot(deliver, claimed, row):
    """Its threads are in a call that cannot be interrupted; another worker sends the email."""
    delivery = deliver(Slow)

    db.release_claims()

    found = row(claimed.id)
    assert (found.state, found.claim, found.attempts) == ("pending", None, 0)
    assert found.last_error == "interrupted before its end was sent: its worker was shut down"
    delivery.end()
    assert delivery.raised == [mail.MailWithdrawnError]
    assert delivery.server.received == []
    assert again(claimed.id).possible_duplicates == 0


def test_it_leaves_one_in_doubt_whose_end_is_sent(deliver, claimed, row):
    delivery = deliver(Thorough)

    db.release_claims()

    assert row(claimed.id).state == "sending"
    delivery.end()
    assert delivery.raised == []
    assert len(delivery.server.received) == 1
