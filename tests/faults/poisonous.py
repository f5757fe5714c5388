"""A job that is poison to its process, in one of seven ways.

The process has little memory, and a frozen process is noticed soon.
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

watchdog.INTERPRETER_STUCK_S = 8.0
resource.setrlimit(resource.RLIMIT_AS, (ROOM_BYTES, ROOM_BYTES))
broker.add_queue(Queue("parts"))


def leave():
    """End the process, including its other jobs."""
    os._exit(3)


def crash():
    """Read from an invalid address: SIGSEGV."""
    ctypes.string_at(0)


def freeze():
    """Hold the interpreter for ever: no other thread and no signal handler runs."""
    sum(itertools.repeat(0))


def devour():
    """Take all memory, so that other running jobs have none."""
    pieces = []
    while True:
        pieces.append(bytearray(PIECE_BYTES))


def stop():
    """Raise the exception that ends a program."""
    sys.exit("poison")


def interrupt():
    """Raise the exception of Ctrl-C."""
    raise KeyboardInterrupt


def descend():
    """Recurse for ever."""
    descend()


WAYS = (leave, crash, freeze, devour, stop, interrupt, descend)


@dramatiq.actor(broker=broker, queue_name="parts", max_retries=1, min_backoff=50, max_backoff=50)
def poison(number):
    """Not idempotent: a second run does the same again."""
    way = WAYS[number % len(WAYS)]
    with STARTS.open("a") as notes:
        notes.write(f"{number}\n")
    way()
