"""Erlang's port mapper, from which RabbitMQ's nodes and tools learn where a node listens."""

import os
import signal
import subprocess

from workshed.devserver.account import server_account
from workshed.devserver.ports import HOST

# If no port mapper answers, a node starts one on port 4369 of all addresses, which outlives it.
# So it gets a port mapper of ours, which ends with us.
NO_START_EPMD = "-start_epmd false"


class PortMapper:
    """A private port mapper on a loopback port; one serves all nodes of a cluster."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self, port: int) -> None:
        """Start or restart it; a restart loses what was registered."""
        self.stop()
        self.port = port
        self.process = subprocess.Popen(
            server_account().wrap_command(
                "epmd", "-address", HOST, "-port", str(port), death=signal.SIGKILL
            ),
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
        """Return variables that make a node use this port mapper and start no other."""
        return {
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self.port),
            "ERL_ZFLAGS": NO_START_EPMD,
        }
