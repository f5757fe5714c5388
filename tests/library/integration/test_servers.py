"""The private servers: started, found, watched, stopped, and never left behind."""

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pika
import psycopg
import pytest

from tests.processes import popen
from tests.root import ROOT
from workshed.devserver import DevServers, NotInstalledError, ServerError, install, state
from workshed.devserver.account import ServerAccount, server_account
from workshed.devserver.ports import find_free_ports
from workshed.devserver.postgres import PACKAGE, PostgreSQLServer
from workshed.devserver.process import READY_S
from workshed.devserver.rabbitmq import RabbitMQServer
from workshed.settings import Settings

pytestmark = pytest.mark.one_in(3)  # each test starts programs of its own


HOLD = """
import json, sys, time
from pathlib import Path
from workshed.devserver import DevServers
with DevServers(Path(sys.argv[1]) if sys.argv[1:] else None) as servers:
    print(json.dumps({"state": str(servers.state.folder), **servers.environment()}), flush=True)
    time.sleep(300)
"""


@pytest.fixture(scope="module")
def private(servers):
    """The servers of the session, or own ones if the shell names others."""
    if servers.postgres and servers.rabbitmq:
        yield servers
    else:
        with DevServers(fresh=True, given=Settings()) as own:
            yield own


@pytest.fixture
def claim(open_folder):
    with state.lock_folder(open_folder) as claimed:
        yield claimed


@pytest.fixture(scope="module")
def cluster():
    """The folder of servers whose data are created only once, because that takes long."""
    with state.lock_temporary_folder() as claimed:
        yield claimed


@pytest.fixture
def postgres(cluster):
    server = PostgreSQLServer(cluster)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def node(cluster, taken_port):
    """A node of its own, one of whose ports was taken when it started."""
    server = RabbitMQServer(cluster, install.ensure_installed(print))
    server.ports["distribution"] = taken_port
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def taken_port():
    """The port of a program that accepts connections, never answers, and does not exit."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


WITH_DATA = ("postgres", "beam.smp")
GONE = (FileNotFoundError, ProcessLookupError)


def descendants(pid):
    """Return all processes below this one: name and owner by process id."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(*GONE):
            for child in map(int, task.read_text().split()):
                found |= descendants(child)
                found[child] = (proc(child, "comm").read_text().strip(), proc(child).stat().st_uid)
    return found


def proc(pid, name=""):
    return Path("/proc", str(pid), name)


