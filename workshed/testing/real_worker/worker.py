"""The worker process of a test, with the actors of that test."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from workshed.testing.errors import KitError
from workshed.testing.real_worker import launcher

BOOTSTRAP_MODULE = "workshed.testing.real_worker.bootstrap"
OTHER_DATABASES = "JOBS_OTHER_DATABASES"
"""Variable with names for the worker's guard; not a setting, so it does not begin `WORKSHED_`."""
THREADS = 4
LOG_TAIL_LINES = 20
STOP_S = 10


class WorkerProcess:
    """`dramatiq` with one process, started on first use and killed at the end.

    It ends by itself if this process is killed.
    """

    def __init__(
        self, modules: Sequence[str], folder: Path, other_databases: Sequence[str] = ()
    ) -> None:
        """Import `modules`, log to `folder`, and let the guard allow `other_databases`."""
        self._modules = modules
        self._other_databases = other_databases
        self._folder = folder
        self._log = folder / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it was started and still runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the worker, unless it runs."""
        if self.is_alive:
            return
        self.kill()  # the remaining processes of one that has ended
        words = [sys.executable, "-P", "-m", launcher.__name__, BOOTSTRAP_MODULE, *self._modules]
        numbers = self._folder / "numbers"
        numbers.mkdir(exist_ok=True)
        # The worker finds the same modules. With a metrics folder it does not serve its metrics.
        own = {"PYTHONPATH": os.pathsep.join(sys.path), "PROMETHEUS_MULTIPROC_DIR": str(numbers)}
        own["WORKSHED_PROBES"] = "false"
        own[OTHER_DATABASES] = ",".join(self._other_databases)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- every word is ours
                [*words, "-p", "1", "-t", str(THREADS)],
                env={**os.environ, **own},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise `KitError` if it has ended by itself."""
        if not self.is_alive:
            raise KitError(f"the worker has ended; the end of its log:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def kill(self) -> None:
        """Kill all its processes."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate(timeout=STOP_S)
            self._process = None
