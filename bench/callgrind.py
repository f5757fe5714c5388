"""Count the instructions of a Python program in parts, under valgrind's callgrind."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.processes import BenchError

BOUNDARY = "getloadavg"
"""The function of C that ends a part: `os.getloadavg` calls it, and nothing else does."""
PART = re.compile(r"^part: (\d+)$", re.MULTILINE)
TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)
WITHIN_S = 900.0


def count_parts(words: Sequence[str], environment: Mapping[str, str]) -> list[int]:
    """Return the instructions of each part of `python WORDS`, all threads together."""
    if shutil.which("valgrind") is None:
        raise BenchError("instructions are counted by valgrind: install the package valgrind")
    with tempfile.TemporaryDirectory(prefix="workshed-callgrind-") as folder:
        done = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--dump-before={BOUNDARY}"),
                *(f"--callgrind-out-file={folder}/out", "--", sys.executable, *words),
            ],
            env={**os.environ, **environment, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"{' '.join(words)} was not counted: {done.stderr[-2_000:]}")
        return read_parts([one.read_text("utf-8") for one in Path(folder).iterdir()])


def read_parts(dumps: Sequence[str]) -> list[int]:
    """Return the totals of callgrind's dumps, in the order of the parts."""
    totals: dict[int, int] = {}
    for text in dumps:
        part, total = PART.search(text), TOTALS.search(text)
        if part is None or total is None:
            raise BenchError("callgrind wrote a dump without a part or its total")
        totals[int(part[1])] = totals.get(int(part[1]), 0) + int(total[1])
    return [totals[number] for number in sorted(totals)]
