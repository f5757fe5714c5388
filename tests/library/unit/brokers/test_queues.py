"""Declared queues."""

from types import SimpleNamespace

import dramatiq
import pytest

from tests.library.queues import QUEUES
from workshed.errors import SettingsError
from workshed.queues import Queue, weigh_queues
from workshed.settings import Settings
from workshed.transport.amqp.topology import server_version
from workshed.transport.build import build_broker


def test_weights_come_from_the_environment():
    found = weigh_queues(QUEUES, "critical=5, low=2")

    assert (found["critical"].weight, found["low"].weight, found["default"].weight) == (5, 2, 2)


@pytest.mark.parametrize("text", ["nope=1", "critical", "critical=", "critical=-1", "critical=x"])
def test_weights_that_make_no_sense_are_refused(text):
    with pytest.raises(SettingsError, match="NAME=WEIGHT"):
        weigh_queues(QUEUES, text)


@pytest.mark.parametrize(
    "options",
    [{"name": "1st"}, {"name": "a.dead"}, {"name": "a", "weight": 0}, {"name": "a", "levels": 32}],
)
def test_a_queue_that_could_not_be_made_is_refused(options):
    with pytest.raises(SettingsError):
        Queue(**options)


@pytest.mark.parametrize(
    ("words", "found"),
    [(b"4.0.5", (4, 0)), ("4.3.0-rc.1", (4, 3)), (b"5.12", (5, 12)), (b"", (4, 0)), (b"x", (4, 0))],
)
def test_the_version_is_read_from_the_connection(words, found):
    impl = SimpleNamespace(server_properties={"version": words})

    assert server_version(SimpleNamespace(_impl=impl)) == found


def test_used_queues_are_those_of_actors_and_those_that_a_program_adds():
    """The shipped queues are declared too, but the program that uses them is not here."""
    broker = build_broker(Settings())
    broker.add_queue(Queue("invoices"))

    @dramatiq.actor(broker=broker, queue_name="emails")
    def note():
        pass

    assert set(broker.used_queues()) == {"emails", "invoices"}
    assert set(broker.declared_queues) > {"emails", "invoices", "default"}
