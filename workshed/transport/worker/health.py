"""Report this worker's status without asking any server, and learn whether it should be quiet."""

import threading
from pathlib import Path

from workshed.health import status
from workshed.health.readiness import say_up
from workshed.health.status import ProcessStatus, StatusFile
from workshed.parent import parent_pid
from workshed.transport.consuming.consumer import ConsumerConnection
from workshed.transport.consuming.execution import JobExecutor
from workshed.transport.worker.control import ControlPoller
from workshed.transport.worker.heartbeat import memory_bytes
from workshed.transport.worker.pausing import PauseState

BOOT_LOOK_S = 0.05
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
        self._inbox = inbox
        self._execution = execution
        self._pausing = pausing
        self._watch = watch
        self._jobs = 0
        self._memory_bytes = memory_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def hear(self) -> None:
        """Become quiet or resume, as the supervisor wants."""
        if self._folder is not None:
            self._pausing.be_quiet(RESUME, wanted=status.is_quiet(self._folder))
            if self._pausing.is_quiet:
                self._pausing.give_back()

    def start(self, queues: set[str]) -> None:
        """Start; this process is up once RabbitMQ has answered for each of these queues."""
        self._queues = queues
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._over.set()

    def _run(self) -> None:
        while not self._inbox.consumes(self._queues):
            if self._over.wait(BOOT_LOOK_S):
                return
        telling = None if self._folder is None else StatusFile(self._folder)
        up = False
        while True:
            self.hear()
            if telling is not None:
                telling(self._pulse())
            if not up:
                up = True
                say_up(parent_pid())
            if self._over.wait(status.EVERY_S):
                return

    def _pulse(self) -> ProcessStatus:
        found = [self._inbox.trouble, self._watch.trouble]
        found += ["quiet"] if self._pausing.is_quiet else []
        jobs = self._execution.work.ended
        if jobs != self._jobs:  # memory of a running job is no reason to replace its worker
            self._jobs, self._memory_bytes = jobs, memory_bytes()
        return ProcessStatus(
            "worker",
            troubles=[one for one in found if one is not None],
            leaving=self._inbox.stopping.is_set(),
            jobs=jobs,
            memory_bytes=self._memory_bytes,
        )
