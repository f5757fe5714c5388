"""Kill workers and servers repeatedly while jobs are sent and run."""

import contextlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.conftest import Killer
from tests.faults.every import Every
from tests.faults.experiment import KEY, Remedy, experiment
from workshed.devserver.errors import ServerError

AWAY_S = 8.0
"""Longer than a worker's pool waits for a connection."""
KILLS = 2
"""Least number of kills before and after each end of RabbitMQ."""
SENDERS = 8
BACKLOG = 80
TAKES_S = 0.05
"""The duration of each job; long enough that many run whenever a worker is killed."""
ACK_LAST = Remedy(
    "workshed/transport/consuming/execution.py",
    "        delivery.is_running = True\n        job = delivery.job\n",
    "        delivery.is_running = True\n"
    "        job = delivery.job\n"
    '        self._inbox.settle_delivery(delivery, "ack")\n'
    "        delivery.settles_later = True\n",
)
"""Without this remedy, a job is acked when it starts."""


@pytest.fixture
def long_jobs(monkeypatch):
    monkeypatch.setenv("FAULTS_TAKES_S", str(TAKES_S))


@pytest.fixture
def carrier(servers, transport):
    """The server that has the jobs which are due."""
    return servers.rabbitmq if transport == "rabbitmq" else servers.postgres


@pytest.fixture
def kill_a_worker(start_one, eventually):
    """Kills one of three masters, so that one is up at each kill even if booting is slow."""
    return Killer([start_one() for _ in range(3)], start_one, eventually)


@pytest.mark.usefixtures("long_jobs", "sink")
@experiment(
    "kill-everything",
    number=1,
    fails_by="lost",
    needs_rabbitmq=False,
    in_suite=True,
    fault="`kill -9` of one of three worker masters every 2 s; RabbitMQ is restarted, then "
    "killed with `kill -9`",
    load="10 000 jobs, sent directly and in transactions; one in five calls an external server",
    remedy=ACK_LAST,
)
def test_workers_and_rabbitmq_are_killed(
    ledger, kill_a_worker, harmless, quiet, carrier, scale, eventually
):
    """Without RabbitMQ, it is PostgreSQL that is restarted and killed."""

    def has_started():
        with contextlib.suppress(ServerError):  # processes of the killed one are still ending
            carrier.start()
            return True

    def kill_carrier():
        carrier.kill()
        eventually(has_started)

    def send(number):
        (ledger.commit if number % 10 == 9 else ledger.send)(number)

    def a_part():
        """Keep workers busy for a third of the jobs, and longer until there were enough kills."""
        sent, times = len(ledger.sent) + wanted // 3, kill_a_worker.times + KILLS
        until = time.monotonic() + part_s
        while len(ledger.sent) < sent or kill_a_worker.times < times:
            assert kills.error is None
            if time.monotonic() > until:  # so many are lost that no more are sent
                return
            if len(ledger.sent) - len(ledger.effects()) < BACKLOG:
                list(pool.map(send, itertools.islice(numbers, BACKLOG)))

    wanted, numbers, part_s = scale(10_000, by=20), itertools.count(), scale(1_200, by=20)
    with ThreadPoolExecutor(SENDERS) as pool, Every(2, kill_a_worker) as kills:
        a_part()
        carrier.restart()
        a_part()
        kill_carrier()
        a_part()
        quiet(ledger.has_all_effects, ledger.moved, within_s=240)
    harmless()


@experiment(
    "cut-connections",
    number=2,
    fails_by="duplicated",
    in_suite=True,
    fault="all connections of workers and relays to RabbitMQ are cut every 0.5 s while jobs run",
    load="5 000 jobs, sent directly and in transactions",
    remedy=KEY,
)
def test_all_connections_are_cut(ledger, start_worker, proxy, vhost, harmless, quiet, scale):
    """A proxy cuts them: RabbitMQ's own list is up to 5 s old, too late for a short test."""
    between = proxy(vhost)
    for _ in range(2):
        start_worker("load", threads=4, env={"WORKSHED_BROKER_URL": between.url(vhost)})
    wanted = scale(5_000)
    with Every(0.5, between.cut) as cuts:
        for number in range(wanted):
            (ledger.commit if number % 10 == 9 else ledger.send)(number)
        quiet(ledger.has_all_effects, ledger.moved, within_s=240)
    harmless()
    assert cuts.times > 0
    assert between.accepted > cuts.times


@pytest.mark.exhaustive
@experiment(
    "stop-postgresql",
    number=11,
    fails_by="lost",
    needs_rabbitmq=False,
    in_suite=True,
    fault=f"PostgreSQL is stopped for {AWAY_S:g} s, twice, while jobs fail and are stored",
    load="5 000 jobs, sent directly",
    remedy=Remedy(
        "workshed/transport/consuming/settlement.py",
        "        except db.TRANSIENT_ERRORS as passing:",
        "        except ZeroDivisionError as passing:",
    ),
)
def test_postgresql_is_away(ledger, two_workers, harmless, servers, scale, transport):
    wanted = scale(5_000) // 2 * 2
    # Only kinds whose send needs no row: the outage must affect the jobs, not the sender. Without
    # RabbitMQ there are none, and nothing is sent meanwhile.
    meanwhile = 50 if transport == "rabbitmq" else 0
    away = False
    try:
        for number in range(wanted):
            if number in {wanted // 3, 2 * wanted // 3}:
                servers.postgres.stop()
                away, back = True, time.monotonic() + AWAY_S
            if number in {wanted // 3 + meanwhile, 2 * wanted // 3 + meanwhile}:
                time.sleep(max(0.0, back - time.monotonic()))
                servers.postgres.start()
                away = False
            ledger.send(number // 3 * 4 + number % 3)
    finally:
        if away:  # later tests need it
            servers.postgres.start()
    harmless()
