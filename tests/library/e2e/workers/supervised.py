"""`workshed worker` as the tests see it: its processes, and its log."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pika

from tests.processes import children, command_of, descendants

ACTORS = """
import logging, os, signal, time
import dramatiq
from workshed import Queue, broker

broker.add_queue(Queue("parts"))
VERSION = 1

def note(word, number):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{word} {number} {VERSION} {os.getpid()}\\n")

@dramatiq.actor(broker=broker, queue_name="parts")
def make(number, seconds=0.05):
    note("start", number)
    time.sleep(seconds)
    note("end", number)

@dramatiq.actor(broker=broker, queue_name="parts")
def leave(code):
    if not os.path.exists("left"):
        open("left", "w").close()
        os._exit(code)
    note("end", code)

@dramatiq.actor(
    broker=broker, queue_name="parts", time_limit=1_000, hard_time_limit=1_700,
    max_retries=1, min_backoff=10, max_backoff=10,
)
def hang(number):
    note("start", number)
    time.sleep(600)  # one call into C: nothing can interrupt it
    note("end", number)

@dramatiq.actor(broker=broker, queue_name="parts")
def talk(number):
    logging.getLogger("parts").info("x" * 3000)
    note("end", number)
"""
WORKER = "workshed.transport.worker_process"
RELAYS = ("workshed.transport.relay.relay", "brokers.relay")
"""The modules that a relay is started from: here, and in an earlier release."""


class Supervised:
    """`workshed worker` with its workers and a relay."""

    def __init__(self, options, environment, log, command="worker", program="workshed"):
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", program, command, *options],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                start_new_session=True,
            )

    def text(self):
        return self.log.read_text()

    def said(self):
        """Return the supervisor's own lines."""
        written = self.text().splitlines(keepends=True)
        # The last line may not be complete yet.
        lines = [line for line in written if line.startswith("{") and line.endswith("\n")]
        found = [json.loads(line) for line in lines]
        ours = ("workshed.console.supervisor.", "console.")  # the second is of an earlier release
        return [line["event"] for line in found if line["logger"].startswith(ours)]

    def workers(self):
        """Return the worker processes, oldest first."""
        return self._children(WORKER)

    def relays(self):
        return self._children(*RELAYS)

    def _children(self, *modules):
        return [
            pid
            for pid in children(self.process.pid)
            if any(name in command_of(pid) for name in modules)
        ]

    def stop(self, number=signal.SIGTERM, timeout=90):
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def end(self):
        """Leave nothing behind, whatever the test did."""
        below = descendants(self.process.pid)
        self.process.kill()
        self.process.wait(60)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait_until_up(one, eventually, times=1):
    eventually(lambda: len(ups(one)) >= times or one.process.poll() is not None)
    assert one.process.poll() is None, one.text()


def ups(one):
    return [line for line in one.said() if line.endswith(" up")]


class Consumers:
    """Counts a queue's consumers on RabbitMQ, all the time, in a thread."""

    def __init__(self, url, queue):
        self.fewest = self.most = None
        self._queue = queue
        self._over = threading.Event()
        self._line = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._line.channel()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.fewest = self.most = self._count()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._line.close()

    def _count(self):
        return self._channel.queue_declare(self._queue, passive=True).method.consumer_count

    def _run(self):
        while not self._over.is_set():
            count = self._count()
            self.fewest, self.most = min(self.fewest, count), max(self.most, count)


def ask(one, path):
    """Ask at the address that a process has logged, as `ask_there` does."""
    return ask_there(one.text(), path)


def ask_there(log, path):
    """Ask the port that is in a log; return status and text, or `None` if nothing answers."""
    found = re.findall(r"probes are at http://127.0.0.1:(\d+)/livez", log)
    if not found:
        return None
    connection = http.client.HTTPConnection("127.0.0.1", int(found[-1]), timeout=60)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):  # it may end while it answers
            return None
