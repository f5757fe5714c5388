"""Erlang's port mapper, which tells RabbitMQ's nodes and tools where a node listens."""

import os
import signal
import subprocess

from workshed.devserver.account import account
from workshed.devserver.ports import HOST

# A node asks a port mapper for others of its kind, and starts one that outlives it where none
# answers, on 4369 of all addresses. It is given one that is ours and dies with us.
NO_OTHER = "-start_epmd false"


class PortMapper:
    """A port mapper of ours on a loopback port; one serves all nodes of a cluster."""

    def __init__(self) -> None:
        """Start nothing."""
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self, port: int) -> None:
        """Start it again; what was registered is forgotten."""
        self.stop()
        self.port = port
        self.process = subprocess.Popen(
            account().command("epmd", "-address", HOST, "-port", str(port), death=signal.SIGKILL),
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self) -> None:
        """End it; nodes that know each other go on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def environment(self) -> dict[str, str]:
        """Return what lets a node ask this one, and start no other."""
        return {
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self.port),
            "ERL_ZFLAGS": NO_OTHER,
        }
