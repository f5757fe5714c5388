"""Report this worker's status without asking any server, and learn whether it should be quiet."""

import threading
from pathlib import Path

from workshed.health import status
from workshed.health.readiness import notify_ready
from workshed.health.status import ProcessStatus, StatusFile
from workshed.transport.consuming.consumer import ConsumerConnection
from workshed.transport.consuming.execution import JobExecutor
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
        inbox: ConsumerConnection,
        execution: JobExecutor,
        pausing: PauseState,
        watch: ControlPoller,
    ) -> None:
        """Prepare the thread; without a folder it only reports when this process is up."""
        self._folder = folder
        self._consumer_connection = inbox
        self._execution = execution
        self._pause_state = pausing
        self._control_poller = watch
        self._finished_count = 0
        self._memory_bytes = read_memory_bytes()
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def read_commands(self) -> None:
        """Become quiet or resume, as the supervisor wants."""
        if self._folder is not None:
            self._pause_state.set_quiet(RESUME, wanted=status.is_quiet(self._folder))
            if self._pause_state.is_quiet:
                self._pause_state.requeue_held()

    def start(self, queues: set[str]) -> None:
        """Start; this process is up once RabbitMQ has answered for each of these queues."""
        self._queues = queues
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stop_event.set()

    def _run(self) -> None:
        while not self._consumer_connection.is_consuming(self._queues):
            if self._stop_event.wait(BOOT_POLL_S):
                return
        telling = None if self._folder is None else StatusFile(self._folder)
        up = False
        while True:
            self.read_commands()
            if telling is not None:
                telling(self._collect_status())
            if not up:
                up = True
                notify_ready()
            if self._stop_event.wait(status.EVERY_S):
                return

    def _collect_status(self) -> ProcessStatus:
        found = [self._consumer_connection.problem, self._control_poller.problem]
        found += ["quiet"] if self._pause_state.is_quiet else []
        jobs = self._execution.work.finished_count
        if (
            jobs != self._finished_count
        ):  # memory of a running job is no reason to replace its worker
            self._finished_count, self._memory_bytes = jobs, read_memory_bytes()
        return ProcessStatus(
            "worker",
            problems=[one for one in found if one is not None],
            is_shutting_down=self._consumer_connection.stopping.is_set(),
            jobs=jobs,
            memory_bytes=self._memory_bytes,
        )
