"""The web console as a process of its own."""

import re
import time

AT = re.compile(r"Console (http://127\.0\.0\.1:\d+)")


class Console:
    """`workshed console`, started by a function of further words, which lets it write to a log."""

    def __init__(self, log, start):
        self._log = log
        self._start = start
        self.start()

    def start(self, port=0):
        self._log.write_bytes(b"")
        self._process = self._start("--port", str(port))
        until = time.monotonic() + 30
        while not (found := AT.search(self._log.read_text())):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        self.url = found[1]

    def stop(self):
        self._process.terminate()
        self._process.wait(20)
