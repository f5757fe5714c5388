"""Report this worker's status without asking any server, and learn whether it should be quiet."""

from pathlib import Path

from workshed.health import status
from workshed.health.readiness import notify_ready
from workshed.health.status import ProcessStatus, StatusFile
from workshed.threads.background import BackgroundThread
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.consuming.inbox import Inbox
from workshed.transport.worker.control import ControlPoller
from workshed.transport.worker.heartbeat import read_memory_bytes
from workshed.transport.worker.pausing import PauseState

BOOT_POLL_S = 0.05
RESUME = "SIGCONT"


class WorkerStatusReporter:
    """A thread that runs every second, whatever jobs and servers do."""

    def __init__(
        self,
        folder: Path | None,
        inbox: Inbox,
        execution: JobExecutor,
        pausing: PauseState,
        watch: ControlPoller,
    ) -> None:
        """Prepare the thread; without a folder it only reports when this process is up."""
        self._folder = folder
        self._inbox = inbox
        self._execution = execution
        self._pause_state = pausing
        self._control_poller = watch
        self._finished_count = 0
        self._memory_bytes = read_memory_bytes()
        self._is_up = False
        self._file: StatusFile | None = None
        self._thread = BackgroundThread("pulse", self._report, status.EVERY_S)

    def read_commands(self) -> None:
        """Become quiet or resume, as the supervisor wants."""
        if self._folder is not None:
            self._pause_state.set_quiet(RESUME, enabled=status.is_quiet(self._folder))
            if self._pause_state.is_quiet:
                self._pause_state.requeue_held()

    def start(self, queues: set[str]) -> None:
        """Start; this process is up once RabbitMQ has answered for each of these queues."""
        self._queues = queues
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._thread.stop()

    def _report(self) -> float | None:
        if not self._is_up and not self._inbox.is_consuming(self._queues):
            return BOOT_POLL_S
        self.read_commands()
        if self._folder is not None:
            self._file = self._file or StatusFile(self._folder)
            self._file(self.collect_status())
        if not self._is_up:
            self._is_up = True
            notify_ready()
        return None

    def collect_status(self) -> ProcessStatus:
        """Return the status of this worker now."""
        found = [self._inbox.problem, self._control_poller.problem]
        found += ["quiet"] if self._pause_state.is_quiet else []
        jobs = self._execution.work.finished_count
        if (
            jobs != self._finished_count
        ):  # memory of a running job is no reason to replace its worker
            self._finished_count, self._memory_bytes = jobs, read_memory_bytes()
        return ProcessStatus(
            "worker",
            problems=[one for one in found if one is not None],
            is_shutting_down=self._inbox.stopping.is_set(),
            jobs=jobs,
            memory_bytes=self._memory_bytes,
        )
