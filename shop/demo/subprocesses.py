"""Processes that run alongside the demo."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

STOP_S = 40


@contextmanager
def run_process(command: list[str], log: Path) -> Generator["subprocess.Popen[bytes]"]:
    """Run a command until the block ends; its output goes to the log."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
