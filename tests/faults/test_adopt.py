"""`workshed adopt` is killed between its commit and its acknowledgement, while dramatiq sends."""

import contextlib
import itertools
import os
import signal
import threading
import time

import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests.databases import sibling
from tests.faults.every import Every
from tests.faults.experiment import Remedy, experiment
from tests.management import management

QUEUES = ("parts", "letters")
EVERY_S = 1.0
LONGEST_S = 2.0
"""How long a kill waits for a commit whose acknowledgement is held."""
LONGEST_DELAY_MS = 3_000
FAILED_OF = 7
"""One message of this many has failed before."""
SENDERS = 2
PAUSE_S = 0.005
"""Between two sends, so that the backlog of all is not that of the last command."""
KILLS = 5
KEYS = "SELECT count(*) FROM workshed.once_keys WHERE scope = 'workshed.adopt'"


class StockSender:
    """Sends jobs of the load with dramatiq's broker, ready and delayed ones, until it is ended."""

    def __init__(self, url, ledger, numbers):
        self._broker = RabbitmqBroker(url=url, confirm_delivery=True)
        self._ledger = ledger
        self._numbers = numbers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.error = None

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._broker.close()
        if self.error is not None:
            raise self.error

    def _run(self):
        try:
            self._send()
        except Exception as err:  # noqa: BLE001 -- raised at the end of the block
            self.error = err

    def _send(self):
        while not self._over.is_set():
            number = next(self._numbers)
            message = self._ledger.message(number)
            if number % FAILED_OF == 0:
                message = message.copy(options={"retries": 1, "traceback": "OSError: away"})
            delay = number * 37 % LONGEST_DELAY_MS if number % 2 else None
            self._broker.enqueue(message, delay=delay)
            self._ledger.note(message)
            self._over.wait(PAUSE_S)


class Adopt:
    """The command, in a process that is killed and started again."""

    def __init__(self, start, line, keys, folder):
        self._start, self._line, self._keys = start, line, keys
        self._logs = (folder / f"adopt-{number}.log" for number in itertools.count())
        self.start()

    def start(self):
        self._before = self._keys()
        self.log = next(self._logs)
        self.process = self._start(self.log)

    def is_at_work(self):
        return self._keys() > self._before

    def kill(self):
        """Kill it after a commit that is not acknowledged, if there is one soon."""
        self._line.stall("up")
        # What it commits from here on, RabbitMQ will deliver again.
        before, until = self._keys(), time.monotonic() + LONGEST_S
        while self._keys() == before and time.monotonic() < until:
            time.sleep(0.005)
        self.end()
        self._line.cut()
        self._line.resume()

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def stop(self):
        """End it as its user does; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class Stock:
    """A virtual host with the queues of dramatiq."""

    def __init__(self, url, api):
        self.url = url
        self._api = api
        broker = RabbitmqBroker(url=url)
        for queue in QUEUES:
            broker.declare_queue(queue, ensure=True)
        broker.close()

    def waiting(self):
        """Return how many messages are there."""
        return sum(one.get("messages", 0) for one in self._api.queues().values())


@pytest.fixture
def stock(servers, managed):
    api = managed(management(servers))
    return Stock(sibling(servers.broker_url, api.vhost), api)


@pytest.fixture
def adopt(warm, environment, ledger, stock, proxy, connect, tmp_path):
    """`workshed adopt`, through a proxy."""
    conn, line = connect(autocommit=True), proxy(stock.url)
    words = ("adopt", line.url(stock.url), *QUEUES, "--import", "load")

    def start(log):
        return warm.start("workshed", *words, env={**os.environ, **environment}, log=log)

    found = Adopt(start, line, lambda: conn.execute(KEYS).fetchone()[0], tmp_path)
    yield found
    found.end()


@pytest.fixture
def replace(adopt, eventually):
    """`replace()`: kill the command once it moves messages, and start it again."""

    def replace():
        eventually(adopt.is_at_work, within_s=60)
        adopt.kill()
        adopt.start()

    return replace


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("one_worker")
@experiment(
    "adopt",
    number=27,
    fails_by="duplicated",
    fault=f"`kill -9` of `workshed adopt` every {EVERY_S:g} s, after it has committed messages "
    "that it has not acknowledged",
    load="10 000 messages or more of dramatiq's broker, half of them delayed, which keep coming "
    "while they are moved; even a plain job may run only once",
    remedy=Remedy(
        "workshed/console/adoption/storage.py",
        "        if is_known and delivery.redelivered:\n",
        "        if False:\n",
    ),
)
def test_what_dramatiq_sends_is_moved_once(
    ledger, stock, adopt, replace, quiet, drained, judged, scale
):
    wanted, numbers = scale(10_000), itertools.count()

    with contextlib.ExitStack() as senders, Every(EVERY_S, replace) as kills:
        going_on = [
            kills,
            *(
                senders.enter_context(StockSender(stock.url, ledger, numbers))
                for _ in range(SENDERS)
            ),
        ]
        while len(ledger.sent) < wanted or kills.times < KILLS:
            if any(each.error for each in going_on):
                break
            time.sleep(0.05)
    quiet(lambda: not stock.waiting(), lambda: (stock.waiting(), ledger.moved()), within_s=120)
    result = drained(within_s=300)
    result.duplicated += result.repeats
    result.stuck += stock.waiting()
    result.repeats, result.notes = 0, {"kills": kills.times, "sent": len(ledger.sent)}
    judged(result)
    assert adopt.stop() == 0, adopt.log.read_text()


@pytest.fixture
def one_worker(start_one):
    """A worker that runs the jobs."""
    start_one()
