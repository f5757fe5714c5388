"""A server process: started, waited for and stopped; it ends with its parent."""

import contextlib
import os
import signal
import subprocess
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from workshed.devserver.account import server_account
from workshed.devserver.errors import ServerError
from workshed.devserver.ports import find_free_ports, is_free, reserve_port
from workshed.devserver.state import StateFolder

READY_S = 120
STOP_S = 30
POLL_S = 0.02
PORT_TRIES = 5
PORT_WAIT_S = 10.0
LOG_LINES = 25


class DevServer(ABC):
    """One private server with its data, log and ports in a state folder.

    `launch` and `wait` are the two halves of `start`, so that several servers can start at once.
    Start it from a thread that lives as long as the server should: see
    `ServerAccount.wrap_command`.
    """

    name: ClassVar[str]
    death_signal: ClassVar[signal.Signals]
    """The signal that shuts it down cleanly and immediately."""
    port_names: ClassVar[Sequence[str]]

    def __init__(self, state: StateFolder) -> None:
        """Reuse the ports of the last run; choose others if they are in use."""
        self.state = state
        self.log = state.log_path(self.name.lower())
        self.ports = self._known_ports() or self._free_ports()
        self.process: subprocess.Popen[bytes] | None = None
        self._is_announced = False
        self._reserved = contextlib.ExitStack()
        weakref.finalize(self, self._reserved.close)
        self._log_from = 0

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the program's complete environment."""

    @abstractmethod
    def prepare(self) -> None:
        """Write what the program needs before it starts."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether it serves; another program on its port does not count."""

    @property
    def pid(self) -> int | None:
        """The process id of the server, if it runs."""
        return None if self.process is None or has_ended(self.process) else self.process.pid

    def start(self) -> None:
        """Start it and return when it serves."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it, for the first time or after it has ended."""
        if self.process is not None:
            self.process.wait()  # reap the ended process
        self._reserve_ports()
        self.prepare()
        with self.log.open("ab") as log:
            self._log_from = log.tell()
            self.process = subprocess.Popen(
                server_account().wrap_command(*self.command(), death=self.death_signal),
                cwd="/",
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # we handle Ctrl-C at the terminal
                pass_fds=[self.state.lock],
            )

    def wait(self) -> None:
        """Return when it serves.

        Raises `ServerError` with the end of its log as soon as it has stopped, or after 120 s. If a
        port was taken since it was chosen, other ports are tried. Ports that were announced before
        stay. If one is in use, this waits for a short time, because what took it while this server
        was down may end soon.
        """
        deadline = time.monotonic() + READY_S
        tries = PORT_TRIES
        while time.monotonic() < deadline:
            if self.pid is None:
                tries -= 1
                if not tries or not self._is_port_taken():
                    self.check()
                if not self._is_announced:
                    self.ports = self._free_ports()
                elif not self._wait_for_ports():
                    self.check()
                self.launch()
            if self.is_ready():
                self._is_announced = True
                self.state.write_notes(
                    **{_port_note(name): str(port) for name, port in self.ports.items()}
                )
                return
            time.sleep(POLL_S)
        raise ServerError(f"{self.name} is not ready after {READY_S} s.\n{self.log_tail()}")

    def check(self) -> None:
        """Raise `ServerError` if it is not running."""
        if self.pid is None:
            code = self.process.wait() if self.process else "none"
            raise ServerError(f"{self.name} stopped (exit code {code}).\n{self.log_tail()}")

    def stop(self) -> None:
        """Shut it down; kill it if that takes more than 30 s."""
        self.end_with_signal(self.death_signal)

    def kill(self) -> None:
        """Stop it as a power cut would."""
        self.end_with_signal(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start it; ports and data stay."""
        self.stop()
        self.start()

    def end_with_signal(self, number: signal.Signals) -> None:
        """Send a signal and return when the process has ended."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log_tail(self) -> str:
        """Return the last lines that it has written since it was started."""
        with contextlib.suppress(FileNotFoundError), self.log.open(errors="replace") as log:
            log.seek(self._log_from)
            return f"The end of {self.log}:\n" + "".join(deque(log, LOG_LINES)).rstrip()
        return f"It wrote nothing to {self.log}."

    def _is_port_taken(self) -> bool:
        said = self.log_tail().lower()
        are_free = all(map(is_free, self.ports.values()))
        return not are_free or "eaddrinuse" in said or "address already in use" in said

    def _wait_for_ports(self) -> bool:
        end = time.monotonic() + PORT_WAIT_S
        while not all(map(is_free, self.ports.values())):
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S)
        return True

    def _reserve_ports(self) -> None:
        # Otherwise another process could choose the port of a server that is down for a moment.
        self._reserved.close()
        for port in self.ports.values():
            self._reserved.enter_context(reserve_port(port))

    def _free_ports(self) -> dict[str, int]:
        return dict(zip(self.port_names, find_free_ports(len(self.port_names)), strict=True))

    def _known_ports(self) -> dict[str, int] | None:
        notes = self.state.read_notes()
        with contextlib.suppress(KeyError):
            ports = {name: int(notes[_port_note(name)]) for name in self.port_names}
            return ports if all(map(is_free, ports.values())) else None
        return None


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a process has ended, without calling `Popen.poll`.

    `poll` takes a lock. A Ctrl-C between two of its instructions leaves the lock taken, and
    `Popen.wait` then never returns.
    """
    if process.returncode is not None:
        return True
    try:
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, look) is not None
    except ChildProcessError:
        return True


def _port_note(name: str) -> str:
    return f"{name}_port"


def write_secret_file(path: Path, text: str) -> Path:
    """Write a file that only the servers' user may read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return server_account().make_owner(path)
