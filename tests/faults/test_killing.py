"""Kill what can be killed, again and again, while jobs are sent and run."""

import time

from tests.faults.every import Every
from tests.faults.experiment import KEY, Remedy, experiment

AWAY_S = 8.0
"""Longer than the pool of a worker waits for a connection by itself."""


@experiment(
    "kill-everything",
    number=1,
    fails_by="duplicated",
    in_suite=True,
    fault="kill -9 of a worker master every 2 s; RabbitMQ restarted, then killed -9",
    load="10 000 jobs, direct and transactional; one in five asks a server outside",
    remedy=KEY,
)
def test_workers_and_rabbitmq_are_killed(
    ledger, sink, kill_a_worker, harmless, servers, scale, eventually
):
    def kill_rabbitmq():
        servers.rabbitmq.kill()
        servers.rabbitmq.start()

    wanted = scale(10_000)
    broken = {wanted // 3: servers.rabbitmq.restart, 2 * wanted // 3: kill_rabbitmq}
    with Every(2, kill_a_worker) as kills:
        for number in range(wanted):
            broken.get(number, lambda: None)()
            (ledger.commit if number % 10 == 9 else ledger.send)(number)
        eventually(ledger.done, within_s=240)
    harmless()
    assert kills.times > 0


@experiment(
    "cut-connections",
    number=2,
    fails_by="duplicated",
    in_suite=True,
    fault="all connections of workers and relays to RabbitMQ cut every 0.5 s, while jobs run",
    load="5 000 jobs, direct and transactional",
    remedy=KEY,
)
def test_all_connections_are_cut(ledger, start_worker, proxy, vhost, harmless, scale, eventually):
    """By a proxy: RabbitMQ's own list of them is up to 5 s old, and names none of a short test."""
    between = proxy(vhost)
    for _ in range(2):
        start_worker("load", threads=4, env={"WORKSHED_BROKER_URL": between.url(vhost)})
    wanted = scale(5_000)
    with Every(0.5, between.cut) as cuts:
        for number in range(wanted):
            (ledger.commit if number % 10 == 9 else ledger.send)(number)
        eventually(ledger.done, within_s=240)
    harmless()
    assert cuts.times > 0
    assert between.accepted > cuts.times


@experiment(
    "stop-postgresql",
    number=11,
    fails_by="lost",
    in_suite=True,
    fault=f"PostgreSQL stopped for {AWAY_S:g} s, twice, while jobs fail and are stored",
    load="5 000 jobs, sent directly",
    remedy=Remedy(
        "brokers/steps.py",
        "        except PASSING_ERRORS as passing:",
        "        except ZeroDivisionError as passing:",
    ),
)
def test_postgresql_is_away(ledger, two_workers, harmless, servers, scale):
    wanted = scale(5_000) // 2 * 2
    # Of the kinds that need no row first: what PostgreSQL is away for is theirs, not the sender's.
    away = False
    try:
        for number in range(wanted):
            if number in {wanted // 3, 2 * wanted // 3}:
                servers.postgres.stop()
                away, back = True, time.monotonic() + AWAY_S
            ledger.send(number // 3 * 4 + number % 3)
            if number in {wanted // 3 + 50, 2 * wanted // 3 + 50}:
                time.sleep(max(0.0, back - time.monotonic()))
                servers.postgres.start()
                away = False
    finally:
        if away:  # the tests after this one need it
            servers.postgres.start()
    harmless(within_s=240)
