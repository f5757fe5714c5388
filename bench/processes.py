"""The processes of a worker: what they use, and how they are stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""Resolution of the CPU time that Linux reports."""
POLL_S = 0.005
STOP_S = 20.0
QUIET_S = 1.0
IDLE_SHARE = 0.2
"""Share of a core below which a worker is idle.

At rest, with a relay that polls every 20 ms, it uses 0.06, on a slow machine twice that; a boot
uses at least half a core.
"""
ROLES = {"relay.relay": "relay", "worker_process": "worker", "console.supervisor": "supervisor"}
"""What processes are, by a part of their command lines."""
UTIME, STIME, PARENT = 11, 12, 1
"""Positions in `/proc/PID/stat`, counted after the name."""


class BenchError(Exception):
    """A round did not complete, so its figures would be meaningless."""


def run_python(
    words: Sequence[str],
    environment: Mapping[str, str],
    within_s: float,
    codes: Collection[int] = (0,),
) -> str:
    """Run Python with these arguments; return its output. Raises `BenchError` on other codes."""
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    if done.returncode not in codes:
        raise BenchError(f"{' '.join(words)[:200]} said {done.stderr[-2_000:]}")
    return done.stdout.strip()


class ProcessTree:
    """A process with all its children, in a group of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Start it."""
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        """Run it for the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it gracefully; kill it after 20 s."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def pids(self) -> list[int]:
        """Return the process and its descendants."""
        return list_family(self.process.pid)

    def cpu_s(self) -> float:
        """Return the CPU time of all running processes; those that have ended do not count."""
        return family_cpu_s(self.process.pid)

    def memory_bytes(self) -> int:
        """Return the memory of all processes, with shared pages divided among them (PSS)."""
        return sum(_bytes_of(pid, "smaps_rollup", "Pss:") for pid in self.pids())

    def memory_by_role(self) -> dict[str, int]:
        """Return the memory of the processes by what they are (PSS)."""
        found: dict[str, int] = {}
        for pid in self.pids():
            role = _role_of(pid, is_first=pid == self.process.pid)
            found[role] = found.get(role, 0) + _bytes_of(pid, "smaps_rollup", "Pss:")
        return found

    def peak_bytes(self) -> int:
        """Return the peak memory of the largest process, including shared pages (RSS)."""
        return max(_bytes_of(pid, "status", "VmHWM:") for pid in self.pids())

    def wait_until(self, reached: Callable[[], bool], within_s: float) -> None:
        """Wait for a condition; raises `BenchError` on timeout or if the process ends."""
        deadline = time.monotonic() + within_s
        while not reached():
            if self.process.poll() is not None:
                raise BenchError(
                    f"ended with code {self.process.returncode}: {self.read_log_end()}"
                )
            if time.monotonic() > deadline:
                raise BenchError(f"not reached within {within_s:g} s: {self.read_log_end()}")
            time.sleep(POLL_S)

    def wait_until_idle(self, within_s: float) -> None:
        """Wait until all processes together use at most `IDLE_SHARE` of a core."""
        deadline = time.monotonic() + within_s
        while self.measure_cpu_share(QUIET_S) > IDLE_SHARE:
            if time.monotonic() > deadline:
                raise BenchError(f"not quiet within {within_s:g} s: {self.read_log_end()}")

    def measure_cpu_share(self, span_s: float) -> float:
        """Measure for `span_s` how much of a core the processes use."""
        before, began = self.cpu_s(), time.perf_counter()
        time.sleep(span_s)
        return (self.cpu_s() - before) / (time.perf_counter() - began)

    def read_log_end(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-2_000:]


def list_family(first: int) -> list[int]:
    """Return a process and its descendants."""
    parents = {pid: int(fields[PARENT]) for pid, fields in _read_processes()}
    found = [first]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def family_cpu_s(first: int) -> float:
    """Return the CPU time of a process and of its running descendants."""
    wanted = set(list_family(first))
    used = (int(f[UTIME]) + int(f[STIME]) for pid, f in _read_processes() if pid in wanted)
    return sum(used) * TICK_S


def _read_processes() -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                text = (entry / "stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            found.append((int(entry.name), text.rpartition(")")[2].split()))
    return found


def _role_of(pid: int, *, is_first: bool) -> str:
    """Return what a process of a worker is, by its command line."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return "others"
    for part, role in ROLES.items():
        if part in command:
            return role
    return "first process" if is_first else "others"


def _bytes_of(pid: int, file: str, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
