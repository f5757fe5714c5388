"""Relays that publish the service's emails: nothing is lost."""

import shutil

import pytest

import actors  # noqa: F401 -- declares the job that delivers emails
from tests.library.e2e.test_relays import NO_RELAY, start_relay
from workshed import db
from workshed.contrib import mail

__all__ = ["start_relay"]


@pytest.fixture
def emails(broker):
    """The queue of emails, as declared by an earlier worker."""
    broker.ensure_queues({"emails"})


@pytest.mark.usefixtures("emails")
def test_mails_that_rabbitmq_lost_with_its_data_are_delivered(
    start_relay, start_worker, servers, rabbitmq, mail_server, count, eventually, scale
):
    """A classic queue confirms before writing to disk: without rows the emails would be lost."""
    wanted = scale(1_000)
    start_relay(WORKSHED_CLASSIC_QUEUE_RESEND_AFTER="2")
    with db.transaction() as tx:
        for number in range(wanted):
            letter = {"subject": "Hello", "text_body": "Hello.", "about": str(number)}
            draft = mail.Draft("test", f"user{number}@example.org", "User", **letter)
            mail.deliver_later(tx, draft)
    eventually(lambda: rabbitmq.depth("emails") == wanted)
    start_worker(threads=4, env=NO_RELAY)
    eventually(lambda: mail_server.received)

    servers.rabbitmq.kill()
    shutil.rmtree(servers.rabbitmq.folder / "data")
    delivered = len(mail_server.received)
    servers.rabbitmq.start()
    rabbitmq.ask("PUT", f"vhosts/{rabbitmq.vhost}", {})

    assert delivered < wanted
    eventually(lambda: count("workshed_mail.emails WHERE state = 'sent'") == wanted)
    eventually(lambda: count("workshed.schedule") == 0)
    assert len(mail_server.received) == wanted
