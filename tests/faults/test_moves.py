"""From PostgreSQL alone to RabbitMQ and back, under load, while workers and relays are killed."""

import contextlib
import functools
import itertools
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.conftest import KINDS, is_up
from tests.faults.every import Every
from tests.faults.experiment import Remedy, experiment
from workshed.console.rabbitmq.queue_depths import fetch_depths
from workshed.jobs.outbox.relays import DEAD_AFTER
from workshed.settings import Settings
from workshed.transport import build

QUEUES = ("parts", "letters")
SENDERS = 8
KILL_S = 3.0
TAKES_S = 0.02
"""The duration of each job; long enough that a killed worker has claimed some."""
DRAIN_KILLS = 4
SLOW_STORE = """
    CREATE FUNCTION public.store_slowly() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END';
    CREATE TRIGGER slow BEFORE INSERT ON workshed.schedule
        FOR EACH ROW WHEN (NEW.reason = 'broker_down') EXECUTE FUNCTION public.store_slowly();
"""
"""Makes the time long in which `workshed broker drain` has taken messages but not stored them."""
STORES = """
    SELECT count(*) FROM pg_stat_activity
     WHERE wait_event = 'PgSleep' AND datname = current_database()
"""

STORE = (
    "                    with conn.transaction():\n"
    "                        stored = store(broker, conn, name, "
    "[message for _, message in taken])\n"
)
ACK = "                    channel.basic_ack(taken[-1][0], multiple=True)\n"


class Fleet:
    """Two workers with their relays, by which jobs travel in one of two ways."""

    def __init__(self, start, urls, eventually):
        self.kills = 0
        self._start = start
        self._urls = urls
        self._eventually = eventually
        self._workers = []
        self._lock = threading.Lock()
        self._turn = itertools.count()

    def add(self, transport, *, ready=True):
        """Start a worker."""
        worker = self.start(transport, ready=ready)
        self._workers.append((worker, transport))

    def start(self, transport, *, ready=True):
        """Start a worker that is not killed."""
        return self._start(env={"WORKSHED_BROKER_URL": self._urls[transport]}, ready=ready)

    def kill(self):
        """Kill the next worker, once another is up, and start it again as it was."""
        with self._lock:
            number = next(self._turn) % len(self._workers)
            worker, transport = self._workers[number]
            others = [one for one, _ in self._workers if one is not worker]
            if not any(map(is_up, others)):
                return
            self._kill(worker)
            self._workers[number] = self.start(transport, ready=False), transport

    def replace(self, transport, before=lambda: None):
        """Start a worker, and kill the oldest one of another transport."""
        with self._lock:
            self.add(transport)
            new, _ = self._workers[-1]
            self._eventually(lambda: is_up(new), within_s=60)
            before()
            oldest = next(one for one in self._workers if one[1] != transport)
            self._workers.remove(oldest)
            self._kill(oldest[0])

    def _kill(self, worker):
        if worker.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            self.kills += 1


@pytest.fixture
def fleet(start_one, vhost, eventually, monkeypatch):
    monkeypatch.setenv("FAULTS_TAKES_S", str(TAKES_S))
    return Fleet(start_one, {"rabbitmq": vhost, "postgresql": build.POSTGRESQL_URL}, eventually)


@pytest.fixture
def brokers(broker, ledger):
    """A broker for each transport, with which this process sends; `ledger` declares the queues."""
    alone = build.build_broker(Settings(broker_url=build.POSTGRESQL_URL), broker.declared_queues)
    yield {"rabbitmq": broker, "postgresql": alone}
    alone.close()


@pytest.fixture
def send(ledger, brokers):
    """`send(100, "rabbitmq")`: send as many jobs, one in five in a transaction."""
    ledger.kinds = (*KINDS, "keyed")
    numbers = itertools.count()

    def send_one(names, number):
        if number % 7 == 0:
            ledger.commit(number)
            return
        message = ledger.message(number)
        if message.actor_name == "keyed":
            message = message.copy(options={"unique_key": f"keyed:{number}"})
        brokers[random.choice(names)].enqueue(message)  # noqa: S311 -- a coin
        ledger.note(message)

    def send(count, *names):
        wanted = list(itertools.islice(numbers, count))
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(functools.partial(send_one, names), wanted))

    return send


