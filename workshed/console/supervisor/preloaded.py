"""Workers forked from a process that has imported the actors (`workshed worker --preload`)."""

import logging
import socket
from typing import Self

from workshed.console.supervisor.child import ChildRole, ManagedProcess, spawn

FORK_TIMEOUT_S = 5.0
"""A preloaded process that does not fork within this time is killed, and started again."""
REPLY_BYTES = 256

logger = logging.getLogger(__name__)


class PreloadLostError(OSError):
    """There is no process to fork from at present; it is started again."""


class ForkSource:
    """Forks workers from the newest preloaded process that is up."""

    def __init__(self) -> None:
        """Have no process yet."""
        self._process: PreloadedProcess | None = None

    def use(self, process: "PreloadedProcess") -> None:
        """Fork from this process, which is up."""
        self._process = process

    def drop(self, process: "PreloadedProcess") -> None:
        """Do not fork from this process any more, because it has ended."""
        if self._process is process:
            self._process = None

    def fork(self, _ready_fd: int) -> int:
        """Fork a worker, and return its pid; raises `OSError` if that fails."""
        if self._process is None:
            raise PreloadLostError("the process that imports the actors is not running")
        return self._process.fork()


class PreloadedProcess(ManagedProcess):
    """A process that imports the actors, and then forks workers for the supervisor."""

    def __init__(self, command: list[str], source: ForkSource) -> None:
        """Start nothing yet; once it is up, it is the process that `source` forks from."""
        super().__init__("preload", self._spawn, ChildRole.PRELOAD)
        self._command = command
        self._source = source
        self._control: socket.socket | None = None

    def successor(self) -> Self:
        """Return a new one, for new code."""
        return type(self)(self._command, self._source)

    def mark_ready(self) -> None:
        """Record that it has imported the actors; new workers are forked from it."""
        super().mark_ready()
        self._source.use(self)

    def mark_ended(self, code: int) -> None:
        """Record that it has ended; its workers go on."""
        super().mark_ended(code)
        self._source.drop(self)
        self._close()

    def fork(self) -> int:
        """Ask for a worker, and return its pid; raises `OSError` if none comes."""
        if self._control is None:
            raise PreloadLostError(f"{self} does not run")
        reply = self._ask(self._control)
        if not reply:
            raise PreloadLostError(f"{self} could not fork a worker")
        if not reply.isdigit():
            raise ChildProcessError(reply.decode())
        return int(reply)

    def _ask(self, control: socket.socket) -> bytes:
        """Return the answer, or nothing if the process has ended, or hangs and was killed."""
        try:
            control.send(b"fork")
            return control.recv(REPLY_BYTES)
        except ConnectionError:
            return b""
        except TimeoutError:
            # A worker that is forked from now on cannot report its pid, and ends.
            control.shutdown(socket.SHUT_RD)
        if reply := control.recv(REPLY_BYTES):
            return reply
        logger.error("%s does not answer, so it is killed and started again", self)
        self._source.drop(self)
        self.kill()
        return b""

    def _spawn(self, ready_fd: int) -> int:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(FORK_TIMEOUT_S)
        with theirs:
            try:
                return spawn(
                    [*self._command, "--preload", str(theirs.fileno())], ready_fd, theirs.fileno()
                )
            except Exception:
                self._close()
                raise

    def _close(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
