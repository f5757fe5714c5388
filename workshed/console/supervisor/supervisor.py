"""Keep the children of `workshed worker` running, independently of each other."""

import contextlib
import logging
import os
import select
import signal
import subprocess
import time
from datetime import timedelta

from workshed.console.supervisor.child import ChildRole, ManagedProcess, describe_exit
from workshed.console.supervisor.code_watch import CodeWatch
from workshed.console.supervisor.preloaded import PreloadLostError
from workshed.console.supervisor.rolling_restart import RollingRestart
from workshed.console.supervisor.vitals import WorkerLimits, WorkerVitals
from workshed.duration import format_rounded
from workshed.errors import EXIT_BROKER, EXIT_DATABASE, EXIT_HARD_DEADLINE, EXIT_WATCHDOG
from workshed.settings import update_environment

logger = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_KILLED = 72

# Beyond the grace period of jobs: time to settle interrupted jobs, and to exit.
RELAY_AFTER_S = 5
KILL_AFTER_S = 10
# At the first boot, these exit codes, like signals, may be temporary; any other would recur.
TEMPORARY_CODES = frozenset({0, EXIT_BROKER, EXIT_DATABASE, EXIT_WATCHDOG, EXIT_HARD_DEADLINE})
READ_BYTES = 4096
MOST_FILES = 3
"""Most changed files that a log line names."""
POLL_S = 1.0
"""Interval of checks whether a successor takes too long to boot, and whether a worker can start."""


