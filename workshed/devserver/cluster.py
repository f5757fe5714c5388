"""Three nodes of RabbitMQ on loopback that form one cluster, for quorum queues of three members."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from workshed.devserver.epmd import PortMapper
from workshed.devserver.errors import ServerError
from workshed.devserver.ports import find_free_ports
from workshed.devserver.process import write_secret_file
from workshed.devserver.rabbitmq import PASSWORD_NOTE, RabbitMQServer
from workshed.devserver.state import StateFolder

NODE_NAMES = ("a", "b", "c")
FOLDER = "cluster"
COOKIE = "cluster_cookie"
RESTARTS = 3


class ClusterNode(RabbitMQServer):
    """One node of a cluster; it finds the others by their common port mapper."""

    port_names: ClassVar[Sequence[str]] = ("amqp", "management", "distribution")

    def __init__(
        self,
        state: StateFolder,
        scripts: Path,
        name: str,
        mapper: PortMapper,
        cookie: str,
        *,
        config: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(state, scripts, config=config)
        self.node = full_node_name(name)
        self.mapper = mapper
        self.cookie = cookie

    def prepare(self) -> None:
        """Write its configuration, and the cookie that authenticates the nodes to each other."""
        super().prepare()
        write_secret_file(self.folder / ".erlang.cookie", self.cookie)

    def map_ports(self) -> None:
        """Do nothing: the cluster runs the port mapper for all nodes."""

    def unmap_ports(self) -> None:
        """Do nothing: the other nodes need the port mapper."""

    def settings(self) -> dict[str, str]:
        """Name the nodes; a node without a majority pauses until it is connected again."""
        peers = "cluster_formation.classic_config.nodes"
        return {
            "cluster_formation.peer_discovery_backend": "classic_config",
            **{f"{peers}.{name}": full_node_name(name) for name in NODE_NAMES},
            "cluster_partition_handling": "pause_minority",
        }


class Cluster:
    """The nodes together, with the interface of one server."""

    def __init__(
        self,
        state: StateFolder,
        scripts: Path,
        *,
        config: Mapping[str, str] | None = None,
        talk: Callable[[str], None] = print,
    ) -> None:
        """Prepare the nodes; `config` applies to each, and `talk` reports a node that has ended."""
        self.report = talk
        kept = {PASSWORD_NOTE: secrets.token_urlsafe(16), COOKIE: secrets.token_hex(16)}
        kept |= {name: value for name, value in state.read_notes().items() if name in kept}
        state.write_notes(**kept)
        self.mapper = PortMapper()
        state.create_subfolder(FOLDER)
        self.nodes = []
        for name in NODE_NAMES:
            own = StateFolder(state.create_subfolder(f"{FOLDER}/{name}"), state.lock)
            own.write_notes(**{PASSWORD_NOTE: kept[PASSWORD_NOTE]})
            node = ClusterNode(own, scripts, name, self.mapper, kept[COOKIE], config=config)
            self.nodes.append(node)

    @property
    def url(self) -> str:
        """The AMQP URLs of all nodes, in the format of `WORKSHED_BROKER_URL`."""
        return ";".join(node.url for node in self.nodes)

    @property
    def management_url(self) -> str:
        """The management UI and API of a running node."""
        return self._running_node().management_url

    def ctl(self, *words: str) -> str:
        """Run `rabbitmqctl` on a running node, as `RabbitMQServer.ctl` does."""
        return self._running_node().ctl(*words)

    def launch(self) -> None:
        """Start all at once: new nodes find each other, old ones wait for each other's data."""
        self.mapper.start(find_free_ports(1)[0])
        for node in self.nodes:
            node.launch()

    def wait(self) -> None:
        """Return when all nodes serve at once. Raises `ServerError` as a single node does.

        On a busy machine, RabbitMQ sometimes ends a member while another one joins, which may take
        seconds: such a member is started again.
        """
        left = RESTARTS
        while not all(node.is_ready() for node in self.nodes):
            for node in self.nodes:
                try:
                    node.wait()
                except ServerError:
                    if not left or node.pid is not None:
                        raise
                    left -= 1
                    self.report(node.log_tail())
                    self.check()

    def start(self) -> None:
        """Start the nodes and return when they serve."""
        self.launch()
        self.wait()

    def check(self) -> None:
        """Start killed nodes again, because surviving that is what a cluster is tested for."""
        for node in self.nodes:
            if node.pid is None:
                self.report(f"{node.node} has ended; restarting it")
                node.launch()

    def stop(self) -> None:
        """Shut the nodes down."""
        for node in self.nodes:
            node.stop()
        self.mapper.stop()

    def _running_node(self) -> ClusterNode:
        return next((node for node in self.nodes if node.pid), self.nodes[0])


def full_node_name(name: str) -> str:
    """Return the full name of a node: at localhost, because the machine's name may change."""
    return f"{name}@localhost"
