"""The fixtures of dramatiq's own tests, on this broker.

This file is copied next to the tests as their `conftest.py`. Instead of their stub broker and
worker they get the real RabbitMQ broker, with PostgreSQL and a relay.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import dramatiq
import dramatiq.results.backend
import pytest
from psycopg import sql

from workshed import db
from workshed.middleware import Observer, PostgresRateLimiterBackend, Results
from workshed.middleware.built_in import REFUSED_MIDDLEWARE
from workshed.transport import Queue, build

from .clocks import CLOCKS, PATIENCE_S, Clock, until
from .common import Worker

EMPTIED = (
    "schedule",
    "completed_generations",
    "redelivered_starts",
    "once_keys",
    "dead",
    "attempts",
    "results",
    "counters",
)
DIFFERENCES = tomllib.loads(Path(__file__).with_name("differences.toml").read_text())
OUTCOMES = {}
RELAY_READY = "relay is running"


def name_of(nodeid):
    path, _, name = nodeid.partition("::")
    return f"{Path(path).stem}::{name}"


def pytest_runtest_logreport(report):
    """Record how a test ended, and its output; `error` means one of the fixtures."""
    if report.passed and report.when != "call":
        return
    kind = report.outcome if report.when == "call" else "error"
    OUTCOMES.setdefault(name_of(report.nodeid), []).append([kind, report.longreprtext])


def pytest_sessionfinish():
    Path(os.environ["UPSTREAM_REPORT"]).write_text(json.dumps(OUTCOMES))


class Events(Observer):
    """Records what happens to the jobs of a test."""

    def __init__(self):
        self.worker = None
        self.sent = []
        self.outcomes = []
        self.errors = []
        """Errors of dead jobs, which the `join` of dramatiq's stub broker raises."""

    def after_worker_boot(self, broker, worker):
        self.worker = worker

    def after_enqueue(self, broker, message, delay):
        self.sent.append(message.message_id)

    def on_outcome_stored(self, job, outcome):
        self.outcomes.append(outcome.kind)
        if outcome.kind == "dead" and outcome.error is not None:
            self.errors.append(outcome.error)


@pytest.fixture(scope="session", autouse=True)
def relay(tmp_path_factory):
    log = tmp_path_factory.mktemp("relay") / "log"
    with log.open("wb") as out:
        words = [sys.executable, "-m", "workshed.transport.relay.relay"]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    until(lambda: RELAY_READY in log.read_text() or process.poll() is not None)
    assert process.poll() is None, log.read_text()
    yield
    process.terminate()
    process.wait(PATIENCE_S)


@pytest.fixture
def events():
    return Events()


@pytest.fixture(autouse=True)
def clock(request, events, monkeypatch):
    name = name_of(request.node.nodeid)
    clock = CLOCKS.get(DIFFERENCES["clocks"].get(name), Clock)(events)
    clock.prepare(request.module, monkeypatch)
    if name not in DIFFERENCES["fails"]:  # some of the failing ones fail by a timeout
        clock.patience_s = PATIENCE_S
        monkeypatch.setattr(dramatiq.results.backend, "DEFAULT_TIMEOUT", PATIENCE_S * 1000)
    return clock


@pytest.fixture
def stub_broker(events, clock):
    dramatiq.broker.global_broker = None  # the previous test's broker has actors
    build.get_broker.cache_clear()
    broker = build.get_broker()
    broker.add_middleware(events)
    broker.clock = clock
    declare, add, join, enqueue = (
        broker.declare_queue,
        broker.add_middleware,
        broker.join,
        broker.enqueue,
    )

    def declare_queue(name):
        if name not in broker.declared_queues:  # as with stock dramatiq, tests use any queue name
            broker.add_queue(Queue(name))
        declare(name)

    def add_middleware(middleware, **place):
        if type(middleware) not in REFUSED_MIDDLEWARE:  # "leave out …": it is built in
            add(middleware, **place)

    def enqueue_later(message, *, delay=None):
        return enqueue(message, delay=delay and delay * clock.longer_delays)

    def join_in_time(queue_name, *, timeout=30_000, fail_fast=True):
        join(queue_name, timeout=max(timeout, clock.patience_s * 1000))
        events.worker.join()
        errors = events.errors.copy() if fail_fast else []
        events.errors.clear()  # one of the tests checks that nothing keeps a reference to an error
        if errors:
            raise errors[0]

    broker.declare_queue, broker.add_middleware = declare_queue, add_middleware
    broker.enqueue, broker.join = enqueue_later, join_in_time
    yield broker
    broker.flush_all()
    with db.transaction() as conn:
        for table in EMPTIED:
            conn.execute(sql.SQL("DELETE FROM workshed.{}").format(sql.Identifier(table)))
    broker.close()


@pytest.fixture
def stub_worker(stub_broker, clock):
    worker = Worker(stub_broker, worker_timeout=100, worker_threads=clock.threads)
    worker.start()
    yield worker
    clock.over.set()  # do not wait for jobs that sleep until the test is over
    worker.stop()


@pytest.fixture
def result_backend(stub_broker):
    return next(m for m in stub_broker.middleware if isinstance(m, Results)).backend


@pytest.fixture
def redis_result_backend(result_backend):
    return result_backend


@pytest.fixture
def rate_limiter_backend():
    return PostgresRateLimiterBackend()
