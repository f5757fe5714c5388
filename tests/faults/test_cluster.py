"""A cluster of three nodes that are lost, killed, cut off and restarted under load."""

import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.faults.experiment import Remedy, experiment
from workshed.devserver.cluster import NODE_NAMES
from workshed.settings import settings
from workshed.transport import build
from workshed.transport.errors import PublishRefusedError

NODES = [f"{name}@localhost" for name in NODE_NAMES]
KILLS = 3
FAULTS = 1 + KILLS + 1 + len(NODES)
CUT_S = 10
CUT_OFF = """
    Peers = nodes(),
    [begin erlang:set_cookie(P, cut), erlang:disconnect_node(P) end || P <- Peers],
    spawn(fun() ->
        timer:sleep({ms}), [erlang:set_cookie(P, erlang:get_cookie()) || P <- Peers] end).
"""
"""Until the cookie is restored, no handshake with other nodes succeeds in either direction."""
GROW = 'rabbit_quorum_queue:grow(\'{node}\', <<"{vhost}">>, <<".*">>, all).'


@pytest.fixture
def rabbitmq(cluster, managed):
    return managed(cluster.management_url)


@pytest.fixture
def vhost(cluster, rabbitmq):
    urls = (urlsplit(url)._replace(path=f"/{rabbitmq.vhost}") for url in cluster.url.split(";"))
    return ";".join(map(urlunsplit, urls))


class Nodes:
    """Operations on the nodes, mostly on the leader of the queue `parts`."""

    def __init__(self, cluster, rabbitmq, eventually):
        self._cluster = cluster
        self._api = type(rabbitmq)
        self._vhost = rabbitmq.vhost
        self._eventually = eventually

    @property
    def all(self):
        return self._cluster.nodes

    def ask(self, path, besides=None):
        """Query a node that answers; a paused node runs but does not answer."""
        for node in self.all:
            if node is not besides:
                with contextlib.suppress(OSError, HTTPException):
                    return self._api(node.management_url, self._vhost).ask("GET", path)
        raise ConnectionError("no node answers")

    def parts(self):
        return self.ask(f"queues/{self._vhost}/parts")

    def leader(self):
        """Return the leader of `parts`; without quorum queues, the only node that has it."""
        found = self.parts()
        name = found.get("leader") or found["node"]
        return self.all[NODES.index(name)]

    def are_whole(self):
        """Return whether all nodes run and each queue has all its members."""
        running = [one for one in self.ask("nodes") if one["running"]]
        queues = self.ask(f"queues/{self._vhost}")
        return len(running) == len(NODES) and all(
            sorted(queue.get("online", NODES)) == NODES for queue in queues
        )

    def heal(self):
        """Wait until the cluster is whole; if it never is, the jobs' results show it."""
        with contextlib.suppress(AssertionError):
            self._eventually(self.are_whole, within_s=60)

    def lose(self):
        """Remove the leader with its disk; an empty node with its name joins."""
        lost = self.leader()
        lost.kill()
        shutil.rmtree(lost.folder / "data")
        other = next(node for node in self.all if node is not lost)
        other.ctl("forget_cluster_node", lost.node)
        lost.start()
        other.ctl("eval", GROW.format(node=lost.node, vhost=self._vhost))
        self.heal()

    def kill(self):
        """Kill the leader with kill -9 and restart it."""
        node = self.leader()
        node.kill()
        node.start()
        self.heal()

    def cut_off(self):
        """Separate the leader from the other nodes; its clients stay connected."""
        node = self.leader()
        node.ctl("eval", CUT_OFF.format(ms=CUT_S * 1000))

        def is_missed():
            found = self.ask("nodes", besides=node)
            return [one["name"] for one in found if not one["running"]] == [node.node]

        self._eventually(is_missed, within_s=CUT_S)
        self.heal()

    def restart(self, node):
        """Restart a node gracefully, as for an upgrade."""
        node.restart()
        self.heal()


@pytest.fixture
def nodes(cluster, rabbitmq, eventually):
    return Nodes(cluster, rabbitmq, eventually)


@pytest.fixture
def orders(vhost):
    """The URLs of the nodes, in three orders: each node comes first once."""
    urls = vhost.split(";")
    return [";".join(urls[n:] + urls[:n]) for n in range(len(urls))]


@pytest.fixture
def brokers(broker, orders):
    """A broker in this process for each node."""
    others = []
    for order in orders[1:]:
        config = settings().replace(broker_url=order)
        others.append(build.build_broker(config))
        others[-1].declared_queues.update(broker.declared_queues)
    yield [broker, *others]
    for one in others:
        one.close()


@pytest.fixture
def refused():
    """The errors of `send`; such jobs are not sent."""
    return []


@pytest.fixture
def send(ledger, brokers, refused):
    """`send(number)`: some jobs in a transaction, the others to all nodes in turn."""

    def send(number):
        if number % 10 == 9:
            ledger.commit(number)
            return
        message = ledger.message(number)
        try:
            brokers[number % len(brokers)].enqueue(message)
        except PublishRefusedError as err:
            refused.append(err)
            return
        ledger.note(message)

    return send


@pytest.mark.timeout(1800)
@experiment(
    "cluster",
    number=21,
    fails_by="lost",
    fault="in a RabbitMQ cluster of three nodes, the leader of the queue is lost with its disk, "
    f"gets `kill -9` {KILLS} times, and is cut off from the others for {CUT_S} s; then each node "
    "is restarted",
    load="20 000 jobs, sent directly to each node and in transactions",
    remedy=Remedy(
        "workshed/transport/amqp/arguments.py",
        "    taken = ARGUMENT_VERSIONS[queue.kind]\n",
        '    queue = type(queue)(queue.name, kind="classic")\n'
        "    taken = ARGUMENT_VERSIONS[queue.kind]\n",
    ),
)
def test_nodes_are_lost_killed_cut_off_and_restarted(
    nodes, send, refused, start_one, orders, harmless, in_threads, scale
):
    """With classic queues, the jobs waiting on the lost node are lost with it."""
    numbers = iter(range(scale(20_000, by=60)))
    share = scale(20_000, by=60) // FAULTS + 1

    def some():
        return [number for _, number in zip(range(share), numbers, strict=False)]

    def under_load(fault, *words):
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(in_threads, send, some())
            fault(*words)  # in this thread, because a node ends with the thread that has started it
            sending.result()

    in_threads(send, some())  # they wait on the node that will be lost
    nodes.lose()
    for order in orders:
        start_one(env={"WORKSHED_BROKER_URL": order, "WORKSHED_CLASSIC_QUEUE_RESEND_AFTER": "5"})
    for _ in range(KILLS):
        under_load(nodes.kill)
    under_load(nodes.cut_off)
    for node in nodes.all:
        under_load(nodes.restart, node)
    harmless(within_s=600)
    assert refused == []
