"""Fork workers from a process that has imported the actors (`workshed worker --preload`).

They share its memory for as long as nobody writes to it.
"""

import contextlib
import errno
import gc
import os
import socket
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

from workshed.errors import SettingsError
from workshed.parent import die_with_parent

FILE_DESCRIPTORS = Path("/proc/self/fd")
THREADS = Path("/proc/self/task")
REQUEST_BYTES = 16
INTERNET = (socket.AF_INET, socket.AF_INET6)


class Preload:
    """The process that forks workers; create it before the actors are imported."""

    def __init__(self, control: socket.socket, supervisor: int) -> None:
        """Take the socket on which the supervisor asks for workers, and the supervisor's pid.

        The garbage collector is off from now on: workers would write into the gaps that it leaves.
        """
        self._control = control
        self._supervisor = supervisor
        self._sockets_before = set(_open_sockets())
        gc.disable()

    def check(self) -> None:
        """Raise `SettingsError` if the import left a thread or a socket.

        A thread does not exist in a forked process, and a lock that it held is never released. On a
        socket, the bytes of several workers would mix.
        """
        left = [f"a thread ({name})" for name in _other_threads()]
        left += [
            f"a socket ({_describe_socket(fd)})"
            for fd in sorted(set(_open_sockets()) - self._sockets_before)
        ]
        if left:
            raise SettingsError(
                f"--preload forks workers after your modules are imported, and importing them left "
                f"{', '.join(left)}, which cannot be shared: start or open it when it is first "
                "used or in the hook `after_worker_boot` of a middleware, or run without --preload"
            )

    def serve(self) -> bool:
        """Fork workers on request: returns `True` in each, `False` once the supervisor is gone."""
        gc.collect()
        gc.freeze()
        while self._control.recv(REQUEST_BYTES):
            sys.stdout.flush()
            sys.stderr.flush()
            try:
                if self._fork():
                    return True
            except OSError as err:
                self._control.send(f"cannot fork a worker: {err.strerror}".encode())
        return False

    def _fork(self) -> bool:
        """Fork a worker whose parent is the supervisor; return `True` in it.

        The process between the two ends at once, which makes the worker an orphan, and the
        supervisor adopts orphans. So it can wait for the worker, and learns its exit code.
        """
        wait_fd, release_fd = os.pipe()
        with os.fdopen(wait_fd, "rb") as wait, os.fdopen(release_fd, "wb") as release:
            middle = os.fork()
            if middle == 0:
                if _fork_or_exit() != 0:
                    os._exit(0)
                release.close()
                wait.read()  # returns once this process is an orphan
                self._become_worker()
                return True
            status = 0
            with contextlib.suppress(ChildProcessError):  # the application ignores SIGCHLD
                _, status = os.waitpid(middle, 0)
        if code := os.waitstatus_to_exitcode(status):
            raise OSError(code, os.strerror(code))
        return False

    def _become_worker(self) -> None:
        """Report the pid, in a session of its own, like a worker that was started as a command."""
        die_with_parent(self._supervisor)
        os.setsid()
        try:
            self._control.send(str(os.getpid()).encode())
        except OSError:  # the supervisor has given up waiting
            os._exit(0)
        self._control.close()
        gc.enable()


def _fork_or_exit() -> int:
    """Fork; if that fails, exit with the number of the error."""
    try:
        return os.fork()
    except OSError as err:
        os._exit(err.errno or errno.EAGAIN)


def _other_threads() -> Iterator[str]:
    """Yield the names of all threads but this one, those of C libraries too."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    for entry in THREADS.iterdir():
        if (number := int(entry.name)) != threading.get_native_id():
            with contextlib.suppress(FileNotFoundError):  # it has ended
                yield names.get(number) or (entry / "comm").read_text().strip()


def _open_sockets() -> Iterator[int]:
    """Yield the file descriptors of this process's sockets."""
    for entry in FILE_DESCRIPTORS.iterdir():
        try:
            target = entry.readlink()
        except FileNotFoundError:  # the folder itself was one of them
            continue
        if target.name.startswith("socket:"):
            yield int(entry.name)


def _describe_socket(fd: int) -> str:
    """Return what a socket is connected to, or listens on."""
    with socket.socket(fileno=os.dup(fd)) as found:
        try:
            peer: object = found.getpeername()
            word = "to"
        except OSError:
            peer, word = found.getsockname(), "at"
        if found.family in INTERNET and isinstance(peer, Collection):
            host, port, *_ = peer
            return f"{word} {host}:{port}"
        return f"{word} {peer}" if peer else "to this process"
