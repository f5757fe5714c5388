"""Kill what can be killed, again and again, while jobs are sent and run."""

import contextlib
import itertools
import os
import signal
import threading

import pytest

from tests.faults.experiment import Remedy, experiment

KEY = Remedy(
    "middleware/once.py",
    "if effects.claim(conn, scope, job.message_id, job.message_id):",
    "if True:",
)


class Every:
    """Does something every so many seconds, in a thread, until the block ends."""

    def __init__(self, seconds, what):
        self._seconds = seconds
        self._what = what
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.times = 0
        self.error = None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self):
        while not self._over.wait(self._seconds):
            try:
                self._what()
                self.times += 1
            except Exception as err:  # noqa: BLE001 -- told to the test at the end of the block
                self.error = err
                return


@pytest.fixture
def workers(start_worker):
    """Two masters of workers, each started again whenever it has ended."""
    running = [start_worker("load", threads=4) for _ in range(2)]
    turn = itertools.cycle(range(2))

    def kill_one():
        number = next(turn)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running[number].process.pid, signal.SIGKILL)
        running[number].process.wait(30)
        running[number] = start_worker("load", threads=4, ready=False)

    return kill_one


@experiment(
    "kill-everything",
    fault="kill -9 of a worker master every 2 s; RabbitMQ restarted, then killed -9",
    load="10 000 jobs, direct and transactional",
    remedy=KEY,
)
def test_workers_and_rabbitmq_are_killed(ledger, workers, harmless, servers, scale, eventually):
    def kill_rabbitmq():
        servers.rabbitmq.kill()
        servers.rabbitmq.start()

    wanted = scale(10_000)
    broken = {wanted // 3: servers.rabbitmq.restart, 2 * wanted // 3: kill_rabbitmq}
    with Every(2, workers) as kills:
        for number in range(wanted):
            broken.get(number, lambda: None)()
            (ledger.commit if number % 10 == 9 else ledger.send)(number)
        eventually(ledger.done, within_s=240)
    harmless()
    assert kills.times > 0
