"""One process that decodes images, seen from the worker that started it."""

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
from shop.pixels.wanted import PACKET_BYTES
from workshed.interrupts import thread_gate

# An interrupt of the waiting thread strikes when its call into the system ends.
_SLICE_S = 0.2
# For a process to be gone once its socket is.
_BURIAL_S = 10.0


class DecoderProcess:
    """A process that answers one request at a time.

    A fresh interpreter, and no fork of this one: the worker has threads, and its memory has
    secrets. Of its environment the child is given the path of modules and nothing else.
    """

    def __init__(self, module: str, memory_bytes: int) -> None:
        """Start it; it may use so much memory for an image and itself."""
        self.images = 0
        """How many it was given so far."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_SLICE_S)
        words = [module, str(theirs.fileno()), str(memory_bytes)]
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self._socket.close)
            self._process = subprocess.Popen(  # noqa: S603 -- every word is ours
                [sys.executable, "-P", "-m", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libraries complain there of each broken file
                env={"PYTHONPATH": os.pathsep.join(str(Path(at).absolute()) for at in sys.path)},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is for the worker, which waits
            )
            undo.pop_all()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it was not seen to end."""
        return self._process.poll() is None

    def ask(self, request: bytes, files: list[int], within_s: float) -> dict[str, Any]:
        """Return its answer or, when it ends without one, `{"ended": code}`.

        An interrupt may strike meanwhile. After any exception the child must not be asked again:
        its late answer would be taken for that to the next question.
        """
        self.images += 1
        try:
            socket.send_fds(self._socket, [request], files)
            with thread_gate().opened():
                packet = self._receive(within_s)
        except ConnectionError:
            packet = b""
        if packet:
            return dict(json.loads(packet))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_BURIAL_S)
        return {"ended": self.end()}

    def _receive(self, within_s: float) -> bytes:
        ends_at = time.monotonic() + within_s
        while time.monotonic() < ends_at:
            with contextlib.suppress(TimeoutError):
                return self._socket.recv(PACKET_BYTES)
        raise DecoderEndedError(f"was killed, for it had not answered after {within_s:g} s")

    def end(self) -> int:
        """Be rid of it; return its exit code, or the negative number of a signal."""
        self._socket.close()
        self._process.kill()  # it has nothing to tidy up
        return self._process.wait()

    def forget(self) -> None:
        """In a fork of this process: leave it to the parent.

        The copy of the socket must go, or the child would outlive its parent.
        """
        self._socket.close()
        self._process.returncode = 0  # or Python would warn that nobody waits for it
