"""A private RabbitMQ that shares nothing with the system's."""

import http.client
import json
import os
import secrets
import signal
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from workshed.devserver import install
from workshed.devserver.account import server_account
from workshed.devserver.epmd import PortMapper
from workshed.devserver.errors import NotInstalledError, ServerError
from workshed.devserver.ports import HOST
from workshed.devserver.process import DevServer, write_secret_file
from workshed.devserver.state import StateFolder

USER = "workshed"
# At localhost, so that data stay readable if the machine's name changes.
NODE = "workshed@localhost"
PASSWORD_NOTE = "rabbitmq_password"  # noqa: S105 - its name in the notes
OLDEST = (4, 0)
CTL_S = 180


class RabbitMQServer(DevServer):
    """RabbitMQ with its management UI on loopback ports; it reads nothing from /etc."""

    name = "RabbitMQ"
    death_signal = signal.SIGTERM
    port_names: ClassVar[Sequence[str]] = ("amqp", "management", "distribution", "epmd")

    def __init__(
        self, state: StateFolder, scripts: Path, *, config: Mapping[str, str] | None = None
    ) -> None:
        """Prepare a node; `config` sets parameters of Erlang's application `rabbit`."""
        super().__init__(state)
        self.scripts = scripts
        self.config = config or {}
        self.folder = state.create_subfolder("rabbitmq")
        self.password = state.read_notes().get(PASSWORD_NOTE) or secrets.token_urlsafe(16)
        self.node = NODE
        self.mapper = PortMapper()

    @property
    def url(self) -> str:
        """The AMQP URL of the virtual host `/`, as an administrator."""
        return f"amqp://{USER}:{self.password}@{HOST}:{self.ports['amqp']}/%2F"

    @property
    def management_url(self) -> str:
        """The management UI and API, with the login."""
        return f"http://{USER}:{self.password}@{HOST}:{self.ports['management']}"

    def ctl(self, *words: str) -> str:
        """Run `rabbitmqctl` on this node and return its output.

        Raises `ServerError` if it fails.
        """
        program = str(self.scripts / "rabbitmqctl")
        done = subprocess.run(
            server_account().wrap_command(
                program, "--quiet", "-n", self.node, *words, death=signal.SIGTERM
            ),
            cwd="/",
            env=self.environment() | {"RABBITMQ_CTL_ERL_ARGS": "-dist_listen false"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CTL_S,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"rabbitmqctl {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def end_with_signal(self, number: signal.Signals) -> None:
        """Send a signal, and stop the port mapper once the node has ended."""
        super().end_with_signal(number)
        self.unmap_ports()

    def prepare(self) -> None:
        """Start its port mapper; write its configuration, with the ports and the password."""
        self.map_ports()
        # The password creates the user on the first run and is ignored on later ones.
        self.state.write_notes(**{PASSWORD_NOTE: self.password})
        config = {
            "listeners.tcp.1": f"{HOST}:{self.ports['amqp']}",
            "management.tcp.ip": HOST,
            "management.tcp.port": str(self.ports["management"]),
            "default_user": USER,
            "default_pass": self.password,
            "default_user_tags.administrator": "true",
        } | self.settings()
        lines = "".join(f"{name} = {value}\n" for name, value in config.items())
        write_secret_file(self.folder / "rabbitmq.conf", lines)
        write_secret_file(self.folder / "enabled_plugins", "[rabbitmq_management].\n")

    def map_ports(self) -> None:
        """Start its port mapper."""
        self.mapper.start(self.ports["epmd"])

    def unmap_ports(self) -> None:
        """Stop its port mapper."""
        self.mapper.stop()

    def settings(self) -> dict[str, str]:
        """Return additional lines of its configuration."""
        return {}

    def command(self) -> list[str]:
        """Return the start script."""
        return [str(self.scripts / "rabbitmq-server")]

    def environment(self) -> dict[str, str]:
        """Set every path and name that would otherwise be the system's."""
        folder = self.folder
        options = [
            "-kernel inet_dist_use_interface {127,0,0,1}",
            *(f"-rabbit {name} {value}" for name, value in self.config.items()),
        ]
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(folder),  # for the Erlang cookie
            # Makes the script exec the server instead of waiting for it as a child. A kill of the
            # script would leave a child behind, and the parent's death signal would not reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),  # does not exist
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self.ports["distribution"]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(options),
        } | self.mapper.environment()

    def is_ready(self) -> bool:
        """Ask the management API, with the password, whether the node listens for AMQP.

        Raises `NotInstalledError` if it is too old for what the queues need.
        """
        overview = self._overview()
        version = str(overview.get("rabbitmq_version", ""))
        if version and tuple(map(int, version.split(".")[:2])) < OLDEST:
            raise NotInstalledError(
                f"RabbitMQ 4.0 or newer is needed; {self.scripts} holds {version}. "
                "Install a newer one, or set WORKSHED_BROKER_URL to your own server.\n"
                f"{install.WITHOUT_RABBITMQ}"
            )
        listeners = overview.get("listeners", [])
        return any(each["port"] == self.ports["amqp"] for each in listeners)

    def _overview(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection(HOST, self.ports["management"], timeout=2)
        login = b64encode(f"{USER}:{self.password}".encode()).decode()
        try:
            connection.request("GET", "/api/overview", headers={"Authorization": f"Basic {login}"})
            response = connection.getresponse()
            answer: dict[str, Any] = (
                json.load(response) if response.status == http.HTTPStatus.OK else {}
            )
        except (OSError, http.client.HTTPException, ValueError):  # any program may answer
            return {}
        else:
            return answer
        finally:
            connection.close()