def runs(pid):
    try:
        return proc(pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except GONE:
        return False


def listens_at(pids):
    """Return the addresses, as in /proc, on which any of these processes listens."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(*GONE):
            inodes |= {str(fd.readlink()) for fd in proc(pid, "fd").iterdir()}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = row.split()
            if columns[3] == "0A" and f"socket:[{columns[9]}]" in inodes:
                addresses.add(columns[1].partition(":")[0])
    return addresses


@contextlib.contextmanager
def holder(*words, as_unprivileged=False, **environ):
    """Run a process that holds servers of its own; yield it and its output."""
    command = [sys.executable, "-c", HOLD, *map(str, words)]
    if as_unprivileged and os.geteuid() == 0:
        command = ["setpriv", *unprivileged(), "--", *command]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    with popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        yield child, json.loads(child.stdout.readline())
        child.kill()


def unprivileged():
    user = server_account()
    options = ["--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups"]
    if not all(map(user.can_read, (Path(sys.executable), Path(__file__)))):
        # The files are in a closed home: let this user read there, and nothing else.
        options += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    return options


def test_servers_listen_on_loopback_only_and_require_their_password(private):
    for url in (private.database_url, private.broker_url):
        assert "@127.0.0.1:" in url
    pids = [private.postgres.pid, private.rabbitmq.pid, private.rabbitmq.mapper.process.pid]
    for parent in list(pids):
        pids += descendants(parent)

    assert listens_at(pids) <= {"0100007F", "00000000000000000000000001000000"}

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(private.database_url.replace(private.postgres.password, "guess"))
    url = pika.URLParameters(private.broker_url.replace(private.rabbitmq.password, "guess"))
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(url)


@pytest.mark.usefixtures("shipped_programs")
def test_a_killed_parent_leaves_no_process_and_the_next_one_finds_its_data(
    private, open_folder, eventually
):
    with holder(open_folder / "state") as (parent, first):
        client = psycopg.connect(first["WORKSHED_DATABASE_URL"], autocommit=True)
        client.execute("CREATE TABLE kept AS SELECT 7 AS number")
        family = descendants(parent.pid)
        names = {name for name, _ in family.values()}
        assert {"postgres", "beam.smp", "epmd", "erl_child_setup"} <= names

        parent.kill()  # while a client is connected

    # The folder stays claimed until the last server has stopped; then it is the same one.
    with state.lock_folder(open_folder / "state") as again:
        assert not any(runs(pid) for pid, (name, _) in family.items() if name in WITH_DATA)
        eventually(lambda: not any(map(runs, family)))
        server = PostgreSQLServer(again)
        server.start()
        assert server.url == first["WORKSHED_DATABASE_URL"]
        with psycopg.connect(server.url) as conn:
            assert conn.execute("SELECT number FROM kept").fetchone() == (7,)
        server.stop()
    client.close()
    private.check()  # the session's servers were not disturbed


@pytest.mark.exhaustive
def test_an_ordinary_user_with_a_closed_home_leaves_nothing_either(
    private, open_folder, eventually
):
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    server_account().make_owner(home)

    with holder(as_unprivileged=True, HOME=str(home)) as (parent, first):
        family = descendants(parent.pid)
        parent.kill()

    assert first["state"] == str(home / ".local/state/workshed-dev")
    assert {owner for _, owner in family.values()} == {server_account().uid}
    eventually(lambda: not any(map(runs, family)))
    private.check()


def test_programs_in_a_closed_folder_are_copied_out(
    open_folder, claim, shipped_programs, monkeypatch
):
    site = open_folder / "site"
    source = shipped_programs(claim).parents[1]
    for name in (PACKAGE, f"{PACKAGE}.libs"):
        shutil.copytree(source.with_name(name), site / name, symlinks=True)
    site.chmod(0o700)
    monkeypatch.syspath_prepend(str(site))

    server = PostgreSQLServer(claim)
    server.start()
    server.stop()

    outside = site if os.geteuid() else claim.folder
    assert server.binaries.is_relative_to(outside)
    assert PACKAGE not in sys.modules


def test_a_port_that_was_taken_before_the_first_start_is_replaced(postgres, taken_port):
    postgres.ports = {"postgres": taken_port}

    postgres.start()

    assert postgres.ports["postgres"] != taken_port
    with psycopg.connect(postgres.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


CHOOSE = """
import sys
from workshed.devserver import ports
ports.PORT_RANGE = list(map(int, sys.argv[1:]))
print({ports.find_free_ports(1)[0] for _ in range(50)})
"""


def test_no_other_process_chooses_the_port_of_a_server_that_is_down(postgres):
    """RabbitMQ was restarted, another process had its port by then, and 900 tests failed."""
    postgres.start()
    port = postgres.ports["postgres"]
    postgres.stop()
    [other] = find_free_ports(1)

    command = [sys.executable, "-c", CHOOSE, str(port), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout == f"{{{other}}}\n", done.stderr
    postgres.start()
    assert postgres.ports["postgres"] == port


def test_a_known_port_that_is_taken_for_a_moment_is_waited_for(postgres):
    """A test that restarted RabbitMQ once lost its port to another, and all later tests failed."""
    postgres.start()
    port = postgres.ports["postgres"]
    postgres.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        postgres.launch()
        postgres.process.wait(60)  # it cannot listen there
        threading.Timer(1, taken.close).start()
        postgres.wait()

    assert postgres.ports["postgres"] == port
    with psycopg.connect(postgres.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_rabbitmq_replaces_a_port_too(node, taken_port):
    assert taken_port not in node.ports.values()
    pika.BlockingConnection(pika.URLParameters(node.url)).close()


def test_rabbitmq_starts_no_port_mapper_that_would_outlive_it(node):
    # The node does this every minute; here it does so just after its port mapper was killed.
    kill = f'os:cmd("kill -9 {node.mapper.process.pid}")'
    node.ctl("eval", f"{kill}, timer:sleep(100), rabbit_nodes_common:ensure_epmd().")

    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", node.ports["epmd"])) == errno.ECONNREFUSED


def test_a_server_that_stops_while_starting_is_reported_at_once_with_its_log(postgres):
    postgres.start()
    postgres.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", postgres.ports["postgres"]))
        taken.listen()
        began = time.monotonic()

        with pytest.raises(ServerError, match="Address already in use"):
            postgres.start()  # its port is known by now, so it may not take another

    assert time.monotonic() - began < READY_S


def test_a_stale_pid_file_that_names_a_living_process_is_no_obstacle(postgres):
    postgres.start()
    postgres.stop()
    command = server_account().wrap_command("sleep", "60", death=signal.SIGKILL)
    with popen(command) as sleeper:
        pid_file = postgres.data / "postmaster.pid"
        pid_file.write_text(f"{sleeper.pid}\n{postgres.data}\n0\n{postgres.ports['postgres']}\n")
        server_account().make_owner(pid_file)

        postgres.start()

        sleeper.kill()


def test_a_server_that_stopped_unexpectedly_is_noticed(postgres):
    postgres.start()
    os.kill(postgres.pid, signal.SIGTERM)
    postgres.process.wait()

    with pytest.raises(ServerError, match=r"stopped \(exit code 0\)[\s\S]*shut down"):
        postgres.check()


def test_postgres_recovers_after_an_immediate_stop(postgres):
    postgres.start()
    url = postgres.url
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE of_before AS SELECT 7 AS number")

    postgres.stop_at_once()
    postgres.start()

    assert postgres.url == url
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT number FROM of_before").fetchone() == (7,)


def test_rabbitmq_keeps_ports_and_data_over_a_kill(private):
    url = pika.URLParameters(private.broker_url)
    with pika.BlockingConnection(url) as connection:
        connection.channel().queue_declare("kept", durable=True)
    # For some seconds the list of queues is in memory only.
    private.rabbitmq.ctl("eval", "mnesia:sync_log().")

    private.rabbitmq.kill()
    private.rabbitmq.start()

    with pika.BlockingConnection(url) as connection:
        connection.channel().queue_declare("kept", passive=True)
        connection.channel().queue_delete("kept")


def test_a_failing_rabbitmqctl_says_why(private):
    with pytest.raises(ServerError, match="rabbitmqctl forget_everything: "):
        private.rabbitmq.ctl("forget_everything")


def test_servers_that_the_environment_names_are_used_and_none_is_started(open_folder, monkeypatch):
    for name in ("WORKSHED_STORAGE_URL", "WORKSHED_SECRET_KEY"):  # set by the tests of the kit
        monkeypatch.delenv(name, raising=False)
    given = Settings(
        broker_url="amqp://guest:guest@rabbit.invalid/",
        database_url="postgresql://db.invalid/app",
        smtp_url="maildir:/srv/mail",
    )

    with DevServers(open_folder, given=given) as servers:
        assert (servers.postgres, servers.rabbitmq, servers.mail) == (None, None, None)
        assert servers.maildir == Path("/srv/mail")
        assert servers.environment() == {
            "WORKSHED_DATABASE_URL": "postgresql://db.invalid/app",
            "WORKSHED_BROKER_URL": "amqp://guest:guest@rabbit.invalid/",
            "WORKSHED_SMTP_URL": "maildir:/srv/mail",
            "WORKSHED_STORAGE_URL": f"file:{open_folder}/storage",
            "WORKSHED_SECRET_KEY": servers.secret_key,
        }


def test_a_storage_url_and_a_key_in_the_environment_are_used(open_folder):
    names = ("database_url", "broker_url", "smtp_url")
    urls = dict(zip(names, ("postgresql://db/app", "stub://", "maildir:/srv/mail"), strict=True))
    given = Settings(**urls, storage_url="s3://bucket", secret_key="k" * 32)

    with DevServers(open_folder, given=given) as servers:
        assert servers.environment()["WORKSHED_STORAGE_URL"] == "s3://bucket"
        assert servers.environment()["WORKSHED_SECRET_KEY"] == "k" * 32


def test_the_key_of_a_folder_is_kept_until_the_folder_is_wiped(open_folder):
    given = Settings(database_url="postgresql://d/a", broker_url="stub://", smtp_url="maildir:/m")

    with DevServers(open_folder, given=given) as first:
        key = first.secret_key
    with DevServers(open_folder, given=given) as second:
        assert second.secret_key == key
    with state.lock_folder(open_folder) as held:
        held.wipe()
    with DevServers(open_folder, given=given) as wiped:
        assert wiped.secret_key != key


def test_a_folder_in_use_is_refused(claim):
    with pytest.raises(ServerError, match="is in use"), state.lock_folder(claim.folder):
        pass


def test_a_second_instance_of_the_same_user_takes_the_next_folder(open_folder, monkeypatch):
    monkeypatch.setattr(state, "default_folder", lambda: open_folder / state.FOLDER_NAME)

    with state.lock_folder() as first, state.lock_folder() as second:
        assert first.folder == open_folder / "workshed-dev"
        assert second.folder == open_folder / "workshed-dev-2"


def test_each_project_finds_its_own_data(open_folder, tmp_path, monkeypatch):
    """Otherwise the one that is started first has those of the other, and `--reset` wipes them."""
    monkeypatch.setattr(state, "default_folder", lambda: open_folder / state.FOLDER_NAME)
    for name in ("billing", "shop"):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "pyproject.toml").touch()

    def use(name):
        monkeypatch.chdir(tmp_path / name)
        with state.lock_folder() as found:
            return found.folder.name

    assert [use("billing"), use("shop")] == ["workshed-dev", "workshed-dev-2"]
    assert [use("shop/src"), use("billing/src")] == ["workshed-dev-2", "workshed-dev"]
    shutil.rmtree(tmp_path / "billing")
    (tmp_path / "third").mkdir()
    assert use("third") == "workshed-dev"  # of a project that is gone


def test_a_folder_that_the_servers_cannot_enter_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        state, "server_account", lambda: ServerAccount(os.geteuid() + 1, os.getegid())
    )
    tmp_path.chmod(0o700)

    with pytest.raises(ServerError, match="choose one with --state"):
        state.lock_folder(tmp_path / "state").__enter__()


def test_wiping_spares_files_that_the_servers_did_not_make(claim):
    (claim.folder / "thesis.txt").touch()
    claim.create_subfolder("postgres")
    claim.write_notes(postgres_port="21000")

    claim.wipe()

    assert (claim.folder / "thesis.txt").exists()
    assert not (claim.folder / "postgres").exists()
    assert claim.read_notes() == {}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_STATE_HOME": "/xdg", "HOME": "{home}"}, "/xdg/workshed-dev"),
        ({"XDG_STATE_HOME": "relative", "HOME": "{home}"}, "{home}/.local/state/workshed-dev"),
        ({"HOME": "{home}"}, "{home}/.local/state/workshed-dev"),
        ({"HOME": ""}, "{account}/.local/state/workshed-dev"),
        ({}, "{account}/.local/state/workshed-dev"),
        ({"HOME": "/nonexistent"}, "{tmp}/workshed-dev-of-{uid}"),
    ],
)
def test_the_default_folder_of_an_ordinary_user(environ, expected, tmp_path, monkeypatch):
    home, of_account = tmp_path / "home", tmp_path / "account"
    home.mkdir()
    of_account.mkdir()
    monkeypatch.setattr(state, "server_account", lambda: ServerAccount(os.geteuid(), os.getegid()))
    monkeypatch.setattr(state, "_home_of_account", lambda: str(of_account))
    monkeypatch.setattr(state.tempfile, "gettempdir", lambda: str(tmp_path))
    for name in ("XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value.format(home=home))

    folder = state.default_folder()

    values = {"home": home, "account": of_account, "tmp": tmp_path, "uid": os.geteuid()}
    assert str(folder) == expected.format(**values)


def test_a_missing_rabbitmq_is_explained_for_each_system():
    with pytest.raises(NotInstalledError) as caught:
        install.ensure_installed(print, places=())

    for words in ("apt-get install", "dnf install", "brew install", "WORKSHED_BROKER_URL"):
        assert words in str(caught.value)


def test_rabbitmq_is_found_in_the_places_of_other_systems(tmp_path):
    for version in ("4.0.5", "4.1.2"):
        folder = tmp_path / f"rabbitmq_server-{version}" / "sbin"
        folder.mkdir(parents=True)
        (folder / "rabbitmq-server").touch(mode=0o755)

    found = install.find_scripts(
        [str(tmp_path / "absent"), str(tmp_path / "rabbitmq_server-*/sbin")]
    )

    assert found == folder


def test_installing_starts_no_service_and_keeps_the_system_s_policy(tmp_path):
    policy = tmp_path / "policy-rc.d"
    with install.prevent_service_start(policy):
        refused = subprocess.run([str(policy), "rabbitmq-server", "start"], check=False)
        assert refused.returncode == 101
    assert not policy.exists()

    policy.write_text("theirs")
    with install.prevent_service_start(policy):
        pass
    assert policy.read_text() == "theirs"
