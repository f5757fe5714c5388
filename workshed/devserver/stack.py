"""All private servers, except those that the environment replaces by servers of your own."""

import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from workshed.devserver import install
from workshed.devserver.cluster import Cluster
from workshed.devserver.errors import NotInstalledError
from workshed.devserver.ports import is_free
from workshed.devserver.postgres import PostgreSQLServer
from workshed.devserver.rabbitmq import RabbitMQServer
from workshed.devserver.state import StateFolder, lock_folder, lock_temporary_folder
from workshed.settings import PREFIX, Settings, settings

if TYPE_CHECKING:
    from workshed.devserver.mail import MailCatcher

ServerKind = Literal["postgres", "rabbitmq", "mail"]
ALL_KINDS: tuple[ServerKind, ...] = ("postgres", "rabbitmq", "mail")
SETTINGS: Mapping[ServerKind, str] = {
    "postgres": "database_url",
    "rabbitmq": "broker_url",
    "mail": "smtp_url",
}
"""The setting that names a server in place of a private one."""
WITHOUT_RABBITMQ_URL = "postgresql:"
"""The value of `broker_url` that names no server: jobs are queued in PostgreSQL."""
MAIL_PORT = "mail_port"
MAIL_FOLDER = "mail"
SECRET_KEY = "secret_key"  # noqa: S105 -- the name under which it is noted


def ignore_message(_: str) -> None:
    """Discard a message."""


