"""A RabbitMQ of three nodes, one of which is killed."""

import shutil
import signal
import subprocess
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests import pages
from workshed.devserver.account import server_account
from workshed.devserver.cluster import NODE_NAMES

LOST = pages.block("docs/servers.md", "rabbitmqctl -n rabbit@other").splitlines()
NODES = [f"{name}@localhost" for name in NODE_NAMES]


@pytest.fixture
def rabbitmq(cluster, managed):
    """The management API of a node that is not killed."""
    return managed(cluster.nodes[1].management_url)


@pytest.fixture
def vhost(cluster, rabbitmq):
    urls = (urlsplit(url)._replace(path=f"/{rabbitmq.vhost}") for url in cluster.url.split(";"))
    return ";".join(map(urlunsplit, urls))


def test_quorum_queues_outlive_a_node_and_what_is_for_a_classic_one_there_is_stored(
    cluster, actor, broker, rabbitmq, rows, monkeypatch, caplog, eventually
):
    said = []
    monkeypatch.setattr(cluster, "report", said.append)
    greet = actor(queue_name="default", actor_name="greet")(lambda number: None)
    mail = actor(queue_name="emails", actor_name="mail")(lambda number: None)
    for one in (greet, mail):
        one.send(1)
    default = f"queues/{rabbitmq.vhost}/default"
    assert sorted(rabbitmq.ask("GET", default)["members"]) == NODES

    first = cluster.nodes[0]
    first.kill()
    for one in (greet, mail):
        one.send(2)

    assert cluster.management_url == cluster.nodes[1].management_url
    # The other node may not list the queue yet.
    eventually(lambda: "default" in rabbitmq.queues() and rabbitmq.depth("default") == 2)
    reasons = "SELECT actor, reason, sent_at IS NULL FROM workshed.schedule ORDER BY created_at"
    assert rows(reasons) == [("mail", "outbox_lease", False), ("mail", "broker_down", True)]
    broker._declarer.clear()
    broker.ensure_queues({"emails", "low"})  # as a worker does when it starts
    assert "queue 'emails' is unavailable" in caplog.text
    assert "low" in rabbitmq.queues()

    cluster.check()
    first.wait()

    assert said == ["a@localhost has ended; restarting it"]
    eventually(lambda: sorted(rabbitmq.ask("GET", default)["online"]) == NODES)


@pytest.mark.exhaustive
def test_a_node_that_lost_its_data_joins_again_and_one_that_ends_meanwhile_is_started(
    cluster, actor, broker, rabbitmq, monkeypatch, eventually
):
    """Follow the steps of `docs/servers.md`."""
    said = []
    monkeypatch.setattr(cluster, "report", said.append)
    actor(queue_name="default", actor_name="greet")(lambda number: None).send(1)
    default = f"queues/{rabbitmq.vhost}/default"
    eventually(lambda: sorted(rabbitmq.ask("GET", default)["online"]) == NODES)

    first, other, lost = cluster.nodes
    lost.kill()
    shutil.rmtree(lost.folder / "data")
    forget, grow = (tell(other, lost, line) for line in LOST)

    forget()
    eventually(lambda: sorted(rabbitmq.ask("GET", default)["members"]) == NODES[:2])
    lost.start()
    grow()

    eventually(lambda: sorted(rabbitmq.ask("GET", default)["online"]) == NODES)

    lost.kill()
    lost.launch()
    wait = lost.wait

    def end_another():
        """Begin to stop a node; RabbitMQ ends a second or more after it has closed its ports."""
        wait()
        if not said:
            first.process.send_signal(first.death_signal)
            eventually(lambda: not first.is_ready())

    monkeypatch.setattr(lost, "wait", end_another)

    cluster.wait()

    assert said[-1] == "a@localhost has ended; restarting it"
    assert all(node.is_ready() for node in cluster.nodes)


def tell(other, lost, line):
    """Return a function that runs a line of the page for these nodes."""
    line = line.replace("rabbit@other", other.node).replace("rabbit@lost", lost.node)
    program, *words = line.split()
    command = server_account().wrap_command(
        str(other.scripts / program), *words, death=signal.SIGTERM
    )
    env = other.environment() | {"RABBITMQ_CTL_ERL_ARGS": "-dist_listen false"}
    return lambda: subprocess.run(command, cwd="/", env=env, check=True, timeout=60)
