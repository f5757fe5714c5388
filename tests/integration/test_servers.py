"""The private servers: started, found, watched, stopped, and never left behind."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pika
import psycopg
import pytest

from console.servers import NotInstalledError, ServerError, Servers, install, state
from console.servers.account import Account, account
from console.servers.postgres import PACKAGE, PostgreSQL, binaries
from console.servers.process import READY_S
from console.servers.rabbitmq import RabbitMQ
from workshed.settings import Settings

ROOT = Path(__file__).parents[2]

HOLD = """
import json, sys, time
from pathlib import Path
from console.servers import Servers
with Servers(Path(sys.argv[1]) if sys.argv[1:] else None) as servers:
    print(json.dumps({"state": str(servers.state.folder), **servers.environment()}), flush=True)
    time.sleep(300)
"""


@pytest.fixture
def claim(open_folder):
    with state.claimed(open_folder) as claimed:
        yield claimed


@pytest.fixture(scope="module")
def cluster():
    """The folder of a cluster that is made once, since that takes most of the time."""
    with state.temporary() as claimed:
        yield claimed


@pytest.fixture
def postgres(cluster):
    server = PostgreSQL(cluster)
    yield server
    server.stop()


@pytest.fixture
def stranger():
    """A program that took a port before us, answers nobody and does not go away."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def descendants(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def runs(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def listens_at(pids):
    """The addresses, as /proc writes them, on which any of these processes listens."""
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                inodes.add(str(fd.readlink()))
    addresses = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = row.split()
            if columns[3] == "0A" and f"socket:[{columns[9]}]" in inodes:
                addresses.add(columns[1].partition(":")[0])
    return addresses


@contextlib.contextmanager
def holder(*words, as_nobody=False, **environ):
    """A process that holds servers of its own, and what it says of them."""
    command = [sys.executable, "-c", HOLD, *map(str, words)]
    if as_nobody and os.geteuid() == 0:
        command = ["setpriv", *unprivileged(), "--", *command]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child, json.loads(child.stdout.readline())
        finally:
            child.kill()


def unprivileged():
    user = account()
    options = ["--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups"]
    if not user.reads(Path(sys.executable)):
        # The interpreter is in a home that is closed: let this user read there, and nothing else.
        options += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    return options


def test_servers_listen_on_loopback_only_and_want_their_password(servers):
    for url in (servers.database_url, servers.broker_url):
        assert "@127.0.0.1:" in url
    pids = [*descendants(servers.postgres.pid), *descendants(servers.rabbitmq.pid)]
    pids += [servers.postgres.pid, servers.rabbitmq.pid, servers.rabbitmq.epmd.pid]

    assert listens_at(pids) <= {"0100007F", "00000000000000000000000001000000"}

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(servers.database_url.replace(servers.postgres.password, "guess"))
    url = pika.URLParameters(servers.broker_url.replace(servers.rabbitmq.password, "guess"))
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(url)


def test_a_killed_parent_leaves_no_process_and_the_next_one_finds_its_data(
    servers, open_folder, eventually
):
    with holder(open_folder / "state") as (parent, first):
        with psycopg.connect(first["WORKSHED_DATABASE_URL"]) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS number")
        family = descendants(parent.pid)
        names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in family}
        assert {"postgres", "beam.smp", "epmd", "erl_child_setup"} <= names

        parent.kill()

    # The folder is not free before the last server has stopped, and then it is the same one.
    with state.claimed(open_folder / "state") as again:
        eventually(lambda: not any(map(runs, family)))
        server = PostgreSQL(again)
        server.start()
        assert server.url == first["WORKSHED_DATABASE_URL"]
        with psycopg.connect(server.url) as conn:
            assert conn.execute("SELECT number FROM kept").fetchone() == (7,)
        server.stop()
    servers.check()  # those beside them were not disturbed


def test_an_ordinary_user_with_a_closed_home_leaves_nothing_either(
    servers, open_folder, eventually
):
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    account().give(home)

    with holder(as_nobody=True, HOME=str(home)) as (parent, first):
        family = descendants(parent.pid)
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in family}
        parent.kill()

    assert first["state"] == str(home / ".local/state/workshed-dev")
    assert owners == {account().uid}
    eventually(lambda: not any(map(runs, family)))
    servers.check()


def test_programs_in_a_closed_folder_are_copied_out(open_folder, claim, monkeypatch):
    site = open_folder / "site"
    source = binaries(claim).parents[1]
    for name in (PACKAGE, f"{PACKAGE}.libs"):
        shutil.copytree(source.with_name(name), site / name, symlinks=True)
    site.chmod(0o700)
    monkeypatch.syspath_prepend(str(site))

    server = PostgreSQL(claim)
    server.start()
    server.stop()

    outside = site if os.geteuid() else claim.folder
    assert server.binaries.is_relative_to(outside)
    assert PACKAGE not in sys.modules


