"""A process that serves the page, and requests to it."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.root import ROOT

OURS = "tests.service.integration.notifications.serving"
AT = re.compile(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")


class Served:
    """`shop.web.pictures` in its own process, on a free port or a given one."""

    def __init__(self, process, log):
        self.process = process
        self.log = log
        try:
            self.port = self._wait()
        except BaseException:
            self.end()
            raise
        self.url = f"http://127.0.0.1:{self.port}"

    @classmethod
    def forked(cls, warm, log, *, port=0, sweep_s=600, send_s=60):
        """Serve it as most tests need it; return once it answers."""
        words, env = (str(port), str(sweep_s), str(send_s)), {**os.environ, "PYTHONPATH": str(ROOT)}
        return cls(warm.start(OURS, *words, env=env, log=log), log)

    @classmethod
    def started(cls, log, *words):
        """Serve it by Python with these arguments."""
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *words],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        return cls(process, log)

    def _wait(self, within_s=90):
        deadline = time.monotonic() + within_s
        while not (found := AT.search(self.text())):
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.01)
        return int(found[1])

    def text(self):
        """Return its log."""
        return self.log.read_text()

    def ask(self, path, *, method="GET", token=None, cookie=None, body=None, **headers):
        """Send one request; return its status, headers and text."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if cookie:
            headers["Cookie"] = f"workshed_token={cookie}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def rss_bytes(self):
        """Return the memory that the process uses."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def stop(self):
        """Stop it like a deployment; return how many seconds that took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.monotonic() - begun

    def end(self):
        """Clean up, whatever the test did."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
