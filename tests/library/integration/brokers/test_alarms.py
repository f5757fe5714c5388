"""RabbitMQ short of memory or disk: it accepts no messages, but still delivers them."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import ALARMS
from tests.faults.relaying import relaying
from workshed import db
from workshed import schedule as outbox
from workshed.transport.errors import BrokerBlockedError

pytestmark = pytest.mark.usefixtures("not_storing")


@pytest.fixture
def wire(proxy, servers):
    return proxy(servers.broker_url)


@pytest.fixture
def vhost(vhost, wire):
    """Heartbeats are so short that an alarm can outlast them."""
    return wire.url(vhost) + "?heartbeat=1"


@pytest.fixture
def runs():
    return []


@pytest.fixture
def note(actor, runs):
    return actor(queue_name="default", actor_name="note")(runs.append)


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", ALARMS)
def test_senders_hear_of_an_alarm_and_nothing_is_copied(
    kind, alarm, note, wire, rabbitmq, patience, eventually
):
    """With a timeout of blocked connections, 4 jobs became 24 copies: each new one resends all.

    If `_count_room` ignored the alarm, messages reported as not sent would arrive after it.
    """
    note.send(0)
    made = wire.accepted
    with ThreadPoolExecutor(5) as pool:
        with alarm(kind):
            patience(0.5)
            sends = [pool.submit(note.send, number) for number in range(1, 5)]
            error_texts = [str(send.exception()) for send in sends]
            assert all(isinstance(send.exception(), BrokerBlockedError) for send in sends)
            with pytest.raises(BrokerBlockedError, match=rf"low on {kind}.*nothing was sent"):
                note.send(5)

            patience(60)
            patient = pool.submit(note.send, 6)
            before = wire.passed("down")
            eventually(lambda: wire.passed("down") >= before + 4 * 8)  # four heartbeats of RabbitMQ
        patient.result()

    assert wire.accepted == made
    arrived = [json.loads(m["payload"])["args"][0] for m in rabbitmq.peek("default")]
    unknown = {
        number for number, text in enumerate(error_texts, 1) if "a copy may have arrived" in text
    }
    assert sorted(arrived) == sorted({0, 6} | unknown)


def test_a_worker_goes_on_in_an_alarm_and_a_relay_after_it(
    alarm, note, runs, working, rows, eventually
):
    """RabbitMQ reads no ack from a connection that also publishes: only four jobs would run."""
    for number in range(20):
        note.send(number)
    with contextlib.ExitStack() as running:
        with alarm("memory"):
            running.enter_context(working("default"))
            eventually(lambda: sorted(runs) == list(range(20)))
            running.enter_context(relaying(note.broker.urls))
            with db.transaction() as conn:
                for number in range(20, 40):
                    outbox.send(conn, note.message(number))
            eventually(lambda: rows("SELECT 1 FROM workshed.schedule WHERE claimed_by IS NOT NULL"))
        eventually(lambda: sorted(runs) == list(range(40)))
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])
