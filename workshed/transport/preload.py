"""Fork workers from a process that has imported the actors (`workshed worker --preload`).

They share its memory until they write to it.
"""

import contextlib
import errno
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from workshed.errors import SettingsError
from workshed.parent import die_with_parent

FILE_DESCRIPTORS = Path("/proc/self/fd")
THREADS = Path("/proc/self/task")
REQUEST_BYTES = 16
INTERNET = (socket.AF_INET, socket.AF_INET6)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
WORKER_MODULE = "workshed.database.pool"
"""A module that a worker imports when it boots; here it is imported once for all."""
THREAD_END_S = 1.0
POLL_S = 0.01

logger = logging.getLogger(__name__)


class Preload:
    """The process that forks workers; create it before the actors are imported."""

    def __init__(self, control: socket.socket, supervisor: int) -> None:
        """Take the socket on which the supervisor asks for workers, and the supervisor's pid.

        The garbage collector is off from now on: workers would write into the gaps that it leaves.
        """
        control.set_inheritable(False)
        self._control = control
        self._supervisor = supervisor
        self._sockets_before = set(_open_sockets())
        gc.disable()

    def prepare(self, consumption: str) -> None:
        """Check that this process can be forked, and keep what it has loaded from being copied.

        `consumption`: the module of the worker's part of the broker, which is imported here, too.

        Raises `SettingsError` if the import left a thread or a socket. A thread does not exist in a
        forked process, and a lock that it held is never released. On a socket, the bytes of several
        workers would mix.
        """
        for name in (consumption, WORKER_MODULE):
            importlib.import_module(name)
        gc.collect()
        remains = [
            *_list_threads(),
            *(
                f"a socket ({_describe_socket(fd)})"
                for fd in sorted(set(_open_sockets()) - self._sockets_before)
            ),
        ]
        if remains:
            raise SettingsError(
                "--preload forks workers after your modules are imported, and importing them left "
                f"{', '.join(remains)}, which cannot be shared: start or open it when it is first "
                "used or in the hook `before_worker_boot` of a middleware, or run without --preload"
            )
        gc.freeze()

    def serve(self) -> bool:
        """Fork workers on request: returns `True` in each, `False` once the supervisor is gone."""
        for number in STOP_SIGNALS:  # the application may have replaced their handlers
            signal.signal(number, signal.SIG_DFL)
        while self._control.recv(REQUEST_BYTES):
            sys.stdout.flush()
            sys.stderr.flush()
            try:
                is_worker = self._fork()
            except OSError as err:
                self._control.send(f"cannot fork a worker: {err.strerror}".encode())
            else:
                if is_worker:
                    return True
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
        code = os.waitstatus_to_exitcode(status)
        if code < 0:  # it was killed, and may have forked before
            raise SystemExit(f"the process that forks a worker was killed by signal {-code}")
        if code > 0:
            raise OSError(code, os.strerror(code))
        return False

    def _become_worker(self) -> None:
        """Report the pid, in a session of its own, like a worker that was started as a command."""
        try:
            die_with_parent(self._supervisor)
            os.setsid()
            self._control.send(str(os.getpid()).encode())
            self._control.close()
        except OSError as err:  # such as `BrokenPipeError`: the supervisor has given up waiting
            logger.critical("a forked worker ends at once: %s", err)
            os._exit(1)
        gc.enable()


def _fork_or_exit() -> int:
    """Fork; if that fails, exit with the number of the error."""
    try:
        return os.fork()
    except OSError as err:
        os._exit(err.errno or errno.EAGAIN)


def _list_threads() -> list[str]:
    """Return the threads that remain besides this one, those of C libraries too."""
    deadline = time.monotonic() + THREAD_END_S
    if threading.active_count() == 1 and any(_other_threads()):
        # Some C libraries, such as the OpenBLAS of NumPy, end their threads before a fork.
        if (child := os.fork()) == 0:
            os._exit(0)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
    # The system lists a thread for a moment after it was joined.
    while (found := list(_other_threads())) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return [f"a thread ({name})" for name in found]


def _other_threads() -> Iterator[str]:
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    for entry in THREADS.iterdir():
        if (number := int(entry.name)) != threading.get_native_id():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                yield names.get(number) or f"of a C library, {(entry / 'comm').read_text().strip()}"


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
            try:
                peer, word = found.getsockname(), "at"
            except OSError:
                return f"file descriptor {fd}"
        if found.family in INTERNET and isinstance(peer, Collection):
            host, port, *_ = peer
            return f"{word} {host}:{port}"
        return f"{word} {peer}" if peer else "to this process"
