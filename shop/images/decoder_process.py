"""The worker's side of a process that decodes images."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from shop.images.errors import DecoderEndedError
from shop.pixels.request import PACKET_BYTES
from workshed.interrupts import thread_gate

# An interrupt takes effect only when the waiting thread's system call returns.
_SLICE_S = 0.2
# How long a process may take to end after its socket has closed.
_EXIT_WAIT_S = 10.0


class DecoderProcess:
    """A process that answers one request at a time.

    It is a new interpreter and not a fork, because the worker has threads, and secrets in its
    memory. From the worker's environment it receives only the module path.
    """

    def __init__(self, module: str, memory_bytes: int) -> None:
        """Start it; `memory_bytes` limits its whole address space."""
        self.image_count = 0
        """How many images it was given so far."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_SLICE_S)
        words = [module, str(theirs.fileno()), str(memory_bytes)]
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self._socket.close)
            self._process = subprocess.Popen(  # noqa: S603 -- every word is ours
                [sys.executable, "-P", "-m", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libraries write there about each broken file
                env={"PYTHONPATH": os.pathsep.join(str(Path(at).absolute()) for at in sys.path)},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C must reach only the worker, which waits for it
            )
            undo.pop_all()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def exchange(self, request: bytes, files: list[int], within_s: float) -> dict[str, Any]:
        """Return its answer or, if it ends without one, `{"ended": code}`.

        An interrupt may be raised while waiting. After any exception, do not use the child again:
        its late answer would be taken for the answer to the next request.
        """
        self.image_count += 1
        try:
            socket.send_fds(self._socket, [request], files)
            with thread_gate().allow():
                packet = self._receive(within_s)
        except ConnectionError:
            packet = b""
        if packet:
            return dict(json.loads(packet))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_WAIT_S)
        return {"ended": self.kill()}

    def _receive(self, within_s: float) -> bytes:
        ends_at = time.monotonic() + within_s
        while time.monotonic() < ends_at:
            with contextlib.suppress(TimeoutError):
                return self._socket.recv(PACKET_BYTES)
        raise DecoderEndedError(f"was killed because it had not answered after {within_s:g} s")

    def kill(self) -> int:
        """Kill it; return its exit code, or the negative number of a signal."""
        self._socket.close()
        self._process.kill()  # it has nothing to clean up
        return self._process.wait()

    def detach(self) -> None:
        """Leave the child to the parent, after this process was forked.

        This closes the copy of the socket; otherwise the child would outlive the parent.
        """
        self._socket.close()
        self._process.returncode = 0  # otherwise Python warns that the process was not waited for
