"""A private Redis (Valkey, a Debian package) for the job systems that keep their jobs there."""

import contextlib
import shutil
import socket
import subprocess
import time

from tests.processes import popen
from workshed.devserver.ports import find_free_ports

STARTS_S = 60


@contextlib.contextmanager
def running_valkey(folder):
    """Run a server that stores nothing on disk; yields its URL."""
    program = shutil.which("valkey-server")
    assert program, "run `sh .ci/debian`"
    [port] = find_free_ports(1)
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    with (
        (folder / "valkey.log").open("wb") as out,
        popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as process,
    ):
        try:
            wait_until_up(process, port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait(60)


def wait_until_up(process, port):
    """Wait until the server answers."""
    deadline = time.monotonic() + STARTS_S
    while not answers(port):
        assert process.poll() is None, "valkey-server has ended"
        assert time.monotonic() < deadline, "valkey-server does not answer"
        time.sleep(0.05)


def answers(port):
    """Return whether the server at this port answers to a ping."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"
    except OSError:
        return False
