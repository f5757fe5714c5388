"""Real servers for the tests: private ones, or those that the developer's shell names."""

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from prometheus_client import REGISTRY
from psycopg import sql

from tests import tls
from tests.databases import (
    HINT,
    SharedDatabase,
    empty_beside_workers,
    fresh_database,
    open_session,
    run,
    seeds,
    sibling,
)
from tests.faults.proxy import Proxy
from tests.ingest import Ingest
from tests.management import management
from tests.root import ROOT
from tests.variables import taken_away
from tests.vhosts import Vhosts, fresh_vhost
from tests.warm import Warm
from workshed import db
from workshed.app import APP, app
from workshed.devserver import DevServers, postgres
from workshed.devserver.mail import MailCatcher
from workshed.metrics import meter
from workshed.migrate import apply_pending, list_streams
from workshed.settings import PREFIX, Settings, settings
from workshed.testing.real_worker.servers import KitRabbitMQ
from workshed.transport import build
from workshed.transport.amqp import connection

pytest_plugins = (
    "tests.declaring",
    "tests.lanes",
    "tests.programs",
    "tests.progress",
    "tests.signals",
)

# The servers a shell may name for the tests; everything else there is for its own programs.
NAMED = ("DATABASE_URL", "BROKER_URL", "MANAGEMENT_URL", "SMTP_URL")

MEMORY, ROOM_BYTES = Path("/dev/shm"), 4 << 30  # noqa: S108 -- each server makes a folder of its own


SHIPPED = postgres.binaries

HANGS_S = 90
"""What has not come by then never will: a time says nothing of a machine that runs much else."""

ALARMS = {
    "memory": (
        ("set_vm_memory_high_watermark", "0.00001"),
        ("set_vm_memory_high_watermark", "0.6"),
    ),
    "disk": (("set_disk_free_limit", "1000000GB"), ("set_disk_free_limit", "50MB")),
}
"""What to tell a node of RabbitMQ so that it is short of that, and no more."""

ROUNDS_ARE_SET = 16_00_00
"""The first PostgreSQL whose rounds of a password can be chosen."""

OWNERS = "pw"
"""The password of those who own databases."""

# By default RabbitMQ counts for its management API every 5 s. Ten times a second took a twentieth
# of a core for the queues of one broker, twice as much as this.
TICK_MS = 250
BROKER_CONFIG = {"collect_statistics_interval": "250", "quorum_tick_interval": str(TICK_MS)}


def _given() -> Settings:
    """Take the servers out of the environment, and everything else of ours away from it."""
    ours = taken_away(PREFIX)
    named = {PREFIX + name for name in NAMED}
    return Settings(
        **{
            name.removeprefix(PREFIX).lower(): url
            for name, url in ours.items()
            if name in named and url
        }
    )


GIVEN = _given()
os.environ[APP] = "brokers.app:app"
# Where programs of tests find the service, which is installed nowhere, in other folders.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])
)


