"""A job that is poison to the process it runs in, in one of seven ways.

Memory is short in here, and a process that is frozen is noticed soon.
"""

import ctypes
import itertools
import os
import resource
import sys
from pathlib import Path

import dramatiq

from workshed import Queue, broker
from workshed.transport.worker import watchdog

ROOM_BYTES = 2 << 30
PIECE_BYTES = 1 << 20
STARTS = Path(os.environ["STARTS"])

watchdog.FROZEN_S = 8.0
resource.setrlimit(resource.RLIMIT_AS, (ROOM_BYTES, ROOM_BYTES))
broker.add_queue(Queue("parts"))


def leave():
    """End the process, its other jobs too."""
    os._exit(3)


def crash():
    """Read where nothing is: SIGSEGV."""
    ctypes.string_at(0)


def freeze():
    """Hold the interpreter for ever: no other thread runs, and no handler of a signal."""
    sum(itertools.repeat(0))


def devour():
    """Take all the memory there is; the others that run now have none then."""
    pieces = []
    while True:
        pieces.append(bytearray(PIECE_BYTES))


def stop():
    """Raise what ends a program."""
    sys.exit("poison")


def interrupt():
    """Raise what Ctrl-C does."""
    raise KeyboardInterrupt


def descend():
    """Call itself for ever."""
    descend()


WAYS = (leave, crash, freeze, devour, stop, interrupt, descend)


@dramatiq.actor(broker=broker, queue_name="parts", max_retries=1, min_backoff=50, max_backoff=50)
def poison(number):
    """Not idempotent: does the same again."""
    way = WAYS[number % len(WAYS)]
    with STARTS.open("a") as notes:
        notes.write(f"{number}\n")
    way()
