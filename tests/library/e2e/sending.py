"""Send jobs of `released` until a file appears; note each once its send has returned."""

import itertools
import sys
import time
from pathlib import Path

import released

PAUSE_S = 0.01

stop, notes, first = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
with notes.open("a", buffering=1) as sent:
    for number in itertools.count(first):
        if stop.exists():
            break
        sent.write(f"{released.send(number)} {number}\n")
        time.sleep(PAUSE_S)
