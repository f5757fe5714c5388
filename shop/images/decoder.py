"""Decoding images safely: in separate processes with limits, which are reused."""

import atexit
import json
import os
import signal
import threading
from dataclasses import asdict
from typing import Any, BinaryIO

from shop.images.decoder_process import DecoderProcess
from shop.images.errors import DecoderEndedError, DecoderFailedError, ImageRefusedError
from shop.pixels import ConvertedImage, ImageRequest
from shop.settings import settings
from workshed.interrupts import thread_gate

# A process is replaced after so many images, which bounds memory leaks of the decoders.
_MOST_IMAGES = 200
# On a busy machine, decoding takes longer than its CPU time.
_WAIT_PER_CPU, _SHORTEST_WAIT_S = 10, 60.0
_CRASHES = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV})


def decode(source: BinaryIO, target: BinaryIO, request: ImageRequest) -> ConvertedImage:
    """Convert the image in `source` and write it to `target`; see `Decoder.decode`."""
    return _decoder.decode(source, target, request)


class Decoder:
    """A pool of decoder processes, one for each thread that decodes at the same time."""

    def __init__(self, module: str = "shop.pixels.child") -> None:
        """Create an empty pool; its processes will run `module`."""
        self._module = module
        self._lock = threading.Lock()
        self._processes: set[DecoderProcess] = set()
        self._idle: list[DecoderProcess] = []
        os.register_at_fork(after_in_child=self._detach_inherited)
        atexit.register(self.close)

    def decode(self, source: BinaryIO, target: BinaryIO, request: ImageRequest) -> ConvertedImage:
        """Convert the image in `source` and write it to `target`; both from their beginning.

        Both must be real files; their positions change. Raises `ImageRefusedError` if the image is
        the cause, otherwise `DecoderEndedError`.
        """
        cpu_s = settings().image_cpu.total_seconds()
        encoded = json.dumps({"cpu_s": cpu_s, "wanted": asdict(request)}).encode()
        question = encoded, [source.fileno(), target.fileno()]
        with thread_gate().defer():  # interrupts are raised only while waiting for the child
            child = self._acquire()
            answer = self._exchange(child, *question)
            if child.image_count > 1 and _may_be_earlier_fault(answer):
                answer = self._exchange(self._start(), *question)
        return _read_answer(answer, cpu_s)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            children = list(self._processes)
            self._processes.clear()
            self._idle.clear()
        for child in children:
            child.kill()

    def _exchange(self, child: DecoderProcess, request: bytes, files: list[int]) -> dict[str, Any]:
        cpu_s = settings().image_cpu.total_seconds()
        try:
            answer = child.exchange(request, files, max(_SHORTEST_WAIT_S, _WAIT_PER_CPU * cpu_s))
        except BaseException:
            self._kill(child)
            raise
        if child.image_count < _MOST_IMAGES and answer.keys() & {"made", "refused"}:
            with self._lock:
                self._idle.append(child)
        else:
            self._kill(child)
        return answer

    def _acquire(self) -> DecoderProcess:
        """Return the child that was used last, because its memory is warm, or a new one."""
        with self._lock:
            gone = [child for child in self._idle if not child.is_alive]
            for child in gone:
                self._idle.remove(child)
            taken = self._idle.pop() if self._idle else None
        for child in gone:
            self._kill(child)
        return taken or self._start()

    def _start(self) -> DecoderProcess:
        child = DecoderProcess(self._module, settings().image_memory_bytes)
        with self._lock:
            self._processes.add(child)
        return child

    def _kill(self, child: DecoderProcess) -> None:
        with self._lock:
            self._processes.discard(child)
        child.kill()

    def _detach_inherited(self) -> None:
        for child in self._processes:
            child.detach()
        self._lock = threading.Lock()  # another thread may have held it
        self._processes.clear()
        self._idle.clear()


def _may_be_earlier_fault(answer: dict[str, Any]) -> bool:
    """Return whether an earlier image may have caused this end of the child.

    It may have corrupted or used up memory. Also, an idle child ends by itself after a while,
    possibly just when it receives a request.
    """
    return "memory" in answer or answer.get("ended") in {0, *(-crash for crash in _CRASHES)}


def _read_answer(answer: dict[str, Any], cpu_s: float) -> ConvertedImage:
    """Return the converted image, or raise the error that the answer describes."""
    match answer:
        case {"made": made}:
            return ConvertedImage(**{**made, "notes": tuple(made["notes"])})
        case {"refused": reason}:
            raise ImageRefusedError(reason)
        case {"memory": limit_bytes}:
            raise ImageRefusedError(f"it needs more than {limit_bytes >> 20} MiB of memory")
        case {"ended": code} if -code == signal.SIGPROF:
            raise ImageRefusedError(f"it takes more than {cpu_s:g} s of CPU")
        case {"ended": code} if -code in _CRASHES:
            raise ImageRefusedError(f"it crashes the decoder with {signal.Signals(-code).name}")
        case {"ended": code} if code < 0:
            raise DecoderEndedError(f"was ended by {signal.Signals(-code).name}")
        case {"ended": code}:
            raise DecoderEndedError(f"ended with code {code}")
    raise DecoderFailedError(str(answer.get("failed")))


_decoder = Decoder()
