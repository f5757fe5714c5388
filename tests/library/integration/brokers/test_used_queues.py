"""The queues made on RabbitMQ: of all that are declared, only those that are used."""

import subprocess
import sys

import pytest

from workshed import Queue, db, schedule
from workshed.jobs.control import queues

pytestmark = pytest.mark.fresh_vhost


@pytest.fixture
def relay(broker, tmp_path):
    """A relay process, which loads no actors."""
    with (tmp_path / "relay.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workshed.transport.relay.relay"], stdout=log, stderr=log
        )
    yield
    process.kill()
    process.wait(60)


@pytest.fixture
def queue_names(rabbitmq):
    """The names of the existing queues."""
    return lambda: rabbitmq.queues().keys()


def with_dead(*names):
    return {name for queue in names for name in (queue, f"{queue}.dead")}


@pytest.fixture
def _known(connect):
    """A worker with an actor on `low` has started before."""
    queues.declare_actors(connect(autocommit=True), [queues.KnownActor("clean", "low")])


@pytest.mark.usefixtures("_known", "relay")
def test_a_relay_makes_the_queues_of_known_actors_and_no_others(queue_names, rows, eventually):
    """An application with one queue of its own used to get eighteen on RabbitMQ."""
    eventually(lambda: queue_names() == with_dead("low"))
    eventually(lambda: rows("SELECT FROM workshed.relays"))

    assert queue_names() == with_dead("low")


def test_a_relay_makes_a_queue_that_it_has_to_send_to(
    actor, queue_names, rows, request, eventually
):
    """The job was stored before any worker started."""
    greet = actor(queue_name="default", actor_name="greet")(lambda: None)
    with db.transaction() as conn:
        schedule.send(conn, greet.message())

    request.getfixturevalue("relay")
    eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    assert queue_names() == with_dead("default")


def test_a_worker_makes_the_queues_of_its_actors_and_no_others(broker, actor, working, queue_names):
    actor(queue_name="low", actor_name="clean")(lambda: None)
    broker.add_queue(Queue("invoices"))
    actor(queue_name="invoices", actor_name="bill")(lambda: None)

    with working("low", "invoices"):
        assert queue_names() == with_dead("low", "invoices")


def test_a_worker_without_queue_names_makes_those_of_its_actors(
    broker, actor, working, queue_names
):
    """`dramatiq jobs` starts it so, without `--queues`."""
    for known in (broker.actors, broker.queues):
        known.clear()
    actor(queue_name="low", actor_name="clean")(lambda: None)

    with working():
        assert queue_names() == with_dead("low")


def test_a_sender_makes_the_queue_that_it_sends_to_and_no_other(actor, queue_names):
    actor(queue_name="default", actor_name="greet")(lambda: None)
    actor(queue_name="low", actor_name="clean")(lambda: None).send()

    assert queue_names() == with_dead("low")
