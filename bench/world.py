"""The servers of one run, and the processes that use them."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pika
import psycopg

from bench import pgqueuer, procrastinate, sidekiq
from bench.jobs.recording import GATE_VARIABLE, MARKS_VARIABLE
from bench.marks import Marks
from bench.peers import sender_command, worker_command
from bench.processes import POLL_S, BenchError, ProcessTree, family_cpu_s
from bench.sidekiq import RedisServer, start_redis
from workshed.devserver import DevServers
from workshed.devserver.rabbitmq import RabbitMQServer
from workshed.migrate import apply_pending
from workshed.settings import Settings
from workshed.transport.build import POSTGRESQL_URL

QUORUM, CLASSIC = "quorum", "classic"
QUEUES = [
    *("raw0", "celery0", "taskiq0"),
    *(f"{whose}{n}" for whose in ("bench", "stock") for n in range(8)),
]
THREADS = 8
ROOT = Path(__file__).parent.parent
SEND_S = 300.0
REST_S = 0.2
GONE_WITHIN_S = 240.0


@dataclass(frozen=True)
class SendCost:
    """What it cost a process to send jobs."""

    count: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """Return jobs per second."""
        return self.count / self.seconds

    @classmethod
    def read(cls, sender: subprocess.Popen[bytes]) -> "SendCost":
        """Wait for a sending process, and read its output; raises `BenchError`."""
        out, _ = sender.communicate(timeout=SEND_S)
        if sender.returncode:
            raise BenchError(f"{sender.args!r} could not send: {out.decode()[-2_000:]}")
        return cls(**json.loads(out.splitlines()[-1]))

    @property
    def cpu_us(self) -> float:
        """Return CPU time per job, in µs."""
        return self.cpu_s / self.count * 1e6


class World:
    """Private servers, with one virtual host per default queue type, for the stock clients."""

    def __init__(self, servers: DevServers, folder: Path, redis: Mapping[str, RedisServer]) -> None:
        """Use servers that are already running; Sidekiq's by peer, none without Sidekiq."""
        self.servers = servers
        self.folder = folder
        self.redis = redis
        self._round = self._workers = 0
        # Both are private servers that this run started.
        assert isinstance(servers.rabbitmq, RabbitMQServer)  # noqa: S101
        assert servers.postgres is not None  # noqa: S101
        self._rabbitmq = servers.rabbitmq
        self._postgres = servers.postgres
        for name in (QUORUM, CLASSIC):
            self._rabbitmq.ctl("add_vhost", name, "--default-queue-type", name)
            self._rabbitmq.ctl("set_permissions", "-p", name, "workshed", ".*", ".*", ".*")
        with self.connect_database() as conn:
            apply_pending(conn, ("workshed",))

    def url(self, vhost: str) -> str:
        """Return the URL of a virtual host."""
        return self.servers.broker_url.rpartition("/")[0] + f"/{vhost}"

    @contextmanager
    def connect_database(self) -> Generator[psycopg.Connection[Any]]:
        """Connect to PostgreSQL, in autocommit."""
        with psycopg.connect(self.servers.database_url, autocommit=True) as conn:
            yield conn

    @contextmanager
    def without_autovacuum(self) -> Generator[None]:
        """Turn autovacuum off for the block, which begins once running ones have ended."""
        with self.connect_database() as conn:
            conn.execute("ALTER SYSTEM SET autovacuum = off")
            conn.execute("SELECT pg_reload_conf()")
            wait_until_gone(conn, "autovacuum %")
        try:
            yield
        finally:
            with self.connect_database() as conn:
                conn.execute("ALTER SYSTEM RESET autovacuum")
                conn.execute("SELECT pg_reload_conf()")

    def environment(self, peer: str, **more: str) -> dict[str, str]:
        """Return the environment of a peer's process."""
        # Celery's consumers request a channel-wide prefetch, which quorum queues refuse.
        usual = peer == "stock" or peer.startswith("celery")
        return {
            "WORKSHED_DATABASE_URL": self.servers.database_url,
            "WORKSHED_BROKER_URL": self.url(QUORUM),
            "WORKSHED_LOG_LEVEL": "WARNING",
            "WORKSHED_POOL_SIZE": "32",
            "BENCH_STOCK_URL": self.url(CLASSIC if usual else QUORUM),
            "PYTHONPATH": str(ROOT),
            **({"BENCH_CONFIRMS": "1"} if peer == "stock quorum" else {}),
            **({"BENCH_SYNC": "1"} if peer == "taskiq sync" else {}),
            **self._environment_of_stores(peer),
            **more,
        }

    def _environment_of_stores(self, peer: str) -> dict[str, str]:
        """Return where a peer keeps its jobs, if that is not one of the usual servers."""
        if peer.startswith("sidekiq"):
            redis = {"BENCH_REDIS_URL": self.redis[peer].url, "HOME": str(self.folder)}
            return {**sidekiq.ENVIRONMENT, **redis}
        if peer == "ours postgresql":
            return {"WORKSHED_BROKER_URL": POSTGRESQL_URL}
        if peer == "procrastinate":
            return {"BENCH_PROCRASTINATE_URL": self.procrastinate_url}
        if peer == "pgqueuer":
            return {"BENCH_PGQUEUER_URL": self.pgqueuer_url}
        return {}

    @cached_property
    def procrastinate_url(self) -> str:
        """Procrastinate's own database, which the first use creates."""
        return procrastinate.create_database(self.servers.database_url)

    @cached_property
    def pgqueuer_url(self) -> str:
        """PgQueuer's own database, which the first use creates."""
        return pgqueuer.create_database(self.servers.database_url)

    def new_marks(self) -> Marks:
        """Return the marks of a new round, in a file of its own."""
        self._round += 1
        return Marks(self.folder / f"marks-{self._round}")

    def send(self, peer: str, way: str, count: int, job: str = "noop", **env: str) -> SendCost:
        """Run a process that sends jobs; raises `BenchError` if it fails."""
        module = "stock" if peer.startswith("stock") else peer.split(maxsplit=1)[0]
        module = module.replace("supervised", "ours")
        if peer == "raw window":
            module = "raw-window"
        with self.start_sender(module, way, count, job, self.environment(peer, **env)) as sender:
            return SendCost.read(sender)

    @contextmanager
    def start_sender(
        self, module: str, way: str, count: int, job: str, environment: dict[str, str]
    ) -> Generator[subprocess.Popen[bytes]]:
        """Start a sending process, and wait for it at the end of the block."""
        with subprocess.Popen(
            sender_command(module, way, job, count),
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as sender:
            yield sender

    @contextmanager
    def run_worker(
        self,
        peer: str,
        processes: int = 1,
        threads: int = THREADS,
        *,
        gated: bool = False,
        **env: str,
    ) -> Generator[tuple[ProcessTree, Marks]]:
        """Run a peer's worker; its jobs record their starts, and wait for its gate if `gated`."""
        marks = self.new_marks()
        with self.start_worker(peer, marks, processes, threads, gated=gated, **env) as tree:
            yield tree, marks

    def start_worker(
        self,
        peer: str,
        marks: Marks,
        processes: int = 1,
        threads: int = THREADS,
        *,
        gated: bool = False,
        within: Sequence[str] = (),
        **env: str,
    ) -> ProcessTree:
        """Start one of several workers whose jobs record their starts in the same file.

        `within` is a prefix of the command, for example to run it in another namespace.
        """
        environment = self.environment(peer, **env) | {MARKS_VARIABLE: str(marks.path)}
        if gated:
            environment[GATE_VARIABLE] = str(marks.gate.path)
        self._workers += 1
        log = self.folder / f"worker-{self._workers}.log"
        return ProcessTree([*within, *worker_command(peer, processes, threads)], environment, log)

    def reset(self) -> None:
        """Remove everything that a round left behind."""
        for store in self.redis.values():
            store.call("FLUSHALL")
        if "procrastinate_url" in vars(self):
            procrastinate.empty_database(self.procrastinate_url)
        if "pgqueuer_url" in vars(self):
            pgqueuer.empty_database(self.pgqueuer_url)
        for vhost in (QUORUM, CLASSIC):
            with pika.BlockingConnection(pika.URLParameters(self.url(vhost))) as connection:
                for name in QUEUES:
                    with suppress(pika.exceptions.ChannelClosedByBroker):  # it is not there yet
                        connection.channel().queue_purge(name)
        with self.connect_database() as conn:
            conn.execute(
                """
                TRUNCATE workshed.schedule, workshed.completed_generations, workshed.once_keys,
                         workshed.unique_locks, workshed.runs, workshed.run_counts,
                         workshed.run_minutes, workshed.run_totals, workshed.attempts,
                         workshed.dead, workshed.redelivered_starts, workshed.limits,
                         workshed.limit_slots, workshed.limit_starts, workshed.limit_waiters
                """
            )

    def count_connections(self) -> int:
        """Count the AMQP connections of all virtual hosts."""
        lines = self._rabbitmq.ctl("list_connections", "pid").splitlines()
        return len([line for line in lines if line.strip() not in ("", "pid")])

    def servers_cpu_s(self) -> tuple[float, float]:
        """Return the CPU time of PostgreSQL with its open connections, and of RabbitMQ."""
        first, second = self._postgres.pid, self._rabbitmq.pid
        assert first is not None  # noqa: S101 -- the servers run as long as this object is used
        assert second is not None  # noqa: S101
        return family_cpu_s(first), family_cpu_s(second)

    def all_servers_cpu_s(self) -> float:
        """Return the CPU time of all servers, Sidekiq's included."""
        return sum(self.servers_cpu_s()) + sum(one.cpu_s() for one in self.redis.values())


def wait_until_gone(conn: psycopg.Connection[Any], kind: str) -> None:
    """Wait until PostgreSQL's processes of a kind have ended; raises `BenchError` on timeout."""
    query = """
        SELECT 1 FROM pg_stat_activity WHERE backend_type LIKE %s AND pid <> pg_backend_pid()
    """
    deadline = time.monotonic() + GONE_WITHIN_S
    while conn.execute(query, (kind,)).fetchone():
        if time.monotonic() > deadline:
            raise BenchError(
                f"PostgreSQL's {kind.rstrip(' %')} still runs after {GONE_WITHIN_S:g} s"
            )
        time.sleep(POLL_S)


@contextmanager
def start_servers() -> Generator[World]:
    """Start servers that nothing else uses, with the default settings."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workshed-bench-")))
        given = Settings()
        servers = stack.enter_context(DevServers(fresh=True, given=given))
        yield World(servers, folder, stack.enter_context(start_redis(folder)))


def pause_between_rounds() -> None:
    """Give the servers time to finish the work of the last round."""
    time.sleep(REST_S)
