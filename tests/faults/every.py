"""Do something again and again while a test goes on."""

import threading
from collections.abc import Callable
from typing import Self


class Every:
    """Does something every so many seconds, in a thread, until the block ends."""

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
        while not self._over.wait(self._seconds):
            try:
                self._what()
                self.times += 1
            except Exception as err:  # noqa: BLE001 -- told to the test at the end of the block
                self.error = err
                return
