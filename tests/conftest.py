"""Real servers for the tests: private ones, or those named in the developer's shell."""

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
    empty_while_workers_run,
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
from workshed.app import APP_VARIABLE, get_app
from workshed.devserver import DevServers, postgres
from workshed.devserver.mail import MailCatcher
from workshed.metrics import metric
from workshed.metrics.file_store import FileStore
from workshed.migrate import apply_pending, list_streams
from workshed.settings import PREFIX, Settings, settings
from workshed.testing.real_worker.servers import KitRabbitMQ
from workshed.transport import build
from workshed.transport.amqp import connection
from workshed.transport.rabbitmq_consumption import RabbitMQConsumption
from workshed.transport.taking.taking_consumption import TakingConsumption

pytest_plugins = (
    "tests.declaring",
    "tests.lanes",
    "tests.programs",
    "tests.progress",
    "tests.signals",
)

# The servers that a shell may name for the tests; its other variables are for its own programs.
NAMED = ("DATABASE_URL", "BROKER_URL", "MANAGEMENT_URL", "SMTP_URL")

MEMORY, ROOM_BYTES = Path("/dev/shm"), 4 << 30  # noqa: S108 -- each server makes a folder of its own


SHIPPED = postgres.find_binaries

HANGS_S = 90
"""Limit against hanging only; on a busy machine, how long something takes means nothing."""

TRANSPORTS = ("rabbitmq", "postgresql")
"""By what jobs can travel."""

ALARMS = {
    "memory": (
        ("set_vm_memory_high_watermark", "0.00001"),
        ("set_vm_memory_high_watermark", "0.6"),
    ),
    "disk": (("set_disk_free_limit", "1000000GB"), ("set_disk_free_limit", "50MB")),
}
"""The `rabbitmqctl` commands that raise each alarm, and those that clear it."""

ROUNDS_ARE_SET = 16_00_00
"""The first PostgreSQL with a setting for the number of SCRAM iterations."""

OWNERS = "pw"
"""The password of the roles that own databases."""

# By default RabbitMQ collects statistics for its management API every 5 s. Every 100 ms took a
# twentieth of a core for the queues of one broker, twice as much as this.
TICK_MS = 250
BROKER_CONFIG = {"collect_statistics_interval": "250", "quorum_tick_interval": str(TICK_MS)}


def _given() -> Settings:
    """Read the servers from the environment, and remove all our variables from it."""
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
os.environ[APP_VARIABLE] = "brokers.app:app"
# Programs that tests start in other folders find the service here, because it is not installed.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])
)


