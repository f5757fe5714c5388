"""Report the supervisor's status, and read that of its workers, in the folder they share."""

import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path

from workshed.console.supervisor.child import ChildRole, ManagedProcess
from workshed.console.supervisor.rolling_restart import BOOT_TIMEOUT_S
from workshed.health import status
from workshed.health.status import ProcessStatus, StatusFile

logger = logging.getLogger(__name__)

JITTER = 0.2
"""Share of `--max-jobs` by which workers differ, so that a fleet is not replaced all at once."""
MOST_FAILED_BOOTS = 5
"""Failed starts in a row after which the supervisor counts as stuck."""


class WorkerLimits:
    """The jobs a worker may run, and the memory it may use, before it is replaced."""

    def __init__(self, jobs: int | None, memory_bytes: int | None) -> None:
        """Set the limits; `None` is no limit."""
        self._jobs = jobs
        self._memory_bytes = memory_bytes
        self._limits_by_pid: dict[int, tuple[float, int | None]] = {}

    def __bool__(self) -> bool:
        """Return whether there is any limit."""
        return self._jobs is not None or self._memory_bytes is not None

    def exceeded_limit(self, pulse: ProcessStatus) -> str | None:
        """Return which limit a worker exceeds; call it from the worker's start on."""
        jobs, memory_bytes = self._limits_by_pid.get(pulse.pid) or self._set_limits(pulse)
        if pulse.jobs >= jobs:
            return f"has run {pulse.jobs} jobs"
        if memory_bytes is not None and (pulse.memory_bytes or 0) > memory_bytes:
            return f"uses {format_mebibytes(pulse.memory_bytes or 0)} of memory"
        return None

    def forget_except(self, pids: set[int]) -> None:
        """Forget all processes but these."""
        self._limits_by_pid = {
            pid: known for pid, known in self._limits_by_pid.items() if pid in pids
        }

    def _set_limits(self, pulse: ProcessStatus) -> tuple[float, int | None]:
        jobs = float("inf")
        if self._jobs is not None:
            jobs = self._jobs * (1 + random.uniform(0, JITTER))  # noqa: S311 -- no secret
        memory_bytes = self._memory_bytes
        if memory_bytes is not None and (pulse.memory_bytes or 0) > memory_bytes:
            logger.error(
                "--max-memory %s is less than the %s that a worker uses from the start; it will "
                "not be replaced for its memory",
                format_mebibytes(memory_bytes),
                format_mebibytes(pulse.memory_bytes or 0),
            )
            memory_bytes = None
        self._limits_by_pid[pulse.pid] = jobs, memory_bytes
        return jobs, memory_bytes


class WorkerVitals:
    """Reports and reads status once a second, in the thread of the supervisor."""

    def __init__(self, folder: Path | None, limits: WorkerLimits) -> None:
        """Create the status file of this process; without a folder, do nothing."""
        self._folder = folder
        self._limits = limits
        self._status_file = None if folder is None else StatusFile(folder)
        self._due = 0.0

    @property
    def due(self) -> float | None:
        """When to report again, by the monotonic clock."""
        return None if self._folder is None else self._due

    def report(self, children: list[ManagedProcess], workers: int, *, leaving: bool) -> None:
        """Report the state of the children; `workers`: how many workers should be up."""
        self._due = time.monotonic() + status.EVERY_S
        if self._status_file is not None:
            up = sum(child.is_up for child in children if child.role is ChildRole.WORKER)
            missing = [f"{up} of {workers} workers are up"] if up < workers else []
            stuck = [] if leaving else [one for child in children if (one := stuck_reason(child))]
            self._status_file(
                ProcessStatus(
                    "supervisor", problems=missing, fatal_problems=stuck, is_shutting_down=leaving
                )
            )

    def workers_over_limit(
        self, children: list[ManagedProcess]
    ) -> Iterator[tuple[ManagedProcess, str]]:
        """Yield the workers that have exceeded a limit, each with the reason."""
        if self._folder is None or not self._limits:
            return
        of = {child.pid: child for child in children if child.is_up}
        found = status.read_statuses(self._folder)
        self._limits.forget_except({pulse.pid for pulse in found})
        for pulse in found:
            child = of.get(pulse.pid) if pulse.kind == "worker" else None
            if child is not None and (reason := self._limits.exceeded_limit(pulse)):
                yield child, reason

    def set_quiet(self, *, enabled: bool) -> None:
        """Quiet or resume the workers, including those that start later."""
        if self._folder is None:
            logger.error("cannot reach the workers: there is no shared folder")
            return
        try:
            if status.set_quiet(self._folder, enabled=enabled):
                logger.info("%s", QUIET_TEXT if enabled else RESUMED_TEXT)
        except OSError as err:
            logger.error("cannot reach the workers: %s", err)  # noqa: TRY400 -- it says it all


QUIET_TEXT = "quiet: the workers start no more jobs until SIGCONT"
RESUMED_TEXT = "no longer quiet: the workers start jobs again"


def stuck_reason(child: ManagedProcess) -> str | None:
    """Return why a child makes the supervisor stuck, or `None`."""
    if child.failed_boots >= MOST_FAILED_BOOTS:
        return f"{child.name} could not start {child.failed_boots} times in a row"
    if child.boot_duration_s > BOOT_TIMEOUT_S:
        return f"{child.name} has been starting for {child.boot_duration_s:.0f} s"
    return None


def format_mebibytes(number: int) -> str:
    """Format bytes as `512 MiB`."""
    return f"{number / (1 << 20):.0f} MiB"
