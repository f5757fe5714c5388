"""The process in which images are decoded: `python -m shop.pixels.child FD MEMORY_BYTES`.

It serves one image after the other until its socket is closed, which happens when the parent ends
for any reason. A parent-death signal would not do: it is sent when the thread that started the
process ends.
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

from shop.pixels.conversion import convert_image
from shop.pixels.errors import RefusedError
from shop.pixels.request import PACKET_BYTES, ImageRequest

IDLE_S = 60.0
_LARGEST_FILE_BYTES = 256 << 20
_MOST_FILES = 32
_LONGEST_TEXT = 2000
# Parameters of glibc's `mallopt`: free memory at the end of the heap is kept up to the first
# threshold; blocks larger than the second are not allocated from the heap.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _LARGEST_IN_HEAP_BYTES = 64 << 20, 32 << 20


def main(words: list[str]) -> None:
    """Serve until the parent has ended, or there was no request for a while."""
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
    """Reuse the memory of one image for the next: clearing 10 MB in the kernel takes 4 ms each."""
    with contextlib.suppress(AttributeError):  # not glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_IN_HEAP_BYTES)


def _limit(what: int, most: int) -> None:
    """Set a hard limit, unless a lower one exists."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _has_request(parent: socket.socket) -> bool:
    return bool(select.select([parent], [], [], IDLE_S)[0])


def _serve(parent: socket.socket) -> bool:
    """Answer one request; return whether there can be another one."""
    packet, descriptors, _, _ = socket.recv_fds(parent, PACKET_BYTES, 2)
    if not packet:
        return False
    parent.send(json.dumps(_answer(json.loads(packet), *descriptors)).encode())
    return True


def _answer(request: dict[str, Any], source: int, target: int) -> dict[str, Any]:
    # RLIMIT_CPU would not do: it counts in ticks from the start of the process, so on a busy
    # machine it differs by a second or more from the CPU time that Python's clocks report.
    signal.setitimer(signal.ITIMER_PROF, request["cpu_s"])
    try:
        with os.fdopen(source, "rb") as read, os.fdopen(target, "wb") as written:
            return {"made": asdict(convert_image(read, written, ImageRequest(**request["wanted"])))}
    except RefusedError as err:
        return {"refused": err.reason}
    except MemoryError:
        return {"memory": resource.getrlimit(resource.RLIMIT_AS)[0]}
    except Exception as err:  # noqa: BLE001 -- the parent raises it
        return {"failed": f"{type(err).__name__}: {err}"[:_LONGEST_TEXT]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)  # otherwise it may fire before the next request


if __name__ == "__main__":
    main(sys.argv[1:])
