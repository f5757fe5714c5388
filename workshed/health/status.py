"""How each process of one master is: told once a second, in a file of its own.

Who answers a probe reads these files, so that a probe waits for no process and no server.
"""

import json
import logging
import os
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

from workshed.health.shared_folder import is_alive, process_name
from workshed.parent import parent_pid

logger = logging.getLogger(__name__)

EVERY_S = 1.0
ROOM_BYTES = 4096
MANY = 20
"""Troubles that one file has room for."""
QUIET = "quiet"
"""The file that is there while workers are to start nothing more."""
TRIES = 3

Kind = Literal["supervisor", "worker", "relay", "clock"]


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What a process says of itself; `parent` tells which child of a supervisor it is."""

    kind: Kind
    troubles: list[str] = field(default_factory=list)
    """Why it is not ready."""
    stuck: list[str] = field(default_factory=list)
    """Why nothing but a restart will fix it."""
    leaving: bool = False
    """It was told to stop."""
    jobs: int = 0
    """How many it has run."""
    memory_bytes: int | None = None
    """How much of it is in RAM, when a job had last ended."""
    pid: int = field(default_factory=os.getpid)
    parent: int = field(default_factory=parent_pid)
    at: float = field(default_factory=time.monotonic)


class StatusFile:
    """The file of this process, in the folder of its master."""

    def __init__(self, folder: Path) -> None:
        """Make it, with its blocks: a full disk is to stop no pulse.

        Where that cannot be done it is said, and nothing is told.
        """
        self._file = folder / process_name(os.getpid())
        self._fd: int | None = None
        try:
            self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._fd, 0, ROOM_BYTES)
        except OSError as err:
            self._give_up(err)

    def __call__(self, pulse: ProcessStatus) -> None:
        """Tell it; never raise."""
        if self._fd is None:
            return
        text = json.dumps(asdict(pulse) | shorten_problems(pulse)).encode()
        try:
            os.pwrite(self._fd, text.ljust(ROOM_BYTES), 0)
        except OSError as err:
            self._give_up(err)

    def _give_up(self, err: OSError) -> None:
        """Leave no file: one that does not change would be taken for a process that is stuck."""
        logger.warning("probes see nothing of this process: %s", err)
        self._file.unlink(missing_ok=True)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def shorten_problems(pulse: ProcessStatus) -> dict[str, list[str]]:
    """Return as much of its troubles as there is room for."""
    return {
        which: [one[:70] for one in getattr(pulse, which)[:MANY]] for which in ("troubles", "stuck")
    }


def read_statuses(folder: Path) -> list[ProcessStatus]:
    """Return the pulses of all processes that live, by kind; the files of others are deleted."""
    found = []
    for file in folder.glob("*-*"):
        if not is_alive(file.name):
            file.unlink(missing_ok=True)
        elif pulse := _read(file):
            found.append(pulse)
    return sorted(found, key=lambda pulse: (pulse.kind, pulse.pid))


def _read(file: Path) -> ProcessStatus | None:
    """Read a file, once more where it was just being written."""
    for _ in range(TRIES):
        try:
            text = file.read_bytes().strip(b"\0 ")
            # Of processes of another release, as while they are replaced: what both know.
            return ProcessStatus(**{k: v for k, v in json.loads(text).items() if k in KNOWN})
        except OSError:
            return None
        except (ValueError, TypeError):
            if not text:
                return None  # it has told nothing yet
    return None


KNOWN = frozenset(one.name for one in fields(ProcessStatus))


def is_quiet(folder: Path) -> bool:
    """Tell whether workers are to start nothing more."""
    return (folder / QUIET).exists()


def be_quiet(folder: Path, *, wanted: bool) -> bool:
    """Let all workers of a folder start nothing more, those to come included; or let them go on.

    They see it within a second. Returns whether that is new. Raises `OSError`.
    """
    changes = is_quiet(folder) != wanted
    if wanted:
        (folder / QUIET).touch()
    else:
        (folder / QUIET).unlink(missing_ok=True)
    return changes
