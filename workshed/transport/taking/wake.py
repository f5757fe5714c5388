"""Datagrams by which a sender wakes the workers of its host, which then need not wait for a poll.

They only save time: a worker that misses one finds the job when it polls.
"""

import contextlib
import hashlib
import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from workshed import db
from workshed.settings import settings
from workshed.threads.background import BackgroundThread

READ_BYTES = 16
WAIT_S = 1.0
"""How long the thread of a worker waits before it looks whether it is to end."""
RETRY_S = (0.1, 1.0)
LISTED_S = 1.0
"""How long a sender uses a list of the workers' sockets."""


class WakeListener:
    """The socket of a worker process, and the thread that reads it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Open nothing yet; `wake` is called once there may be a job."""
        self._wake = wake
        self._socket: socket.socket | None = None
        self._path: Path | None = None
        self._thread = BackgroundThread("wake", self._receive, 0.0, retry_s=RETRY_S)

    def start(self) -> None:
        """Listen, if this system has such sockets and the folder is this user's own."""
        folder = find_folder()
        if self._socket is not None or folder is None:
            return
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.settimeout(WAIT_S)
        path = folder / f"{os.getpid()}-{uuid4().hex[:8]}"
        try:
            opened.bind(str(path))
        except OSError:  # such as a path that is too long for a socket
            opened.close()
            return
        self._socket, self._path = opened, path
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._thread.stop(2 * WAIT_S)
        if self._socket is not None and self._path is not None:
            self._socket.close()
            self._path.unlink(missing_ok=True)
            self._socket = None

    def _receive(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(TimeoutError):
                self._socket.recv(READ_BYTES)
                self._wake()


class WakeSender:
    """Sends a datagram to each worker of this host that uses the same database."""

    def __init__(self) -> None:
        """Open the socket with the first datagram."""
        self._sockets: dict[int, socket.socket] = {}
        """By process: a fork opens one of its own."""
        self._paths: list[str] = []
        self._listed_at = 0.0

    def send(self) -> None:
        """Wake the workers; never waits and never fails."""
        with contextlib.suppress(OSError):
            sender = self._open_socket()
            now = time.monotonic()
            if now - self._listed_at > LISTED_S:
                folder = find_folder()
                self._paths = [] if folder is None else [str(one) for one in folder.iterdir()]
                self._listed_at = now
            for path in self._paths:
                self._send_to(sender, path)

    def close(self) -> None:
        """Close the socket; another datagram opens it again."""
        while self._sockets:
            self._sockets.popitem()[1].close()

    def _open_socket(self) -> socket.socket:
        """Return the socket of this process; threads may open it at the same time."""
        pid = os.getpid()
        if (found := self._sockets.get(pid)) is None:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            opened.settimeout(0.0)
            found = self._sockets.setdefault(pid, opened)
            if found is not opened:
                opened.close()
        return found

    def _send_to(self, sender: socket.socket, path: str) -> None:
        try:
            sender.sendto(b"", path)
        except ConnectionRefusedError:  # its process was killed
            Path(path).unlink(missing_ok=True)
        except OSError:  # it has ended, or has more datagrams than it can read
            return


def find_folder() -> Path | None:
    """Return the folder with the sockets of this user's workers; `None` if there cannot be one."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    address = db.describe_address(settings().database_url.get_secret_value())
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir(), f"workshed-{os.getuid()}-{digest}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return folder if is_ours and not found.st_mode & 0o077 else None