def migrate_all(conn):
    """Make the tables of the service, too, where the test that asks first has no App."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(APP, "brokers.app:app")
        app.cache_clear()
        apply_pending(conn, list_streams())
    app.cache_clear()


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """The servers of this run: `database_url`, `broker_url`, `rabbitmq.restart()` and so on.

    What they logged is with what the tests have written, when their data are gone.
    """
    with in_memory(DevServers(fresh=True, given=GIVEN, broker_config=BROKER_CONFIG)) as started:
        yield started
        for folder in ("logs", "rabbitmq/log"):
            if (logs := started.state.folder / folder).is_dir():
                kept = tmp_path_factory.getbasetemp() / "servers"
                shutil.copytree(logs, kept, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def cluster():
    """A RabbitMQ of three nodes, beside that of the session: it takes 10 s of a processor.

    Its ticks are as rare as RabbitMQ's own: an early one ends a quorum queue of 4.0.
    """
    three = DevServers(fresh=True, kinds=["rabbitmq"], nodes=3, given=Settings())
    with in_memory(three) as started:
        yield started.rabbitmq


@pytest.fixture
def alarm(servers):
    """`with alarm("memory"):` RabbitMQ is short of it, or of disk, and takes no messages."""

    @contextlib.contextmanager
    def alarm(kind):
        begin, end = ALARMS[kind]
        try:
            servers.rabbitmq.ctl(*begin)  # which may have done it, and fail
            yield
        finally:
            servers.rabbitmq.ctl(*end)

    return alarm


@contextlib.contextmanager
def in_memory(private):
    """Run servers whose data are in memory, where that has room: each test makes a database.

    A folder as any other to them; what they wrote survives the death of all their processes.
    """
    before = tempfile.gettempdir()
    with contextlib.ExitStack() as stack:
        in_run = MEMORY in Path(before).parents  # `python -m tests` made a folder there
        if not in_run and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
            tempfile.tempdir = str(MEMORY)
        try:
            started = stack.enter_context(private)
        finally:
            tempfile.tempdir = before
        if started.postgres:
            _trust_sooner(started.postgres)
        yield started


def _trust_sooner(server):
    """Spare thousands of connections the rounds that guard a password which outlives a test run."""
    again = sql.SQL("SET scram_iterations = 1; ALTER ROLE CURRENT_USER PASSWORD {}")
    with psycopg.connect(server.url, autocommit=True) as conn:
        if conn.info.server_version >= ROUNDS_ARE_SET:
            conn.execute(again.format(server.password))


@pytest.fixture(autouse=True)
def _forget_settings():
    """Let no test see what another has set."""
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def no_app(monkeypatch, tmp_path):
    """A project that has no `workshed.App`, in a folder of its own."""
    monkeypatch.delenv(APP)
    monkeypatch.chdir(tmp_path)
    app.cache_clear()
    yield
    app.cache_clear()


@pytest.fixture(scope="session")
def warm():
    """`warm.start("dramatiq", "actors", env=…, log=…)`: Python, with less to import."""
    with Warm() as process:
        yield process


@pytest.fixture(scope="session")
def eventually():
    """`eventually(predicate)`: its first true value; an error with the last one where it hangs."""

    def poll(predicate, *, within_s=HANGS_S):
        began = time.monotonic()
        while not (value := predicate()):
            waited = time.monotonic() - began
            if waited > within_s:
                raise AssertionError(f"still {value!r} after {within_s} s\n{other_threads()}")
            # Many ask a server: each second of asking a hundred times costs it most of a core.
            time.sleep(min(0.01 + waited / 20, 0.1))
        return value

    return poll


def other_threads():
    """Where each other thread of this process is: which wait for what."""
    frames = sys._current_frames()
    return "\n".join(
        f"{thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}"
        for thread in threading.enumerate()
        if thread is not threading.current_thread() and thread.ident in frames
    )


# PostgreSQL


@pytest.fixture
def shipped_programs(monkeypatch):
    """The programs of PostgreSQL that a user has, whatever `--postgres` says: where they are."""
    monkeypatch.setattr(postgres, "binaries", SHIPPED)
    return SHIPPED


@pytest.fixture(scope="session")
def programs(servers):
    """The folder of PostgreSQL's programs, of which `psql` is one."""
    return postgres.binaries(servers.state)


@pytest.fixture(scope="session")
def template_database(servers):
    """The name of a migrated database that nobody works in."""
    with fresh_database(servers.database_url) as name:
        url = sibling(servers.database_url, name)
        with db.Connection.connect(url, autocommit=True) as conn:
            migrate_all(conn)
        yield name


@pytest.fixture(scope="session")
def shared_database(servers, template_database):
    """The database that the tests of this process use, one after the other."""
    shared = SharedDatabase(servers, template_database)
    yield shared
    shared.close()


@pytest.fixture
def fresh_database_url(servers, template_database):
    """A migrated, empty database that was made for this test, which may change anything in it."""
    with fresh_database(servers.database_url, template_database) as name:
        yield sibling(servers.database_url, name)


@pytest.fixture(scope="module")
def module_database(servers, template_database):
    """A migrated database in which a worker goes on between the tests of a module; its rows."""
    with fresh_database(servers.database_url, template_database) as name:
        url = sibling(servers.database_url, name)
        with contextlib.closing(open_session(url)) as conn:
            rows = seeds(conn)
        yield url, rows


@pytest.fixture
def database_url(request):
    """A migrated, empty database, which `@pytest.mark.fresh_database` has made for this test.

    Without that mark it is the one that the tests of this process share: a test may write any rows,
    but fails if it leaves a changed table, function or setting.
    """
    if request.node.get_closest_marker("fresh_database"):
        yield request.getfixturevalue("fresh_database_url")
        return
    if request.node.get_closest_marker("one_worker"):
        url, rows = request.getfixturevalue("module_database")
        yield url
        empty_beside_workers(url, rows)
        return
    shared = request.getfixturevalue("shared_database")
    yield shared.take()
    if changed := shared.give_back():
        pytest.fail(HINT.format(" and ".join(sorted(changed))), pytrace=False)


@pytest.fixture(scope="session")
def authority():
    """Who signs certificates for the servers of tests, and is known to nobody else."""
    with tls.authority() as made:
        yield made


