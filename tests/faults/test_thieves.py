"""All passwords are stolen: none of them allows more than its part may do."""

import contextlib
import os
import random
from datetime import timedelta

import pytest

from tests.faults.experiment import Remedy, experiment
from tests.faults.thief import OnPostgreSQL, OnRabbitMQ
from tests.library.e2e.parts import Parts

POOLS = {"mail": ["letters"], "rest": ["parts"]}
JOBS_AN_OPERATION, STATEMENTS_A_JOB = 4, 8
LATER = timedelta(seconds=2)
SLOWLY = {"WORKSHED_RELAY_FORK": "false", "FAULTS_TAKES_S": "0.03"}
"""Slow workers, so that jobs wait and could be stolen."""
ROUNDS = 10


@pytest.fixture
def database_url(owned_database_url):
    """A database whose owner is no superuser."""
    return owned_database_url


@pytest.fixture
def parts(vhost, database, rabbitmq, programs, broker, ledger):
    """The parts of an installation with the queues of the load."""
    queues = [broker.declared_queues[name] for names in POOLS.values() for name in names]
    found = Parts(vhost, database, rabbitmq, programs, queues, POOLS)
    yield found
    found.end()


@pytest.fixture
def relay(parts, warm, environment, numbers, tmp_path):
    """A relay that both pools share."""
    log, env = tmp_path / "relay.log", {**os.environ, **environment, **numbers}
    process = warm.start(
        "workshed.transport.relay.relay", env={**env, **parts.env("relay", "relay")}, log=log
    )
    yield
    process.terminate()
    process.wait(60)


@pytest.fixture
def workers(parts, relay, start_one, connect):
    """A worker of each pool; each of them, and the relay, has only its own rights."""
    role = f"{parts.prefix}_worker"
    connect(autocommit=True).execute(f"GRANT ALL ON public.effects, public.charges TO {role}")
    return [
        start_one(options=["-Q", *names], env=parts.env(f"worker-{pool}", "worker") | SLOWLY)
        for pool, names in POOLS.items()
    ]


def shuffled(forbidden, rounds):
    """Return the forbidden operations `rounds` times, each time in another order."""
    for _ in range(rounds):
        yield from random.sample(forbidden, len(forbidden))


@pytest.mark.timeout(1800)
@experiment(
    "stolen-accounts",
    number=25,
    fails_by="lost",
    fault="every AMQP operation that an account may not perform, tried with the password of that "
    "account",
    load="each of them 10 times, with 4 jobs alongside each, on workers with an account for each "
    "pool",
    remedy=Remedy(
        "workshed/transport/amqp/accounts.py",
        "    return rf\"^({'|'.join(map(re.escape, names))})$\"",
        '    return ".*"',
    ),
)
def test_no_account_does_what_is_not_its_part(ledger, broker, parts, workers, all_refused, scale):
    numbers = iter(range(1, 1_000_000))
    queues = broker.declared_queues["letters"], broker.declared_queues["parts"]
    with contextlib.closing(OnRabbitMQ(parts, *queues)) as thief:
        for part, name in shuffled(thief.forbidden, scale(ROUNDS)):
            for _ in range(JOBS_AN_OPERATION):
                ledger.send(next(numbers))
            thief.attempt(part, name)
    all_refused(thief)


@pytest.mark.timeout(1800)
@experiment(
    "stolen-roles",
    number=25,
    fails_by="lost",
    fault="all kinds of statements on all tables, tried as each role that may not execute them",
    load="each of them 10 times, with a job for every eight that is due 2 s later, on workers "
    "with their own role",
    remedy=Remedy(
        "workshed/roles.py",
        'yield role, ", ".join(VERBS[letter] for letter in letters), f"TABLE {table}"',
        'yield from ((one, ", ".join(VERBS.values()), f"TABLE {table}") for one in ROLES)',
    ),
)
def test_no_role_does_what_is_not_its_part(ledger, parts, workers, all_refused, connect, scale):
    number = 0
    with contextlib.closing(OnPostgreSQL(parts, connect(autocommit=True))) as thief:
        for tried, words in enumerate(shuffled(thief.forbidden, scale(ROUNDS))):
            if tried % STATEMENTS_A_JOB == 0:
                number += 1
                ledger.commit(number, LATER)
            thief.attempt(*words)
    all_refused(thief)
