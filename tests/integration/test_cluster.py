"""Three nodes of RabbitMQ that are one cluster, on ports of their own."""

import os
import signal
from urllib.parse import urlsplit, urlunsplit

import pika
import pytest

from brokers import Queue, topology
from console.servers.cluster import NAMES

NODES = [f"{name}@localhost" for name in NAMES]


@pytest.fixture
def rabbitmq(cluster, managed):
    """Of a node that is not killed."""
    return managed(cluster.nodes[1].management_url)


@pytest.fixture
def urls(cluster, rabbitmq):
    return [urlunsplit(urlsplit(u)._replace(path=rabbitmq.vhost)) for u in cluster.url.split(";")]


def test_quorum_queues_have_three_members_and_a_killed_node_comes_back(
    cluster, rabbitmq, urls, monkeypatch, eventually
):
    """One test: each start of a cluster costs 10 s of a processor."""
    said = []
    monkeypatch.setattr(cluster, "talk", said.append)
    topology.ensure(urls, [Queue("parts")])
    parts = f"queues/{rabbitmq.vhost}/parts"
    assert sorted(rabbitmq.ask("GET", parts)["members"]) == NODES

    first = cluster.nodes[0]
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()

    with pika.BlockingConnection(pika.URLParameters(urls[1])) as connection:
        assert connection.channel().queue_declare("parts", passive=True)
    assert cluster.management_url == cluster.nodes[1].management_url

    cluster.check()
    assert said == ["a@localhost has ended; it is started again"]
    first.wait()
    eventually(lambda: sorted(rabbitmq.ask("GET", parts)["online"]) == NODES, within_s=60)
