"""`WORKSHED_QUEUE_PREFIX`: the queues that commands and the doctor check and report."""

import pytest

from workshed.console.doctor import CHECKS, build_context
from workshed.console.queue_servers.rabbitmq_queues import open_management
from workshed.jobs.control import queues
from workshed.jobs.control.queues import KnownActor
from workshed.transport.amqp import topology
from workshed.transport.consuming import consumer_tag

pytestmark = pytest.mark.fresh_vhost

PREFIX = "shop."


@pytest.fixture(autouse=True)
def _prefix(env):
    env(QUEUE_PREFIX=PREFIX)


@pytest.fixture
def channel(broker):
    """A channel of another program in the same virtual host, whose queue `default` is empty."""
    with topology.open_connection(broker.urls, 120) as connection:
        channel = connection.channel()
        channel.queue_declare("default", durable=True)
        yield channel


@pytest.fixture
def examined():
    """`examined("queues")`: the findings of this check now."""

    def run(name):
        [check] = [check for check in CHECKS if check.name == name]
        return list(check.run(build_context((), 1, 8)))

    return run


@pytest.mark.parametrize("named", [True, False])
def test_the_doctor_looks_for_our_queues(declared, examined, management, channel, env, named):
    """Without a URL of the management API it uses AMQP."""
    if not named:
        env(MANAGEMENT_URL="")
    assert examined("queues")[0].level == "ok"

    channel.queue_delete(f"{PREFIX}low")
    [finding] = [one for one in examined("queues") if one.level == "failed"]

    assert finding.message == "missing: shop.low"


def test_the_doctor_looks_for_our_queues_if_a_setting_cannot_be_read(declared, examined, env):
    env(PUBLISH_TIMEOUT="soon")

    assert examined("queues")[0].message == "8 queues exist"


def test_the_doctor_looks_for_queues_that_only_workers_declare(
    broker, examined, management, conn, channel
):
    queues.declare_actors(conn, [KnownActor("crawl", "crawling")])
    channel.queue_declare("crawling", durable=True)

    [finding] = examined("queues")
    channel.queue_declare(f"{PREFIX}crawling", durable=True)
    there = examined("queues")

    assert finding.message == "missing: shop.crawling"
    assert [one.level for one in there] == ["ok", "not checked"]


def test_the_rights_of_an_account_are_those_to_our_queues(
    broker, examined, management, conn, servers, env
):
    """This holds for a queue of the broker, and for one that only workers declare."""
    queues.declare_actors(conn, [KnownActor("crawl", "crawling"), KnownActor("clean", "low")])
    user = f"u{management.vhost}"
    management.ask("PUT", f"users/{user}", {"password": "pw", "tags": ""})
    path = f"permissions/{management.vhost}/{user}"

    def levels(names):
        rights = {"configure": ".*", "write": ".*", "read": f"^({names})$"}
        management.ask("PUT", path, rights)
        return {one.level for one in examined("permissions")}

    env(BROKER_URL=f"amqp://{user}:pw@{broker.urls[0].rpartition('@')[2]}")
    try:
        assert levels("crawling|low") == {"failed"}
        assert levels(r"shop\.low|crawling") == {"failed"}
        assert levels(r"shop\.low|shop\.crawling") == {"ok"}
    finally:
        management.ask("DELETE", f"users/{user}")


def test_the_doctor_names_programs_that_share_our_queue(
    declared, examined, management, channel, eventually
):
    """It does not name those that consume the queue of the other program."""

    def consume(queue, *actors):
        channel.basic_consume(queue, lambda *_: None, consumer_tag=consumer_tag.make_tag(actors))

    def found():
        return [one.message for one in examined("workers") if "share queue" in one.message]

    for name in ("a", "b"):
        consume("default", (name, "other"))
    consume(f"{PREFIX}default", ("send", "shop.mails"))
    eventually(lambda: len(management.consumers()) == 3)
    before = found()
    consume(f"{PREFIX}default", ("post", "blog.posts"))
    [shared] = eventually(found)

    assert before == []
    assert "share queue default: blog.posts on " in shared
    assert "; shop.mails on " in shared


def test_a_link_leads_to_our_queue_in_the_ui(broker, management):
    assert open_management(broker).queue_page_url("default").endswith("/shop.default")


def test_the_doctor_and_commands_count_messages_in_our_dead_queue(
    declared, workshed, examined, channel, rabbitmq, eventually
):
    channel.queue_declare("default.dead", durable=True)
    for name, many in (("default.dead", 1), (f"{PREFIX}default.dead", 2)):
        for _ in range(many):
            channel.basic_publish("", name, b"x")
    eventually(lambda: rabbitmq.depth(f"{PREFIX}default.dead") == 2)

    assert [one.message.partition(",")[0] for one in examined("dead queues")] == [
        "default.dead holds 2"
    ]
    assert "default.dead on RabbitMQ holds 2, " in workshed("dead").err