class Supervisor:
    """Starts one worker, then the rest once that is up, and restarts any that ends by itself.

    A process that forks the workers is started before them. So a configuration error is logged
    once. The supervisor runs in one thread and waits in one place: for signals, for children that
    come up, and for the next due time.
    """

    def __init__(
        self,
        children: list[ManagedProcess],
        grace: timedelta,
        vitals: WorkerVitals | None = None,
        *,
        code: CodeWatch | None = None,
    ) -> None:
        """Start nothing yet; the children are in the order of their start.

        `code`: replace all children when it changes.
        """
        self._children = children
        self._worker_count = len(self._workers)
        self._grace_s = grace.total_seconds()
        self._vitals = vitals or WorkerVitals(None, WorkerLimits(None, None))
        self._code = code
        self._on_terminal = os.isatty(0)
        self._has_booted = False
        self._is_ready_logged = False
        self._rolling_restart = RollingRestart(children, self._grace_s + KILL_AFTER_S)
        self._shutdown_started_at: float | None = None
        self._exit_code = 0

    def run(self) -> int:
        """Run until asked to stop, or until nothing can be started; return the exit code."""
        self._children[0].due = time.monotonic()
        signals, ready, ready_fd = listen_for_signals()
        while self._shutdown_started_at is None or any(child.pid for child in self._children):
            self._start_due(ready_fd)
            readable, _, _ = select.select([signals, ready], [], [], self._idle_s())
            if signals in readable:
                for number in os.read(signals, READ_BYTES):
                    self._handle_signal(number)
            if ready in readable:
                for pid in os.read(ready, READ_BYTES).split():
                    self._on_ready(int(pid))
            self._reap()
            self._stop_next()
            self._kill_overdue()
            self._log_ready()
            self._check_vitals()
            self._check_code()
        return self._exit_code

    @property
    def _workers(self) -> list[ManagedProcess]:
        return [child for child in self._children if child.role is ChildRole.WORKER]

    @property
    def _sidecars(self) -> list[ManagedProcess]:
        return [child for child in self._children if child.role is ChildRole.SIDECAR]

    def _start_due(self, ready_fd: int) -> None:
        for child in list(self._children):
            if child.due is not None and child.due <= time.monotonic():
                if child.role is ChildRole.WORKER and not self._can_fork():
                    child.due = time.monotonic() + POLL_S
                    continue
                try:
                    child.start(ready_fd)
                except PreloadLostError:
                    child.due = time.monotonic() + POLL_S
                except (OSError, subprocess.SubprocessError) as err:
                    child.failed_boots += 1
                    if self._rolling_restart.on_start_failed(child, err):
                        continue
                    pause = child.start_later()
                    logger.error("%s cannot start, retrying in %g s: %s", child.name, pause, err)  # noqa: TRY400 -- the message of the system is enough

    def _can_fork(self) -> bool:
        """Return whether the process that forks workers is up, if they are forked at all."""
        preloaded = [child for child in self._children if child.role is ChildRole.PRELOAD]
        return not preloaded or any(child.is_up for child in preloaded)

    def _idle_s(self) -> float | None:
        """Return how long to wait for events, in seconds; `None` without a limit."""
        times = [at for child in self._children for at in (child.due, child.kill_at)]
        times.append(self._vitals.due)
        if self._code is not None and self._shutdown_started_at is None:
            times.append(self._code.due)
        if not self._rolling_restart.is_idle:
            times.append(time.monotonic() + POLL_S)
        if self._shutdown_started_at is not None and any(
            c.pid and not c.is_stopping for c in self._sidecars
        ):
            times.append(self._shutdown_started_at + self._grace_s + RELAY_AFTER_S)
        known = [at for at in times if at is not None and at != float("inf")]
        return max(0.0, min(known) - time.monotonic()) if known else None

    def _handle_signal(self, number: int) -> None:
        """Act on a signal. SIGCHLD only wakes the loop, which reaps children on each turn."""
        if number == signal.SIGCHLD or self._shutdown_started_at is not None:
            return  # a second stop signal changes nothing
        if number in (signal.SIGTSTP, signal.SIGCONT):
            self._vitals.set_quiet(enabled=number == signal.SIGTSTP)
        elif number == signal.SIGHUP and not self._on_terminal:
            logger.info("rolling restart: replacing one child after the other")
            self._rolling_restart.replace_all()
        else:
            self._begin_shutdown()

    def _on_ready(self, pid: int) -> None:
        for child in self._children:
            if child.pid == pid:
                child.mark_ready()
                self._is_ready_logged = False
                self._rolling_restart.on_ready(child)
                self._start_next(child)

    def _log_ready(self) -> None:
        """Log once that all children are up, and that no replacement is in progress."""
        is_idle = self._rolling_restart.is_idle and self._shutdown_started_at is None
        if not self._is_ready_logged and is_idle and self._are_all_up():
            self._is_ready_logged = True
            logger.info("%s up", self._describe_processes())

    def _check_vitals(self) -> None:
        """Report the status once a second, and replace workers that have reached a limit."""
        if self._vitals.due is not None and self._vitals.due <= time.monotonic():
            leaving = self._shutdown_started_at is not None
            self._vitals.report(self._children, self._worker_count, leaving=leaving)
            if not leaving:
                for child, reason in self._vitals.workers_over_limit(self._children):
                    self._rolling_restart.replace(child, reason)

    def _check_code(self) -> None:
        """Replace all children once a change of the code is complete."""
        if self._code is None or self._shutdown_started_at is not None:
            return
        if self._code.due <= time.monotonic() and (changed := self._code.poll()):
            names = ", ".join(changed[:MOST_FILES]) + (", …" if len(changed) > MOST_FILES else "")
            logger.info("%s changed: replacing one child after the other", names)
            self._rolling_restart.replace_all()
            if not self._has_booted:  # the first worker has failed, or is about to
                self._children[0].start_soon()

    def _start_next(self, child: ManagedProcess) -> None:
        """Start what waits for this child, which is up: the first worker, or all others."""
        if self._has_booted or self._shutdown_started_at is not None:
            return
        if child.role is ChildRole.PRELOAD:
            self._workers[0].start_soon()
        elif child.role is ChildRole.WORKER:
            self._has_booted = True
            for other in self._children:
                other.start_soon()

    def _reap(self) -> None:
        """Reap all ended children, including those that process 1 of a container inherits."""
        with contextlib.suppress(ChildProcessError):  # no children
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                for child in list(self._children):
                    if child.pid == pid:
                        self._on_exit(child, os.waitstatus_to_exitcode(status))

    def _on_exit(self, child: ManagedProcess, code: int) -> None:
        name, was_stopping, how = str(child), child.is_stopping, describe_exit(code)
        was_up = child.is_up
        child.mark_ended(code)
        if self._shutdown_started_at is not None:
            if code not in (0, -signal.SIGTERM):  # SIGTERM ends a child that has just started
                logger.error("%s %s", name, how)
                self._exit_code = self._exit_code or EXIT_FAILED
        elif self._rolling_restart.on_exit(child, code, name, was_stopped=was_stopping):
            return
        elif was_stopping:
            child.due = time.monotonic()
        elif not was_up and self._would_recur(child, code):
            if self._code is not None:
                self._wait_for_code(child, name, how)
                return
            logger.critical(
                "%s %s; a restart would fail in the same way, so no process is started again",
                name,
                how,
            )
            self._exit_code = code
            self._begin_shutdown()
        else:
            pause = format_rounded(timedelta(seconds=child.start_later()))
            logger.error("%s %s; restarting it in %s", name, how, pause)

    def _would_recur(self, child: ManagedProcess, code: int) -> bool:
        """Return whether a restart would end the same way, as with a wrong setting at the start."""
        is_permanent = code > 0 and code not in TEMPORARY_CODES
        return is_permanent and not self._has_booted and child.role is not ChildRole.SIDECAR

    def _wait_for_code(self, child: ManagedProcess, name: str, how: str) -> None:
        """Start the first worker again with the next change, or now if the code has changed."""
        if self._rolling_restart.is_idle:
            logger.error("%s %s; it is started again when the code changes", name, how)
            return
        logger.error("%s %s; the code has changed meanwhile: starting it again", name, how)
        self._rolling_restart.cancel()
        child.start_soon()

    def _begin_shutdown(self) -> None:
        """Begin the shutdown: stop all workers."""
        self._shutdown_started_at = time.monotonic()
        self._rolling_restart.cancel()
        for child in self._children:
            if child in self._sidecars:
                child.due = None
            else:
                child.stop(self._shutdown_started_at + self._grace_s + KILL_AFTER_S)
        self._vitals.report(self._children, self._worker_count, leaving=True)

    def _stop_next(self) -> None:
        """During a shutdown, stop the relay last; otherwise, replace the next child."""
        if self._shutdown_started_at is not None:
            over = self._shutdown_started_at + self._grace_s
            late = time.monotonic() >= over + RELAY_AFTER_S
            if late or not any(worker.pid for worker in self._workers):
                for child in self._sidecars:
                    child.stop(over + KILL_AFTER_S)
        else:
            self._rolling_restart.step()

    def _kill_overdue(self) -> None:
        for child in self._children:
            if child.kill_at is not None and child.kill_at <= time.monotonic():
                logger.error("%s did not stop in time and is killed", child)
                child.kill()
                if self._shutdown_started_at is not None:
                    self._exit_code = self._exit_code or EXIT_KILLED

    def _are_all_up(self) -> bool:
        return all(child.is_up for child in self._children)

    def _describe_processes(self) -> str:
        crew = "1 worker" if self._worker_count == 1 else f"{self._worker_count} workers"
        if any(child.name == "relay" for child in self._sidecars):
            return f"{crew} and a relay are"
        return f"{crew} {'is' if self._worker_count == 1 else 'are'}"


def listen_for_signals() -> tuple[int, int, int]:
    """Return three file descriptors: to read signals, to read who is up, and for children to write.

    The last is passed on in WORKSHED_READY_FD.
    """
    signals, signals_fd = os.pipe()
    ready, ready_fd = os.pipe()
    os.set_blocking(signals_fd, False)
    signal.set_wakeup_fd(signals_fd, warn_on_full_buffer=False)
    heard = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD]
    if not os.isatty(0):  # on a terminal, Ctrl-Z belongs to the shell
        heard += [signal.SIGTSTP, signal.SIGCONT]
    for number in heard:
        if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda *_: None)
    update_environment({"WORKSHED_RELAY_FORK": "false", "WORKSHED_READY_FD": str(ready_fd)})
    return signals, ready, ready_fd