def migrate_all(conn):
    """Apply the service's migrations too, even if the first test that asks has no App."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(APP_VARIABLE, "brokers.app:app")
        get_app.cache_clear()
        apply_pending(conn, list_streams())
    get_app.cache_clear()


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Yield the servers of this run: `database_url`, `broker_url`, `rabbitmq.restart()` and so on.

    When they stop, their data are deleted and their logs are copied to the tests' base folder.
    """
    with in_memory(DevServers(fresh=True, given=GIVEN, broker_config=BROKER_CONFIG)) as started:
        yield started
        for folder in ("logs", "rabbitmq/log"):
            if (logs := started.state.folder / folder).is_dir():
                kept = tmp_path_factory.getbasetemp() / "servers"
                shutil.copytree(logs, kept, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def cluster():
    """A RabbitMQ cluster of three nodes, separate from the session's; it takes 10 s of CPU time.

    It keeps RabbitMQ's default tick interval, because an early tick ends a quorum queue of 4.0.
    """
    three = DevServers(fresh=True, kinds=["rabbitmq"], nodes=3, given=Settings())
    with in_memory(three) as started:
        yield started.rabbitmq


@pytest.fixture
def alarm(servers):
    """`with alarm("memory"):` RabbitMQ has a memory (or disk) alarm and accepts no messages."""

    @contextlib.contextmanager
    def alarm(kind):
        begin, end = ALARMS[kind]
        try:
            servers.rabbitmq.ctl(*begin)  # this may raise the alarm and still fail
            yield
        finally:
            servers.rabbitmq.ctl(*end)

    return alarm


@contextlib.contextmanager
def in_memory(private):
    """Keep the servers' data in memory if there is room, because each test makes a database.

    To the servers it is an ordinary folder: its contents survive the death of all their processes.
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
    """Use one SCRAM iteration, because tests open thousands of connections."""
    again = sql.SQL("SET scram_iterations = 1; ALTER ROLE CURRENT_USER PASSWORD {}")
    with psycopg.connect(server.url, autocommit=True) as conn:
        if conn.info.server_version >= ROUNDS_ARE_SET:
            conn.execute(again.format(server.password))


@pytest.fixture(autouse=True)
def _forget_settings():
    """Keep tests from seeing each other's settings."""
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def no_app(monkeypatch, tmp_path):
    """A project without a `workshed.App`, in its own folder."""
    monkeypatch.delenv(APP_VARIABLE)
    monkeypatch.chdir(tmp_path)
    get_app.cache_clear()
    yield
    get_app.cache_clear()


@pytest.fixture(scope="session")
def warm():
    """`warm.start("dramatiq", "actors", env=…, log=…)`: starts Python with most imports done."""
    with Warm() as process:
        yield process


@pytest.fixture(scope="session")
def eventually():
    """`eventually(predicate)` returns its first true value; on timeout, fails with the last one."""

    def poll(predicate, *, within_s=HANGS_S):
        began = time.monotonic()
        while not (value := predicate()):
            waited = time.monotonic() - began
            if waited > within_s:
                raise AssertionError(f"still {value!r} after {within_s} s\n{other_threads()}")
            # Many predicates query a server, and 100 queries a second cost it most of a core.
            time.sleep(min(0.01 + waited / 20, 0.1))
        return value

    return poll


def other_threads():
    """Return the stack of each other thread of this process."""
    frames = sys._current_frames()
    return "\n".join(
        f"{thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}"
        for thread in threading.enumerate()
        if thread is not threading.current_thread() and thread.ident in frames
    )


# PostgreSQL


@pytest.fixture
def shipped_programs(monkeypatch):
    """Return the folder of the PostgreSQL programs that a user has, regardless of `--postgres`."""
    monkeypatch.setattr(postgres, "find_binaries", SHIPPED)
    return SHIPPED


@pytest.fixture(scope="session")
def programs(servers):
    """The folder of PostgreSQL's programs, such as `psql`."""
    return postgres.find_binaries(servers.state)


@pytest.fixture(scope="session")
def template_database(servers):
    """The name of a migrated database that no test uses directly."""
    with fresh_database(servers.database_url) as name:
        url = sibling(servers.database_url, name)
        with db.Connection.connect(url, autocommit=True) as conn:
            migrate_all(conn)
        yield name


@pytest.fixture(scope="session")
def shared_database(servers, template_database):
    """The database that the tests of this process use in turn."""
    shared = SharedDatabase(servers, template_database)
    yield shared
    shared.close()


@pytest.fixture
def fresh_database_url(servers, template_database):
    """A migrated, empty database made for this test, which may change anything in it."""
    with fresh_database(servers.database_url, template_database) as name:
        yield sibling(servers.database_url, name)


@pytest.fixture(scope="module")
def module_database(servers, template_database):
    """A migrated database whose worker keeps running between a module's tests, and its rows."""
    with fresh_database(servers.database_url, template_database) as name:
        url = sibling(servers.database_url, name)
        with contextlib.closing(open_session(url)) as conn:
            rows = seeds(conn)
        yield url, rows


@pytest.fixture
def database_url(request):
    """A migrated, empty database; with `@pytest.mark.fresh_database`, one made for this test.

    Without that mark, the tests of this process share it: a test may write any rows, but fails if
    it leaves a changed table, function or setting.
    """
    if request.node.get_closest_marker("fresh_database"):
        yield request.getfixturevalue("fresh_database_url")
        return
    if request.node.get_closest_marker("one_worker"):
        url, rows = request.getfixturevalue("module_database")
        yield url
        empty_while_workers_run(url, rows)
        return
    shared = request.getfixturevalue("shared_database")
    yield shared.take()
    if changed := shared.give_back():
        pytest.fail(HINT.format(" and ".join(sorted(changed))), pytrace=False)


@pytest.fixture(scope="session")
def authority():
    """The certificate authority of the test servers; nothing else trusts it."""
    with tls.authority() as made:
        yield made


@pytest.fixture(scope="session")
def ca(authority):
    """The file with that authority's certificate."""
    return authority.file


@pytest.fixture(scope="session")
def owned_template(servers):
    """The names of a migrated database and its owner, who may create roles and is no superuser."""
    owner = f"owner_{secrets.token_hex(6)}"
    run(servers.database_url, f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD '{OWNERS}'")
    with fresh_database(servers.database_url, owner=owner) as name:
        with db.Connection.connect(_owned(servers, name, owner), autocommit=True) as conn:
            migrate_all(conn)
        yield name, owner
    run(servers.database_url, f"DROP ROLE {owner}")


@pytest.fixture
def owned_database_url(servers, owned_template):
    """The URL, as the owner, of a migrated, empty database of this test."""
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
    """A folder that the servers' user can enter, unlike `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="workshed-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def connect(database_url):
    """`connect(autocommit=False)` opens another connection to the database of this test."""
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
    """An administrator's connection, in autocommit, for a database that another role owns."""
    name = urlsplit(database_url).path.removeprefix("/")
    with db.Connection.connect(servers.database_url, dbname=name, autocommit=True) as theirs:
        yield theirs


@pytest.fixture
def no_deletes(connect):
    """`no_deletes(conn)`: deletes from the schedule block until the transaction of `conn` ends."""
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
    """Point `workshed.db` and child processes at the database of this test; yields its URL."""
    monkeypatch.setenv("WORKSHED_DATABASE_URL", database_url)
    settings.cache_clear()
    db.forget_pool()
    yield database_url
    if db.has_pool():
        db.get_pool().close()
    db.forget_pool()
    settings.cache_clear()


def _owned(servers, database, owner):
    parts = urlsplit(sibling(servers.database_url, database))
    at = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{owner}:{OWNERS}@{at}"))


# The test kit


@pytest.fixture(scope="session")
def jobs_other_databases():
    """The databases of other fixtures, and the one in which those create them."""
    return ["postgres", "workshed", "test_*"]


@pytest.fixture(scope="session")
def jobs_server():
    """A PostgreSQL for the kit alone, because some tests stop the shared one."""
    with in_memory(DevServers(fresh=True, kinds=("postgres",), given=GIVEN)) as started:
        yield started.database_url


@pytest.fixture(scope="session")
def jobs_rabbitmq(servers):
    """The session's RabbitMQ, because starting one is slow; each test has its own virtual host."""
    return KitRabbitMQ(servers.broker_url, management(servers))


# RabbitMQ


@pytest.fixture
def managed():
    """`managed(url)`: a management API for a virtual host of this test, deleted afterwards."""
    with contextlib.ExitStack() as stack:
        yield lambda url: stack.enter_context(fresh_vhost(url))


@pytest.fixture(scope="module")
def module_rabbitmq(servers):
    """The management API for a virtual host that the tests of a module share."""
    with fresh_vhost(management(servers)) as api:
        yield api


@pytest.fixture(scope="session")
def shared_vhosts(servers):
    """The virtual hosts that the tests of this process use in turn."""
    shared = Vhosts(servers.broker_url, management(servers))
    yield shared
    shared.close()


@pytest.fixture
def rabbitmq(request):
    """The management API for a virtual host of this test, which has no queues.

    With `@pytest.mark.fresh_vhost` it is new: RabbitMQ has no statistics for it yet and shows no
    connections of earlier tests.
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
    """A mail server whose failures can be set; `WORKSHED_SMTP_URL` leads to it."""
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
def transport(request):
    """By what jobs travel; `@pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)`."""
    return getattr(request, "param", request.config.getoption("transport"))


@pytest.fixture
def broker(request, transport, database, monkeypatch):
    """This process's broker on the test's virtual host and database; children use them too."""
    if transport == "postgresql":
        yield from broker_without_rabbitmq(monkeypatch)
        return
    monkeypatch.setenv("WORKSHED_BROKER_URL", request.getfixturevalue("vhost"))
    settings.cache_clear()
    found = build.get_broker()
    used = build.build_broker(settings())
    for name in (
        "urls",
        "prefix",
        "declared_queues",
        "signing",
        "_publisher",
        "_declarer",
        "_sender",
    ):
        monkeypatch.setattr(found, name, getattr(used, name))
    consumption = RabbitMQConsumption(found, used.urls, used.signing, settings())
    monkeypatch.setattr(found, "_made_consumption", consumption)
    yield found
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT_S", 0.5)  # the server may not answer any more
    found.close()


@pytest.fixture
def any_transport(transport, monkeypatch):
    """For tests with a worker of their own: this process's broker has this transport."""
    if transport == "postgresql":
        yield from broker_without_rabbitmq(monkeypatch)
    else:
        yield


def broker_without_rabbitmq(monkeypatch):
    """Make this process's broker take jobs from PostgreSQL; all modules refer to the object."""
    found = build.get_broker()
    monkeypatch.setenv("WORKSHED_BROKER_URL", build.POSTGRESQL_URL)
    settings.cache_clear()
    used = build.build_broker(settings())
    monkeypatch.setattr(found, "__class__", type(used))
    monkeypatch.setattr(found, "signing", None)
    monkeypatch.setattr(found, "declared_queues", used.declared_queues)
    monkeypatch.setattr(found, "_config", settings(), raising=False)
    monkeypatch.setattr(found, "_wake", used._wake, raising=False)
    monkeypatch.setattr(found, "_made_consumption", TakingConsumption(found, settings()))
    for name in ("urls", "_publisher", "_declarer", "_sender"):  # so that no test uses them here
        monkeypatch.delattr(found, name)
    yield found
    found.close()


def pytest_configure(config):
    """Let the thousand processes of a run share bytecode, whatever the shell sets.

    Otherwise each compiles all our modules that it imports, a third of its start-up time.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if programs := config.getoption("postgres"):
        postgres.find_binaries = lambda _: Path(programs)


def pytest_addoption(parser):
    """Add our options; `--full` runs campaigns at full scale instead of a tenth of it."""
    parser.addoption("--full", action="store_true", help="run campaigns at full scale")
    parser.addoption("--postgres", metavar="FOLDER", help="programs of another PostgreSQL")
    parser.addoption(
        "--transport", choices=TRANSPORTS, default=TRANSPORTS[0], help="by what jobs travel"
    )
    parser.addoption("--fault-report", metavar="FILE", help="write what an experiment counted")
    parser.addoption("--fault-seed", type=int, help="the seed of an experiment, to repeat it")


@pytest.fixture(scope="session")
def scale(request):
    """`scale(500)` returns 500 at full scale and a tenth otherwise; use `by=30` for slow things."""
    full = request.config.getoption("full")
    return lambda number, by=10: number if full else number // by


@pytest.fixture
def in_threads():
    """Run a function for each item in that many threads; re-raises their errors."""

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
    """`counted("jobs_total", actor="greet", …)` returns what this process has counted so far.

    `namespace="shop"` selects an application's own metrics.
    """
    if isinstance(metric._state.store, FileStore):  # another test had a page in this process
        metric.set_enabled(on=False)
    metric.set_enabled(on=True)  # usually done when a broker is built

    def value(name, *, namespace="workshed", **labels):
        return REGISTRY.get_sample_value(f"{namespace}_{name}", labels) or 0

    return value


# The network


@pytest.fixture
def proxy():
    """`proxy(url)`: a proxy in front of that URL's server that cuts, stalls, half-opens and so on.

    `.url(url)` leads through it.
    """
    with contextlib.ExitStack() as opened:

        def before(url):
            parts = urlsplit(url)
            return opened.enter_context(Proxy(parts.hostname, parts.port))

        yield before


# Monitoring


@pytest.fixture
def sentry():
    """A fake Sentry that stores what it receives, at `sentry.dsn`."""
    with Ingest() as ingest:
        yield ingest
