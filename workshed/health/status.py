"""The status of each process that shares a folder, written to its own file once a second.

Probes are answered from these files, so that they wait for no process and no server.
"""

import json
import logging
import os
import time
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Literal

from workshed.health.shared_folder import is_alive, process_name
from workshed.value_class import value_class

logger = logging.getLogger(__name__)

EVERY_S = 1.0
FILE_BYTES = 4096
MOST_PROBLEMS = 20
"""Problems that one file has room for."""
QUIET_FILE = "quiet"
"""The file that exists while workers must start no more jobs."""
READ_ATTEMPTS = 3

ProcessKind = Literal["supervisor", "worker", "relay", "clock"]


@value_class
class ProcessStatus:
    """The status of a process."""

    kind: ProcessKind
    problems: list[str] = field(default_factory=list)
    """Why it is not ready."""
    fatal_problems: list[str] = field(default_factory=list)
    """Problems that only a restart fixes."""
    is_shutting_down: bool = False
    """It is shutting down."""
    jobs: int = 0
    """Jobs it has run."""
    memory_bytes: int | None = None
    """Its resident memory when a job last ended."""
    pid: int = field(default_factory=os.getpid)
    at: float = field(default_factory=time.monotonic)


class StatusFile:
    """The file of this process, in the shared folder."""

    def __init__(self, folder: Path) -> None:
        """Create the file and reserve its blocks, so that a full disk does not stop reports.

        If that fails, it logs a warning, and nothing is reported.
        """
        self._file = folder / process_name(os.getpid())
        self._fd: int | None = None
        try:
            self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._fd, 0, FILE_BYTES)
        except OSError as err:
            self._stop_reporting(err)

    def __call__(self, pulse: ProcessStatus) -> None:
        """Write the status; never raises."""
        if self._fd is None:
            return
        text = json.dumps(asdict(pulse) | shorten_problems(pulse)).encode()
        try:
            os.pwrite(self._fd, text.ljust(FILE_BYTES), 0)
        except OSError as err:
            self._stop_reporting(err)

    def _stop_reporting(self, err: OSError) -> None:
        """Remove the file, because a file that never changes looks like a stuck process."""
        logger.warning("this process cannot report its status to probes: %s", err)
        self._file.unlink(missing_ok=True)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def shorten_problems(pulse: ProcessStatus) -> dict[str, list[str]]:
    """Return its problems, shortened to fit into the file."""
    return {
        which: [one[:70] for one in getattr(pulse, which)[:MOST_PROBLEMS]]
        for which in ("problems", "fatal_problems")
    }


def read_statuses(folder: Path) -> list[ProcessStatus]:
    """Return the status of all living processes, by kind; delete the files of others."""
    found = []
    for file in folder.glob("*-*"):
        if not is_alive(file.name):
            file.unlink(missing_ok=True)
        elif pulse := _read_status(file):
            found.append(pulse)
    return sorted(found, key=lambda pulse: (pulse.kind, pulse.pid))


def _read_status(file: Path) -> ProcessStatus | None:
    """Read a file, again if it is just being written."""
    for _ in range(READ_ATTEMPTS):
        try:
            text = file.read_bytes().strip(b"\0 ")
            # During a rolling restart, another release may write other fields: keep known ones.
            return ProcessStatus(**{k: v for k, v in json.loads(text).items() if k in KNOWN_FIELDS})
        except OSError:
            return None
        except (ValueError, TypeError):
            if not text:
                return None  # it has reported nothing yet
    return None


KNOWN_FIELDS = frozenset(one.name for one in fields(ProcessStatus))


def is_quiet(folder: Path) -> bool:
    """Return whether workers must start no more jobs."""
    return (folder / QUIET_FILE).exists()


def set_quiet(folder: Path, *, enabled: bool) -> bool:
    """Quiet or resume all workers of a folder, including those that start later.

    They see it within a second. Returns whether this is a change. Raises `OSError`.
    """
    changes = is_quiet(folder) != enabled
    if enabled:
        (folder / QUIET_FILE).touch()
    else:
        (folder / QUIET_FILE).unlink(missing_ok=True)
    return changes
