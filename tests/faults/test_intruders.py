"""Messages without a valid signature among good ones: none runs, each is dead and counted."""

import contextlib

import pika
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from tests.faults.experiment import Remedy, experiment
from tests.faults.intruder import Intruder

REPLAYS_OF = 5
"""One message is replayed after this many forgeries."""


@pytest.fixture(autouse=True)
def _signed(monkeypatch):
    """Give all programs of this test the same key; they accept only messages signed with it."""
    monkeypatch.setenv("WORKSHED_SIGNING_KEYS", "the-only-key-of-this-installation")
    monkeypatch.setenv("WORKSHED_SIGNING", "require")


@pytest.fixture
def intruder(vhost, broker, ledger, eventually):
    """The intruder, whose connection and queue are removed at the end."""
    broker.ensure_queues({"parts", "letters"})

    @contextlib.contextmanager
    def intruder():
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(vhost))) as connection:
            found = Intruder(connection.channel())
            ledger.send(0)
            eventually(lambda: found.look() or found.seen)
            yield found

    return intruder


@pytest.fixture
def refused(numbers):
    """`refused()`: how many messages the workers have counted as refused, by reason."""

    def refused():
        registry = CollectorRegistry()
        MultiProcessCollector(registry, numbers["PROMETHEUS_MULTIPROC_DIR"])
        found = {}
        for family in registry.collect():
            for sample in family.samples:
                if sample.name == "workshed_signature_problems_total":
                    kind = sample.labels["problem"]
                    found[kind] = found.get(kind, 0) + sample.value
        return found

    return refused


@pytest.mark.timeout(1800)
@experiment(
    "intruders",
    number=25,
    fails_by="ghost",
    fault="messages that are unsigned, signed with another key, altered, made to look new, moved "
    "to another queue, or replayed although they must take effect once",
    load="20 000 of them among as many valid jobs, sent directly and in transactions",
    remedy=Remedy(
        "workshed/transport/messages/signing.py",
        "    if signing is not None:\n        signing.verify(",
        "    if signing is None:\n        signing.verify(",
    ),
)
def test_what_no_key_has_signed_is_dead_and_counted(
    ledger, two_workers, intruder, refused, drained, judged, connect, scale
):
    with intruder() as attacker:
        for number in range(1, scale(20_000, by=20)):
            (ledger.commit if number % 10 == 9 else ledger.send)(number)
            attacker.look()
            attacker.forge(number)
            if number % REPLAYS_OF == 0:
                attacker.replay()

    result = drained(within_s=600)
    with connect() as conn:
        dead = conn.execute("SELECT body, actor, error_class FROM workshed.dead").fetchall()
    counted = refused()
    result.lost += len(set(attacker.forged) - {bytes(body) for body, *_ in dead})
    result.notes = {"forged": len(attacker.forged), "replayed": attacker.replayed, **counted}
    judged(result)
    assert {(actor, kind) for _, actor, kind in dead} == {(None, "SignatureError")}
    assert {bytes(body) for body, *_ in dead} == set(attacker.forged)
    assert sum(counted.values()) == len(attacker.forged)
    assert attacker.replayed
