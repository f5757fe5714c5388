"""Repeat something while a test runs."""

import threading
import time
from collections.abc import Callable
from typing import Self


class Every:
    """Calls a function every so many seconds, in a thread, until the block ends.

    If the function takes longer than that, it is called as often as possible.
    """

    def __init__(self, seconds: float, what: Callable[[], object]) -> None:
        self._seconds = seconds
        self._what = what
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.times = 0
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        due = time.monotonic() + self._seconds
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._seconds, time.monotonic())
            try:
                self._what()
                self.times += 1
            except Exception as err:  # noqa: BLE001 -- raised at the end of the block
                self.error = err
                return