@pytest.mark.timeout(1800)
@experiment(
    "move-up",
    number=28,
    fails_by="lost",
    fault="an installation moves from PostgreSQL alone to RabbitMQ: workers and relays first, "
    f"senders last; `kill -9` of a worker and its relay every {KILL_S:g} s; one worker is stopped "
    "for 15 s, and its jobs run elsewhere meanwhile",
    load="20 000 jobs, sent directly and in transactions, some with unique keys",
    remedy=Remedy(
        "workshed/transport/relay/relay.py",
        "if orphaned := claims.claim_orphaned(conn, self.id, WINDOW, spare_workers=spare):",
        "if orphaned := []:",
    ),
)
def test_jobs_move_to_rabbitmq(fleet, send, ledger, harmless, connect, eventually, scale):
    """Relays of RabbitMQ publish the rows that dead workers without it had claimed."""
    part = scale(20_000, by=20) // 5
    for _ in range(2):
        fleet.add("postgresql")
    stopped = fleet.start("postgresql")
    conn = connect(autocommit=True)

    with Every(KILL_S, fleet.kill) as kills:
        send(part, "postgresql")
        os.killpg(stopped.process.pid, signal.SIGSTOP)
        until = time.monotonic() + 1.5 * DEAD_AFTER.total_seconds()
        fleet.replace("rabbitmq", lambda: send(part, "postgresql"))
        fleet.replace("rabbitmq", lambda: send(part, "postgresql"))
        time.sleep(max(0.0, until - time.monotonic()))  # for so long, it is silent
        os.killpg(stopped.process.pid, signal.SIGCONT)
        send(part, "postgresql", "rabbitmq")
        stopped.kill()
        send(part, "rabbitmq")
        eventually(lambda: fleet.kills > 2 or kills.error, within_s=120)
    harmless(kills=fleet.kills)
    assert conn.execute("SELECT count(*) FROM workshed.dead").fetchone() == (0,)


class DrainCommand:
    """`workshed broker drain`, which is killed and started again until it is done."""

    def __init__(self, start, line, stores, folder, eventually):
        self.kills = 0
        self._start, self._line, self._stores = start, line, stores
        self._logs = (folder / f"drain-{number}.log" for number in itertools.count())
        self._eventually = eventually

    def run(self):
        """Kill it half-way through a store, or after a commit without its ack; then let it end."""
        while self.kills < DRAIN_KILLS:
            process = self._start(next(self._logs))
            self._eventually(
                lambda process=process: self._stores() or process.poll() is not None, within_s=60
            )
            if process.poll() is not None:
                return
            if self.kills % 2:
                self._line.stall("up")  # what it commits, it does not acknowledge
                self._eventually(lambda: not self._stores(), within_s=60)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
            self._line.cut()
            self._line.resume()
            self.kills += 1

    def finish(self):
        """Let it run to its end; returns its exit code."""
        return self._start(next(self._logs)).wait(120)


@pytest.fixture
def command(warm, environment, vhost, proxy, connect, tmp_path, eventually):
    conn, line = connect(autocommit=True), proxy(vhost)
    conn.execute(SLOW_STORE)
    env = {**os.environ, **environment, "WORKSHED_BROKER_URL": line.url(vhost)}

    def start(log):
        return warm.start("workshed", "broker", "drain", env=env, log=log)

    return DrainCommand(
        start, line, lambda: conn.execute(STORES).fetchone()[0], tmp_path, eventually
    )


@pytest.mark.timeout(1800)
@experiment(
    "move-back",
    number=28,
    fails_by="lost",
    fault="an installation moves from RabbitMQ to PostgreSQL alone: senders first, then relays and "
    f"workers, then `workshed broker drain`; `kill -9` of a worker and its relay every "
    f"{KILL_S:g} s, and of the command while it stores jobs and before it acknowledges them",
    load="20 000 jobs, sent directly and in transactions, some with unique keys",
    remedy=Remedy(
        "workshed/console/rabbitmq/drain.py",
        STORE + ACK,
        ACK + STORE,
    ),
)
def test_jobs_move_back_to_postgresql(fleet, send, command, vhost, harmless, eventually, scale):
    """The command acknowledges a job once it is stored."""
    part = scale(20_000, by=20) // 5
    for _ in range(2):
        fleet.add("rabbitmq")

    with Every(KILL_S, fleet.kill) as kills:
        send(part, "rabbitmq")
        send(part, "rabbitmq", "postgresql")
        send(part, "postgresql")
        fleet.replace("postgresql")
        # The last worker that consumes: what it does not run stays on RabbitMQ.
        fleet.replace("postgresql", lambda: send(2 * part, "rabbitmq", "postgresql"))
        command.run()
        eventually(lambda: fleet.kills > 2 or kills.error, within_s=120)
    ready = lambda: sum(one.ready for one in fetch_depths([vhost], QUEUES).values())  # noqa: E731
    eventually(lambda: command.finish() == 0 and not ready(), within_s=240)
    harmless(kills=fleet.kills, drain_kills=command.kills)
    assert command.kills > 0
