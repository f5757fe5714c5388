"""PgBouncer in front of a PostgreSQL, for the duration of a block."""

import contextlib
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from workshed.devserver.account import server_account
from workshed.devserver.ports import HOST, find_free_ports

PROGRAM = Path("/usr/sbin/pgbouncer")


@contextlib.contextmanager
def pooled(url, eventually, **options):
    """Yield the URL of the same database through a pooler with these options and its own files."""
    assert PROGRAM.exists(), "run `sh .ci/debian`"
    parts = urlsplit(url)
    (port,) = find_free_ports(1)
    with tempfile.TemporaryDirectory(prefix="workshed-pooler-") as name:
        folder = Path(name)
        known = {
            "listen_addr": HOST,
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users",
            "pool_mode": "transaction",
            **options,
        }
        lines = [f"{option} = {value}" for option, value in known.items()]
        target = f"* = host={parts.hostname} port={parts.port}"
        text = "\n".join(["[databases]", target, "[pgbouncer]", *lines, ""])
        (folder / "pgbouncer.ini").write_text(text)
        (folder / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
        for path in (folder, *folder.iterdir()):
            server_account().make_owner(path)
        # It refuses to run as root, as PostgreSQL does.
        words = server_account().wrap_command(
            str(PROGRAM), f"{folder}/pgbouncer.ini", death=signal.SIGTERM
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            eventually(lambda: answers(port) or process.poll())
            assert process.poll() is None, (folder / "log").read_text()
            login = parts.netloc.rpartition("@")[0]
            yield urlunsplit(parts._replace(netloc=f"{login}@{HOST}:{port}"))
        finally:
            process.terminate()
            process.wait(60)


def answers(port):
    """Return whether something listens on the port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
