"""The process in which images are decoded: `python -m shop.pixels.child FD MEMORY_BYTES`.

It serves one image after the other until its socket ends, which it does with the parent, however
that dies. No parent-death signal: that comes when the thread that started a process ends.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
from dataclasses import asdict
from typing import Any

from shop.pixels.errors import RefusedError
from shop.pixels.making import make
from shop.pixels.wanted import PACKET_BYTES, ImageRequest

IDLE_S = 60.0
_LARGEST_FILE_BYTES = 256 << 20
_MOST_FILES = 32
_LONGEST_TEXT = 2000
# Of glibc's `mallopt`: what is free at the end of the heap stays up to the first, and what is
# larger than the second is not taken from the heap.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _LARGEST_IN_HEAP_BYTES = 64 << 20, 32 << 20


def main(words: list[str]) -> None:
    """Serve until there is nobody to serve, or nothing to do for a while."""
    descriptor, memory_bytes = (int(word) for word in words)
    _keep_memory()
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, _LARGEST_FILE_BYTES)
    _limit(resource.RLIMIT_NOFILE, _MOST_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    with socket.socket(fileno=descriptor) as parent:
        while _has_request(parent) and _serve(parent):
            pass


def _keep_memory() -> None:
    """Use the memory of one image for the next; else the kernel clears 10 MB for each: 4 ms."""
    with contextlib.suppress(AttributeError):  # no glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_IN_HEAP_BYTES)


def _limit(what: int, most: int) -> None:
    """Set a limit for good, or leave a lower one that is there already."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _has_request(parent: socket.socket) -> bool:
    return bool(select.select([parent], [], [], IDLE_S)[0])


def _serve(parent: socket.socket) -> bool:
    """Answer one request; whether another can be answered after it."""
    packet, descriptors, _, _ = socket.recv_fds(parent, PACKET_BYTES, 2)
    if not packet:
        return False
    parent.send(json.dumps(_answer(json.loads(packet), *descriptors)).encode())
    return True


def _answer(request: dict[str, Any], source: int, target: int) -> dict[str, Any]:
    # Not the system's limit: that counts from the process's beginning, by ticks, so that on a busy
    # machine it is a second or more from what Python's clocks say was used so far.
    signal.setitimer(signal.ITIMER_PROF, request["cpu_s"])
    try:
        with os.fdopen(source, "rb") as read, os.fdopen(target, "wb") as written:
            return {"made": asdict(make(read, written, ImageRequest(**request["wanted"])))}
    except RefusedError as err:
        return {"refused": err.reason}
    except MemoryError:
        return {"memory": resource.getrlimit(resource.RLIMIT_AS)[0]}
    except Exception as err:  # noqa: BLE001 -- the parent raises it
        return {"failed": f"{type(err).__name__}: {err}"[:_LONGEST_TEXT]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)  # or it would strike before the next one's begins


if __name__ == "__main__":
    main(sys.argv[1:])
