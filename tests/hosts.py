"""Simulated hosts on this machine: named network namespaces, joined by a bridge.

Only root can make them. They reach servers on loopback through a `Proxy` at `Network.address`.
"""

import os
import secrets
import subprocess
from typing import Self

TAKEN = 255


class Network:
    """A bridge with an address of this machine, and its hosts; all removed after the block."""

    def __init__(self):
        # 198.18.0.0/15 is reserved for network tests: nothing is routed there.
        self._subnet = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(TAKEN)}"
        self._id = secrets.token_hex(3)
        self._bridge = f"ws{self._id}"
        self._hosts: list[Host] = []
        self.address = f"{self._subnet}.1"
        """The address at which the hosts reach this machine."""

    def __enter__(self) -> Self:
        assert os.geteuid() == 0, "hosts with a network of their own: only root may make them"
        ip("link", "add", self._bridge, "type", "bridge")
        ip("addr", "add", f"{self.address}/24", "dev", self._bridge)
        ip("link", "set", self._bridge, "up")
        return self

    def __exit__(self, *_):
        for host in self._hosts:
            ip("netns", "del", host.namespace)
        ip("link", "del", self._bridge)

    def host(self, name):
        """Add a connected host."""
        number = len(self._hosts) + 2
        host = Host(name, f"{self._bridge}-{number}", f"{self._bridge}p{number}")
        ip("netns", "add", host.namespace)
        self._hosts.append(host)
        peer = ("peer", "name", "eth0", "netns", host.namespace)
        ip("link", "add", host.port, "type", "veth", *peer)
        ip("link", "set", host.port, "master", self._bridge)
        inside = ("-n", host.namespace)
        ip(*inside, "addr", "add", f"{self._subnet}.{number}/24", "dev", "eth0")
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "link", "set", "eth0", "up")
        host.plug()
        return host


class Host:
    """A host with a name that its programs see, which can be disconnected."""

    def __init__(self, name, namespace, port):
        self.name = name
        self.namespace = namespace
        self.port = port

    @property
    def words(self):
        """The prefix that runs a command on this host; the process becomes the command itself."""
        named = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name)
        return ["ip", "netns", "exec", self.namespace, *named]

    def unplug(self):
        """Cut it off silently: connections stay open, and nothing that it sent is answered."""
        ip("link", "set", self.port, "down")

    def plug(self):
        ip("link", "set", self.port, "up")


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