@pytest.fixture(scope="session")
def ca(authority):
    """The file by which that is trusted."""
    return authority.file


@pytest.fixture(scope="session")
def owned_template(servers):
    """The names of a migrated database and of its owner, who makes roles and is no superuser."""
    owner = f"owner_{secrets.token_hex(6)}"
    run(servers.database_url, f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD '{OWNERS}'")
    with fresh_database(servers.database_url, owner=owner) as name:
        with db.Connection.connect(_owned(servers, name, owner), autocommit=True) as conn:
            migrate_all(conn)
        yield name, owner
    run(servers.database_url, f"DROP ROLE {owner}")


@pytest.fixture
def owned_database_url(servers, owned_template):
    """A migrated, empty database of this test, by its owner."""
    template, owner = owned_template
    with fresh_database(servers.database_url, template, owner) as name:
        yield _owned(servers, name, owner)


@pytest.fixture
def empty_database_url(servers):
    """A database of this test that was never migrated."""
    with fresh_database(servers.database_url) as name:
        yield sibling(servers.database_url, name)


@pytest.fixture
def open_folder():
    """A folder that the servers' user can enter, which `tmp_path` is not."""
    folder = Path(tempfile.mkdtemp(prefix="workshed-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def connect(database_url):
    """`connect(autocommit=False)`: further connections to the database of this test."""
    with contextlib.ExitStack() as opened:

        def one_more(*, autocommit=False):
            conn = db.Connection.connect(database_url, autocommit=autocommit)
            opened.callback(conn.close)
            return conn

        yield one_more


@pytest.fixture
def conn(connect):
    """One connection, in a transaction."""
    return connect()


@pytest.fixture
def superuser(servers, database_url):
    """A connection of an administrator, in autocommit, where somebody else owns the database."""
    name = urlsplit(database_url).path.removeprefix("/")
    with db.Connection.connect(servers.database_url, dbname=name, autocommit=True) as theirs:
        yield theirs


@pytest.fixture
def no_deletes(connect):
    """`no_deletes(conn)`: nothing leaves the schedule before the transaction of `conn` ends."""
    trigger = """
        CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';
        CREATE TRIGGER hold BEFORE DELETE ON workshed.schedule EXECUTE FUNCTION public.hold();
    """

    def hold(conn):
        connect(autocommit=True).execute(trigger)
        conn.execute("SELECT pg_advisory_xact_lock(1)")

    return hold


@pytest.fixture
def database(database_url, monkeypatch):
    """Point `workshed.db` and child processes at the database of this test; its URL."""
    monkeypatch.setenv("WORKSHED_DATABASE_URL", database_url)
    settings.cache_clear()
    db.get_pool.cache_clear()
    yield database_url
    if db.get_pool.cache_info().currsize:
        db.get_pool().close()
    db.get_pool.cache_clear()
    settings.cache_clear()


def _owned(servers, database, owner):
    parts = urlsplit(sibling(servers.database_url, database))
    at = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{owner}:{OWNERS}@{at}"))


# The test kit


@pytest.fixture(scope="session")
def jobs_other_databases():
    """Those of other fixtures of a test, and that in which they create them."""
    return ["postgres", "workshed", "test_*"]


@pytest.fixture(scope="session")
def jobs_server():
    """The kit has a PostgreSQL of its own: that of the other tests is stopped by some of them."""
    with in_memory(DevServers(fresh=True, kinds=("postgres",), given=GIVEN)) as started:
        yield started.database_url


@pytest.fixture(scope="session")
def jobs_rabbitmq(servers):
    """A RabbitMQ takes long to start, and a test has a virtual host of its own in this one."""
    return KitRabbitMQ(servers.broker_url, management(servers))


# RabbitMQ


@pytest.fixture
def managed():
    """`managed(url)`: a management API, for a virtual host of this test, deleted afterwards."""
    with contextlib.ExitStack() as stack:
        yield lambda url: stack.enter_context(fresh_vhost(url))


@pytest.fixture(scope="module")
def module_rabbitmq(servers):
    """The management API for a virtual host that the tests of a module share."""
    with fresh_vhost(management(servers)) as api:
        yield api


@pytest.fixture(scope="session")
def shared_vhosts(servers):
    """The virtual hosts that the tests of this process use, one after the other."""
    shared = Vhosts(servers.broker_url, management(servers))
    yield shared
    shared.close()


@pytest.fixture
def rabbitmq(request):
    """The management API for a virtual host of this test, in which there is no queue.

    With `@pytest.mark.fresh_vhost` it is new, so that RabbitMQ has counted nothing there, and shows
    no connection of a test before.
    """
    if request.node.get_closest_marker("one_worker"):
        yield request.getfixturevalue("module_rabbitmq")
        return
    if request.node.get_closest_marker("fresh_vhost"):
        url = management(request.getfixturevalue("servers"))
        yield request.getfixturevalue("managed")(url)
        return
    shared = request.getfixturevalue("shared_vhosts")
    api = shared.take()
    yield api
    shared.give_back(api)


@pytest.fixture
def vhost(servers, rabbitmq):
    """The AMQP URL of a virtual host of this test."""
    return sibling(servers.broker_url, rabbitmq.vhost)


# Mail


@pytest.fixture(scope="module")
def module_mail_server(tmp_path_factory):
    """A mail server that the tests of a module share."""
    with MailCatcher(tmp_path_factory.mktemp("mail") / "caught") as catcher:
        yield catcher


@pytest.fixture
def mail_server(request, tmp_path, monkeypatch):
    """A mail server that can be told to fail, and that `WORKSHED_SMTP_URL` leads to."""
    with contextlib.ExitStack() as stack:
        if request.node.get_closest_marker("one_worker"):
            catcher = request.getfixturevalue("module_mail_server")
        else:
            catcher = stack.enter_context(MailCatcher(tmp_path / "mail"))
        monkeypatch.setenv("WORKSHED_SMTP_URL", catcher.url)
        settings.cache_clear()
        yield catcher


# The broker


@pytest.fixture
def broker(vhost, database, monkeypatch):
    """The process's broker on the virtual host and database of this test, also for its children."""
    monkeypatch.setenv("WORKSHED_BROKER_URL", vhost)
    settings.cache_clear()
    found = build.broker()
    used = build.build_broker(settings())
    ours = (
        "urls",
        "prefix",
        "declared",
        "signing",
        "_publisher",
        "_inbox",
        "_execution",
        "_life",
        "_ensured",
        "_sender",
    )
    for name in ours:
        monkeypatch.setattr(found, name, getattr(used, name))
    found._execution.use(found.middleware)
    yield found
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT_S", 0.5)  # a test may have made it deaf
    found.close()


def pytest_configure(config):
    """Let the thousand processes of a run share bytecode, whatever the shell says about it.

    Else each compiles all that it imports of us, which is a third of its start.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if programs := config.getoption("postgres"):
        postgres.binaries = lambda _: Path(programs)


def pytest_addoption(parser):
    """`--full`: the sizes that the promise names; by default a tenth of them."""
    parser.addoption("--full", action="store_true", help="run campaigns at full scale")
    parser.addoption("--postgres", metavar="FOLDER", help="programs of another PostgreSQL")
    parser.addoption("--fault-report", metavar="FILE", help="write what an experiment counted")
    parser.addoption("--fault-seed", type=int, help="the seed of an experiment, to repeat it")


@pytest.fixture(scope="session")
def scale(request):
    """`scale(500)`: so many at full scale, a tenth otherwise; of what takes long less, `by=30`."""
    full = request.config.getoption("full")
    return lambda number, by=10: number if full else number // by


@pytest.fixture
def in_threads():
    """Run a function for each item, in so many threads; raises what any of them raised."""

    def run(function, items, threads=16):
        items, errors, lock = list(items), [], threading.Lock()

        def work():
            while True:
                with lock:
                    if not items:
                        return
                    item = items.pop()
                try:
                    function(item)
                except Exception as err:  # noqa: BLE001 -- raised below
                    errors.append(err)

        pool = [threading.Thread(target=work) for _ in range(threads)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
        if errors:
            raise ExceptionGroup("in threads", errors)

    return run


@pytest.fixture
def counted():
    """`counted("jobs_total", actor="greet", …)`: what this process has counted so far.

    `namespace="shop"`: of an application's own.
    """
    meter.switch_on(on=True)  # a broker does so when it is built

    def value(name, *, namespace="workshed", **labels):
        return REGISTRY.get_sample_value(f"{namespace}_{name}", labels) or 0

    return value


# The network


@pytest.fixture
def proxy():
    """`proxy(url)`: before the server of that URL, a proxy that cuts, stalls, half-opens and so on.

    `.url(url)` leads through it.
    """
    with contextlib.ExitStack() as opened:

        def before(url):
            parts = urlsplit(url)
            return opened.enter_context(Proxy(parts.hostname, parts.port))

        yield before


# What watches


@pytest.fixture
def sentry():
    """A Sentry that only listens, at `sentry.dsn`."""
    with Ingest() as ingest:
        yield ingest