class DevServers:
    """PostgreSQL, RabbitMQ and a mail catcher for as long as the block runs.

    A server that the environment names (`WORKSHED_DATABASE_URL`, `…_BROKER_URL`, `…_SMTP_URL`) is
    used as it is, and no private one is started in its place. `postgres`, `rabbitmq` and `mail` are
    the private ones. They end with this process, even if it is killed; enter the block from a
    thread that lives as long.
    """

    postgres: PostgreSQLServer | None = None
    rabbitmq: RabbitMQServer | Cluster | None = None
    mail: "MailCatcher | None" = None

    def __init__(
        self,
        folder: Path | None = None,
        *,
        fresh: bool = False,
        kinds: Collection[ServerKind] = ALL_KINDS,
        nodes: int = 1,
        given: Settings | None = None,
        talk: Callable[[str], None] = ignore_message,
        broker_config: Mapping[str, str] | None = None,
        busy_once: Collection[str] = (),
    ) -> None:
        """Choose what to start and where its data stay.

        `folder` is by default the user's own, or with `fresh` a temporary one. `given` has the
        servers that the environment names. `talk` receives messages about slow steps. `nodes` of
        RabbitMQ are 1 or 3. `broker_config` and `busy_once` are passed to RabbitMQ and the mail
        catcher.
        """
        self.settings = settings() if given is None else given
        self.kinds = kinds
        self.nodes = nodes
        self.report = talk
        self.broker_config = broker_config
        self.busy_once = busy_once
        self._state_context = lock_temporary_folder() if fresh else lock_folder(folder)
        self._exit_stack = ExitStack()

    @property
    def database_url(self) -> str:
        """The value for `WORKSHED_DATABASE_URL`."""
        return self.postgres.url if self.postgres else self.settings.database_url.get_secret_value()

    @property
    def broker_url(self) -> str:
        """The value for `WORKSHED_BROKER_URL`."""
        return self.rabbitmq.url if self.rabbitmq else self.settings.broker_url.get_secret_value()

    @property
    def management_url(self) -> str | None:
        """The value for `WORKSHED_MANAGEMENT_URL`, if one is known."""
        if self.rabbitmq:
            return self.rabbitmq.management_url
        return (
            self.settings.management_url.get_secret_value()
            if self.settings.management_url
            else None
        )

    @property
    def smtp_url(self) -> str:
        """The value for `WORKSHED_SMTP_URL`."""
        return self.mail.url if self.mail else self.settings.smtp_url.get_secret_value()

    @property
    def maildir(self) -> Path | None:
        """The folder where mails arrive, if that is on this machine."""
        if self.mail:
            return self.mail.maildir
        scheme, _, path = self.smtp_url.partition(":")
        return Path(path) if scheme == "maildir" else None

    @property
    def storage_url(self) -> str:
        """The value for `WORKSHED_STORAGE_URL`."""
        if "storage_url" in self.settings.given:
            return self.settings.storage_url.get_secret_value()
        return f"file:{self.state.folder / 'storage'}"

    @property
    def secret_key(self) -> str:
        """The value for `WORKSHED_SECRET_KEY`; it stays the same for a folder that is kept."""
        if key := self.settings.secret_key.get_secret_value():
            return key
        if SECRET_KEY not in self.state.read_notes():
            self.state.write_notes(**{SECRET_KEY: secrets.token_urlsafe(32)})
        return self.state.read_notes()[SECRET_KEY]

    def environment(self) -> dict[str, str]:
        """Return the `WORKSHED_…` variables with which a process finds these servers.

        They include a folder for contents and a secret key, which a process also needs.
        """
        urls = {
            "database_url": (self.postgres, self.database_url),
            "broker_url": (self.rabbitmq, self.broker_url),
            "management_url": (self.rabbitmq, self.management_url),
            "smtp_url": (self.mail, self.smtp_url),
        }
        found = {
            name: url
            for name, (server, url) in urls.items()
            if url and (server or name in self.settings.given)
        }
        found |= {"storage_url": self.storage_url, "secret_key": self.secret_key}
        return {f"{PREFIX}{name.upper()}": value for name, value in found.items()}

    def named_servers(self) -> list[str]:
        """Return the variables that name a server in place of a private one."""
        return [
            f"{PREFIX}{setting.upper()}"
            for kind, setting in SETTINGS.items()
            if kind in self.kinds
            and setting in self.settings.given
            and not (kind == "rabbitmq" and self.broker_url == WITHOUT_RABBITMQ_URL)
        ]

    def check(self) -> None:
        """Raise `ServerError` with the end of its log if a server has stopped by itself."""
        for server in (self.postgres, self.rabbitmq):
            if server:
                server.check()

    def __enter__(self) -> Self:
        """Start the missing servers, all at once."""
        with ExitStack() as stack:
            self.state = stack.enter_context(self._state_context)
            self._start(stack, self.state)
            self._exit_stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the started servers."""
        self._exit_stack.close()

    def _start(self, stack: ExitStack, state: StateFolder) -> None:
        if self._is_needed("rabbitmq"):
            self.rabbitmq = self._create_rabbitmq(state, install.ensure_installed(self.report))
            stack.callback(self.rabbitmq.stop)
            self.rabbitmq.launch()  # takes 3 to 4 s, everything else less than one
        if self._is_needed("postgres"):
            self.postgres = PostgreSQLServer(state)
            stack.callback(self.postgres.stop)
            self.postgres.start()
        if self._is_needed("mail"):
            self.mail = stack.enter_context(self._create_mail_catcher(state))
            state.write_notes(**{MAIL_PORT: str(self.mail.port)})
        if self.rabbitmq:
            self.rabbitmq.wait()

    def _create_rabbitmq(self, state: StateFolder, scripts: Path) -> RabbitMQServer | Cluster:
        if self.nodes == 1:
            return RabbitMQServer(state, scripts, config=self.broker_config)
        return Cluster(state, scripts, config=self.broker_config, talk=self.report)

    def _is_needed(self, kind: ServerKind) -> bool:
        return kind in self.kinds and SETTINGS[kind] not in self.settings.given

    def _create_mail_catcher(self, state: StateFolder) -> "MailCatcher":
        try:
            from workshed.devserver.mail import MailCatcher  # an extra, needed only here
        except ModuleNotFoundError as err:
            raise NotInstalledError(
                "the mail catcher comes with the extra `dev`, which is not installed: "
                "pip install 'workshed[dev]', or set WORKSHED_SMTP_URL"
            ) from err
        port = int(state.read_notes().get(MAIL_PORT, "0"))
        return MailCatcher(
            state.folder / MAIL_FOLDER,
            port=port if port and is_free(port) else None,
            busy_once=self.busy_once,
        )
