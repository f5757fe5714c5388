"""PostgreSQL ends connections, transactions and statements while jobs run and are settled."""

import contextlib
import random
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from dramatiq import Message

from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, Result, experiment
from workshed import Queue
from workshed.devserver.account import server_account
from workshed.errors import DatabaseUnreachableError

PROGRAM = (Path(__file__).parent / "hurting.py").read_text()
KINDS = ("cross", "count", "linger", "write_one")
POOL = {"WORKSHED_POOL_SIZE": "2"}
"""Two connections for eight threads."""
HOLD_S = 1.0
TABLES = """
    CREATE TABLE public.effects (kind text, number integer);
    CREATE TABLE public.accounts (id integer PRIMARY KEY, moved integer NOT NULL);
    INSERT INTO public.accounts SELECT generate_series(0, 1), 0;
"""
LONGEST_S = 10
"""Longest wait for a job's transaction; without the remedy there may be no job left."""
GROWING = (
    "workshed.schedule",
    "workshed.completed_generations",
    "workshed.once_keys",
    "workshed.attempts",
    "public.effects",
)
DISK_MIB = 64
A_ROW_A_PAGE = 10
"""Fill factor in percent, so that tables grow all the time even with few jobs."""
SOON = "idle_in_transaction_session_timeout = '300ms'", "deadlock_timeout = '50ms'"
OTHERS = """
    SELECT count(pg_terminate_backend(pid))
      FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
IN_A_JOB = """
    SELECT count(*) > 0
      FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND state = 'idle in transaction' AND query ~ 'effects|accounts'
"""
LEFT = """
    SELECT (SELECT count(*) FROM workshed.schedule) + (SELECT count(*)
                                                       FROM workshed.redelivered_starts)
"""
FAILED = {
    "AdminShutdown": "terminated",
    "DeadlockDetected": "deadlocks",
    "SerializationFailure": "not serializable",
    "IdleInTransactionSessionTimeout": "idle for too long",
    "DiskFull": "disk full",
}
"""The notes about failed attempts, by the class of their error."""


class Disk:
    """A separate disk for tables; only root can mount one."""

    def __init__(self, folder):
        self.folder = folder
        self._ballast = folder / "ballast"

    def __enter__(self):
        words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0755", "tmpfs", self.folder]
        subprocess.run(words, check=True)
        (self.folder / "tables").mkdir()
        server_account().make_owner(self.folder / "tables")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.folder], check=True)

    def fill(self):
        """Fill the disk to the last block."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self):
        """Free the space again."""
        self._ballast.unlink()


class Hurt:
    """A database and its faults; each query uses a new connection."""

    def __init__(self, url, disk):
        self.url = url
        self.disk = disk

    def __call__(self, query):
        with psycopg.connect(self.url, autocommit=True) as conn:
            done = conn.execute(query)
            return done.fetchall() if done.description else []

    def prepare(self):
        self(TABLES)
        self(f"CREATE TABLESPACE tight LOCATION '{self.disk.folder / 'tables'}'")
        for table in GROWING:
            self(f"ALTER TABLE {table} SET TABLESPACE tight")
            self(f"ALTER TABLE {table} SET (fillfactor = {A_ROW_A_PAGE})")
        name = psycopg.conninfo.conninfo_to_dict(self.url)["dbname"]
        for setting in SOON:
            self(f"ALTER DATABASE {name} SET {setting}")

    def leave_disk(self):
        """Move the tables away from the disk, which could not be unmounted otherwise."""
        for table in GROWING:
            self(f"ALTER TABLE {table} SET TABLESPACE pg_default")
        self("DROP TABLESPACE tight")

    def terminate(self):
        """End all connections to the database as soon as a job is in a transaction."""
        until = time.monotonic() + LONGEST_S
        while not self(IN_A_JOB)[0][0] and time.monotonic() < until:
            time.sleep(0.01)
        self(OTHERS)

    def fill(self):
        """Keep the disk full for a while."""
        self.disk.fill()
        time.sleep(HOLD_S)
        self.disk.free()

    def crowd(self):
        """End all connections, then use up all that the server allows for a while."""
        with contextlib.ExitStack() as held:
            self.terminate()
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    held.enter_context(psycopg.connect(self.url))
            time.sleep(HOLD_S)


@pytest.fixture
def hurt(database_url, open_folder):
    with Disk(open_folder) as disk:
        found = Hurt(database_url, disk)
        found.prepare()
        yield found
        found.leave_disk()


@pytest.mark.timeout(1800)
@experiment(
    "postgresql-hurts",
    number=11,
    fails_by="lost",
    needs_rabbitmq=False,
    fault="connections are terminated and used up, transactions deadlock, fail to serialize or "
    "are ended when idle, a pool has 2 connections for 8 threads, a disk is full",
    load="5 000 jobs, sent directly",
    remedy=Remedy(
        "workshed/transport/consuming/settlement.py",
        "        except db.TRANSIENT_ERRORS as passing:",
        "        except ZeroDivisionError as passing:",
    ),
)
def test_postgresql_hurts(broker, hurt, start_worker, rabbitmq, tmp_path, quiet, judged, scale):
    """Whatever PostgreSQL does, a job is acked only after its outcome is stored."""
    broker.add_queue(Queue("parts"))
    (tmp_path / "hurting.py").write_text(PROGRAM)
    faults = [hurt.terminate, hurt.fill, hurt.crowd] * scale(40, by=20)
    random.shuffle(faults)
    size = scale(5_000) // len(faults)
    sent, doubtful = set(), set()
    for _ in range(2):
        start_worker("hurting", threads=8, env=POOL)

    for turn, fault in enumerate(faults):
        for number in range(turn * size, (turn + 1) * size):
            kind = KINDS[number % 4]
            try:
                broker.enqueue(Message("parts", kind, (number,), {}, {}))
            except DatabaseUnreachableError:  # without RabbitMQ, a fault may meet the sender
                doubtful.add((kind, number))
            else:
                sent.add((kind, number))
        judged.all_sent()
        fault()

    def effects():
        found = hurt("SELECT kind, number, count(*) FROM effects GROUP BY 1, 2")
        return {(kind, number): times for kind, number, times in found}

    def left():
        return hurt(LEFT)[0][0] + sum(q.get("messages", 0) for q in rabbitmq.queues().values())

    is_empty = Emptied(left)
    quiet(
        lambda: is_empty() and effects().keys() >= sent,
        lambda: (sum(effects().values()), left()),
        within_s=900,
    )

    done = effects()
    failed = dict(hurt("SELECT error_class, count(*) FROM workshed.attempts GROUP BY 1"))
    notes = {what: failed.get(name, 0) for name, what in FAILED.items()}
    judged(
        Result(
            lost=len(sent - done.keys()),
            ghost=len(done.keys() - sent - doubtful),
            duplicated=sum(times - 1 for times in done.values()),
            stuck=left(),
            notes={"jobs": len(sent), "faults": len(faults), **notes},
        )
    )
    assert all(notes.values())
    del broker.declared_queues["parts"]
