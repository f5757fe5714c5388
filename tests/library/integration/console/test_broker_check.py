"""`workshed broker check`: whether RabbitMQ has the declared queues."""

import sys

import pytest

from workshed.transport.amqp import topology
from workshed.transport.amqp.arguments import EXCHANGE

LONGEST_S = 60.0
"""The longest duration of a test, after which its connection is closed."""


@pytest.fixture
def channel(broker):
    with topology.open_connection(broker.urls, LONGEST_S) as connection:
        yield connection.channel()


def test_all_queues_are_as_declared(workshed, declared, management):
    done = workshed("broker", "check")

    assert (done.code, done.out) == (
        0,
        f"{len(declared.declared_queues)} queues exist as declared\n",
    )


def test_without_the_management_api_it_reports_what_was_not_checked(workshed, declared):
    done = workshed("broker", "check")

    assert (done.code, done.out) == (0, f"{len(declared.declared_queues)} queues exist\n")
    assert "Their arguments and bindings were not checked: export WORKSHED_MANAGEMENT" in done.err


def test_a_queue_that_differs_is_reported_with_the_way_to_make_it_again(
    workshed, declared, management, channel
):
    channel.queue_delete("bulk")
    channel.queue_declare(
        "bulk", durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 7}
    )
    channel.queue_bind("bulk", EXCHANGE, "bulk")

    done = workshed("broker", "check")

    assert (done.code, done.out) == (1, "")
    assert "queue 'bulk': " in done.err
    assert "x-delivery-limit is absent and declared as -1" in done.err
    assert "x-max-length is 7 and declared as absent" in done.err
    assert "once `workshed queues` shows it empty" in done.err
    delete = f"rabbitmqctl delete_queue --vhost {management.vhost} bulk && workshed broker setup"
    assert delete in done.err


def test_a_queue_made_again_as_the_message_says_is_as_declared(
    workshed, declared, management, channel, servers
):
    channel.queue_delete("bulk")
    channel.queue_declare("bulk", durable=True, arguments={"x-queue-type": "quorum"})
    said = workshed("broker", "check").err
    words = said[said.index("rabbitmqctl") :].partition(" && ")[0].split()

    servers.rabbitmq.ctl(*words[1:])
    declared._declarer.clear()  # a command is a process of its own

    assert workshed("broker", "setup").code == 0
    assert workshed("broker", "check").code == 0


def test_a_missing_binding_is_reported(workshed, declared, management, channel):
    """Messages to the queue come back as unroutable, and AMQP does not show why."""
    channel.queue_unbind("bulk", EXCHANGE, "bulk")

    done = workshed("broker", "check")

    assert done.code == 1
    assert f"queue 'bulk' is not bound to exchange {EXCHANGE!r}" in done.err
    assert "-> workshed broker setup" in done.err


@pytest.mark.fresh_vhost
@pytest.mark.usefixtures("management")
def test_every_missing_queue_is_reported(workshed, broker):
    broker.ensure_queues({"default"})

    done = workshed("broker", "check")

    assert done.code == 1
    assert "missing: critical, critical.dead, imports" in done.err
    assert "default.dead" not in done.err


@pytest.mark.fresh_vhost
def test_a_missing_queue_is_reported_over_amqp_too(workshed, broker):
    done = workshed("broker", "check")

    assert done.code == 1
    assert "queue 'critical': does not exist; run `workshed broker setup`" in done.err


def test_rabbitmq_away(workshed, broker, monkeypatch):
    monkeypatch.setattr(broker, "urls", ["amqp://ada:secret@127.0.0.1:9/"])

    assert workshed("broker", "check").code == 3


def test_the_management_api_away(workshed, declared, env):
    env(MANAGEMENT_URL="http://ada:secret@127.0.0.1:9")

    done = workshed("broker", "check")

    assert (done.code, done.out) == (1, "")
    assert "management API does not answer at 127.0.0.1:9" in done.err
    assert "secret" not in done.err


@pytest.fixture
def package(tmp_path, monkeypatch, broker):
    """A module whose actor has a queue of its own, and which declares one more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_jobs.py").write_text(
        "import dramatiq\n"
        "from workshed import Queue, broker\n"
        "broker.add_queue(Queue('invoices'))\n"
        "broker.add_queue(Queue('reports', kind='classic', levels=2))\n"
        "@dramatiq.actor(broker=broker, queue_name='invoices')\n"
        "def bill_for_test(): ...\n"
    )
    known = broker.actors, broker.queues, broker.declared_queues, broker._added_queues
    before = [one.copy() for one in known]
    broker.queues.clear()  # those of the sample product, which other tests have imported
    yield "own_jobs"
    sys.modules.pop("own_jobs", None)
    for kept, now in zip(before, known, strict=True):
        now.clear()
        now.update(kept)


@pytest.mark.fresh_vhost
def test_only_queues_that_a_module_uses_or_declares_are_made(workshed, package, management):
    """Otherwise the queues of the sample product would be in every application's RabbitMQ."""
    made = workshed("broker", "setup", "--import", package)

    assert made.out.splitlines() == ["invoices", "reports"]
    assert management.queues().keys() == {
        name for queue in ("invoices", "reports") for name in (queue, f"{queue}.dead")
    }
    checked = workshed("broker", "check", "--import", package)
    assert checked.out == "2 queues exist as declared\n"
    printed = workshed("broker", "definitions", "--import", package)
    assert {one["name"] for one in printed.json["queues"]} == management.queues().keys()