def test_a_port_that_was_taken_meanwhile_is_replaced(postgres, stranger):
    postgres.ports = {"postgres": stranger}

    postgres.start()

    assert postgres.ports["postgres"] != stranger
    with psycopg.connect(postgres.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_rabbitmq_replaces_a_port_that_a_stranger_answers_on(claim, stranger):
    server = RabbitMQ(claim, install.ensure(print))
    server.ports["amqp"] = stranger

    server.start()

    try:
        assert server.ports["amqp"] != stranger
        pika.BlockingConnection(pika.URLParameters(server.url)).close()
    finally:
        server.stop()


def test_a_server_that_stops_while_starting_is_reported_at_once_with_its_log(postgres):
    postgres.start()
    postgres.stop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", postgres.ports["postgres"]))
        taken.listen()
        began = time.monotonic()

        with pytest.raises(ServerError, match="Address already in use"):
            postgres.start()  # its port is known by now, so it may not take another

    assert time.monotonic() - began < READY_S / 2


def test_a_server_that_stopped_by_itself_is_noticed(postgres):
    postgres.start()
    os.kill(postgres.pid, signal.SIGTERM)
    postgres.process.wait()

    with pytest.raises(ServerError, match=r"stopped \(exit code 0\)[\s\S]*shut down"):
        postgres.check()


def test_postgres_recovers_after_it_was_stopped_at_once(postgres):
    postgres.start()
    url = postgres.url
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE of_before AS SELECT 7 AS number")

    postgres.stop_at_once()
    postgres.start()

    assert postgres.url == url
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT number FROM of_before").fetchone() == (7,)


def test_rabbitmq_keeps_ports_and_data_over_a_kill(servers, rabbitmq, vhost):
    with pika.BlockingConnection(pika.URLParameters(vhost)) as connection:
        connection.channel().queue_declare("kept", durable=True)

    servers.rabbitmq.kill()
    servers.rabbitmq.start()

    with pika.BlockingConnection(pika.URLParameters(vhost)) as connection:
        connection.channel().queue_declare("kept", passive=True)
    assert rabbitmq.vhost in servers.rabbitmq.ctl("list_vhosts")


def test_a_failing_rabbitmqctl_says_why(servers):
    with pytest.raises(ServerError, match="rabbitmqctl forget_everything: "):
        servers.rabbitmq.ctl("forget_everything")


def test_servers_that_the_environment_names_are_used_and_none_is_started(open_folder):
    given = Settings(
        broker_url="amqp://guest:guest@rabbit.invalid/",
        database_url="postgresql://db.invalid/app",
        smtp_url="maildir:/srv/mail",
    )

    with Servers(open_folder, given=given) as servers:
        assert (servers.postgres, servers.rabbitmq, servers.mail) == (None, None, None)
        assert servers.maildir == Path("/srv/mail")
        assert servers.environment() == {
            "WORKSHED_DATABASE_URL": "postgresql://db.invalid/app",
            "WORKSHED_BROKER_URL": "amqp://guest:guest@rabbit.invalid/",
            "WORKSHED_SMTP_URL": "maildir:/srv/mail",
        }


def test_a_folder_in_use_is_refused(claim):
    with pytest.raises(ServerError, match="is in use"), state.claimed(claim.folder):
        pass


def test_a_second_copy_of_the_same_user_takes_the_next_folder(open_folder, monkeypatch):
    monkeypatch.setattr(state, "default_folder", lambda: open_folder / state.NAME)

    with state.claimed() as first, state.claimed() as second:
        assert first.folder == open_folder / "workshed-dev"
        assert second.folder == open_folder / "workshed-dev-2"


def test_a_folder_the_servers_cannot_enter_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "account", lambda: Account(65534, 65534))
    tmp_path.chmod(0o700)

    with pytest.raises(ServerError, match="choose one with --state"):
        state.claimed(tmp_path / "state").__enter__()


def test_wiping_spares_what_the_servers_did_not_make(claim):
    (claim.folder / "thesis.txt").touch()
    claim.subfolder("postgres")
    claim.note(postgres_port="21000")

    claim.wipe()

    assert (claim.folder / "thesis.txt").exists()
    assert not (claim.folder / "postgres").exists()
    assert claim.notes() == {}


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
def test_the_folder_of_an_ordinary_user(environ, expected, tmp_path, monkeypatch):
    home, of_account = tmp_path / "home", tmp_path / "account"
    home.mkdir()
    of_account.mkdir()
    monkeypatch.setattr(state, "account", lambda: Account(os.geteuid(), os.getegid()))
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
        install.ensure(print, places=())

    for words in ("apt-get install", "dnf install", "brew install", "WORKSHED_BROKER_URL"):
        assert words in str(caught.value)


def test_rabbitmq_is_found_where_other_systems_put_it(tmp_path):
    for version in ("4.0.5", "4.1.2"):
        folder = tmp_path / f"rabbitmq_server-{version}" / "sbin"
        folder.mkdir(parents=True)
        (folder / "rabbitmq-server").touch(mode=0o755)

    found = install.find([str(tmp_path / "absent"), str(tmp_path / "rabbitmq_server-*/sbin")])

    assert found == folder


def test_installing_starts_no_service_and_leaves_the_system_s_policy_alone(tmp_path):
    policy = tmp_path / "policy-rc.d"
    with install.no_services_started(policy):
        refused = subprocess.run([str(policy), "rabbitmq-server", "start"], check=False)
        assert refused.returncode == 101
    assert not policy.exists()

    policy.write_text("theirs")
    with install.no_services_started(policy):
        pass
    assert policy.read_text() == "theirs"
