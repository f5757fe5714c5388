"""`workshed dev` as a person or a test kit runs it."""

import contextlib
import json
import os
import pty
import re
import signal
import smtplib
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pika
import psycopg
import pytest

from tests import pages
from tests.processes import popen
from tests.promises import keys
from tests.transcripts import check, steps
from workshed.devserver import state

WORKSHED = [sys.executable, "-m", "workshed"]
[(CLUSTER, REPORTED)] = steps(pages.block("docs/servers.md", "$ workshed dev --nodes"))
CHOICE = pages.block("docs/without-rabbitmq.md", "export WORKSHED_BROKER_URL").removeprefix(
    "export "
)
PIDS = {re.compile(r"(?<=@localhost )\d+"): "PID"}


@contextlib.contextmanager
def dev(*options):
    """Run it and yield the process; terminate it afterwards."""
    command = [*WORKSHED, "dev", *map(str, options)]
    pipe = subprocess.PIPE
    with popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        yield process
        process.terminate()


@pytest.fixture(scope="module")
def folder():
    """A state folder whose cluster is made once, because that takes most of the time."""
    with state.lock_temporary_folder() as claimed:
        path = claimed.folder / "state"
        yield path


WITHOUT_ROOT = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
HIDE_RABBITMQ = 'mount -t tmpfs none /usr/lib/rabbitmq && exec "$@"'


@pytest.fixture
def newcomer(open_folder, monkeypatch):
    """`newcomer("dev")`: run a command as a user who has no RabbitMQ and cannot install it."""
    monkeypatch.delenv("WORKSHED_DATABASE_URL", raising=False)
    monkeypatch.delenv("WORKSHED_BROKER_URL", raising=False)
    monkeypatch.delenv("WORKSHED_MANAGEMENT_URL", raising=False)
    monkeypatch.setenv("HOME", str(open_folder))
    open_folder.chmod(0o777)
    apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", HIDE_RABBITMQ, "sh"]
    pipe = subprocess.PIPE
    return lambda *words: popen(
        [*apart, *WITHOUT_ROOT, *WORKSHED, *words],
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def urls(process):
    return json.loads(process.stdout.readline())


def connect_to(url):
    parts = urlsplit(url)
    socket.create_connection((parts.hostname, parts.port)).close()


def test_all_servers_serve_until_they_are_stopped(open_folder):
    with dev("--json", "--state", open_folder) as process:
        known = urls(process)
        assert list(known) == keys("dev")
        with psycopg.connect(known["database_url"]) as conn:
            assert conn.execute("SELECT count(*) FROM workshed.schedule").fetchone() == (0,)
            assert conn.execute("SELECT to_regnamespace('shop')::text").fetchone()[0]
        pika.BlockingConnection(pika.URLParameters(known["broker_url"])).close()
        host, _, port = known["smtp_url"].removeprefix("smtp://").partition(":")
        with smtplib.SMTP(host, int(port)) as client:
            client.sendmail("a@example.org", "b@example.org", "\r\n")
        assert len(list(Path(known["maildir"], "new").iterdir())) == 1

        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 0
    for url in (known["database_url"], known["broker_url"], known["smtp_url"]):
        with pytest.raises(ConnectionRefusedError):
            connect_to(url)


def test_people_get_lines_to_copy_on_stdout_and_the_rest_on_stderr(folder):
    with dev("--postgres", "--state", folder) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        talk = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)

    names = ("DATABASE_URL=postgresql://", "STORAGE_URL=file:", "SECRET_KEY=")
    for line, name in zip(lines, names, strict=True):
        assert line.startswith(f"export WORKSHED_{name}")
    assert rest == ""
    assert f"Data stays in {folder}" in talk
    assert process.returncode == 0


def test_data_stay_and_reset_wipes_them(folder):
    with dev("--postgres", "--json", "--state", folder) as process:
        first = urls(process)
        with psycopg.connect(first["database_url"]) as conn:
            conn.execute("CREATE TABLE kept ()")
    with dev("--postgres", "--json", "--state", folder) as process:
        assert urls(process) == first
        with psycopg.connect(first["database_url"]) as conn:
            conn.execute("SELECT FROM kept")
    with dev("--postgres", "--json", "--state", folder, "--reset", "--yes") as process:
        again = urls(process)["database_url"]
        assert again != first["database_url"]
        with psycopg.connect(again) as conn:
            assert conn.execute("SELECT to_regclass('kept')").fetchone() == (None,)


@pytest.mark.parametrize("answer", ["n", ""], ids=["no", "return"])
def test_reset_asks_at_a_terminal_and_a_no_changes_nothing(open_folder, answer):
    with state.lock_folder(open_folder) as held:
        (held.create_subfolder("postgres") / "kept").touch()
    terminal, its_side = pty.openpty()
    with popen(
        [*WORKSHED, "dev", "--reset", "--state", str(open_folder)],
        stdin=its_side,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.write(terminal, f"{answer}\n".encode())
        _, talk = process.communicate(timeout=120)
    for side in (terminal, its_side):
        os.close(side)

    assert process.returncode == 1
    assert f"Wipe 1 file of 0 bytes in {open_folder} (postgres)? [y/N]" in talk
    assert (open_folder / "postgres/kept").exists()


def test_a_fresh_one_leaves_nothing():
    with dev("--postgres", "--json", "--fresh") as process:
        kept = Path(urls(process)["state"])
        assert (kept / "postgres").exists()

    assert not kept.exists()


def test_it_ends_with_the_process_that_asked_for_json(open_folder, eventually):
    script = f"""
import subprocess, sys
words = [sys.executable, "-m", "workshed", "dev", "--json", "--postgres"]
words += ["--state", {str(open_folder)!r}]
child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), flush=True)
sys.stdin.read()
"""
    pipe = subprocess.PIPE
    with popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True) as parent:
        url = urls(parent)["database_url"]
        connect_to(url)

        parent.kill()

    def is_closed():
        with contextlib.suppress(ConnectionRefusedError):
            connect_to(url)
            return False
        return True

    eventually(is_closed)


def test_a_server_that_dies_ends_it_with_the_log(folder):
    with dev("--postgres", "--json", "--state", folder) as process:
        url = urls(process)["database_url"]
        pid = int((folder / "postgres/cluster/postmaster.pid").read_text().split()[0])
        connect_to(url)

        os.kill(pid, signal.SIGTERM)
        _, talk = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "PostgreSQL stopped" in talk
    assert "database system is shut down" in talk
    assert "Traceback" not in talk


def test_a_second_one_on_the_same_folder_says_so(folder):
    with dev("--postgres", "--json", "--state", folder) as process:
        urls(process)
        with dev("--postgres", "--state", folder) as second:
            _, talk = second.communicate(timeout=120)

    assert second.returncode == 1
    assert talk == f"workshed: {folder} is in use by another `workshed dev`; stop that one first\n"


def test_a_named_database_is_used_as_it_is(database, open_folder):
    with dev("--postgres", "--json", "--state", open_folder) as process:
        assert urls(process)["database_url"] == database

    assert not (open_folder / "postgres").exists()


@pytest.mark.parametrize("named", [True, False], ids=["named", "private"])
def test_it_names_the_variables_that_take_the_place_of_a_server(
    database, open_folder, monkeypatch, named
):
    """They may be left of an earlier run, whose `export` lines this terminal has read."""
    if not named:
        monkeypatch.delenv("WORKSHED_DATABASE_URL")
    with dev("--postgres", "--state", open_folder) as process:
        assert process.stdout.readline().startswith("export WORKSHED_DATABASE_URL=")
        process.send_signal(signal.SIGTERM)
        _, talk = process.communicate(timeout=120)

    words = "WORKSHED_DATABASE_URL is set: no private server runs in its place"
    assert (words in talk) is named


def test_a_named_database_that_does_not_answer_is_an_error_that_says_what_to_do(
    open_folder, monkeypatch
):
    monkeypatch.setenv("WORKSHED_DATABASE_URL", "postgresql://ada:secret@127.0.0.1:9/shop")
    with dev("--postgres", "--state", open_folder) as process:
        _, talk = process.communicate(timeout=120)

    assert talk.startswith("workshed: PostgreSQL does not answer at 127.0.0.1:9/shop (WORKSHED_DA")
    assert "unset WORKSHED_DATABASE_URL for a private server" in talk
    assert "Traceback" not in talk
    assert "secret" not in talk
    assert process.returncode == 4


def test_install_only_says_nothing_where_nothing_is_missing():
    done = subprocess.run(
        [*WORKSHED, "dev", "--install-only"], capture_output=True, text=True, check=True
    )

    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("by", ["option", "environment"])
def test_without_rabbitmq_none_is_started_or_installed(newcomer, monkeypatch, by):
    """Without the choice it ends with the error of the next test."""
    if by == "environment":
        monkeypatch.setenv(*CHOICE.strip().split("="))
    options = ["--broker", "postgresql"] if by == "option" else []
    with newcomer("dev", *options) as process:
        exports = [process.stdout.readline() for _ in range(2)]
        process.terminate()
        _, talk = process.communicate(timeout=120)

    assert exports[0].startswith("export WORKSHED_DATABASE_URL="), talk
    assert exports[1] == "export WORKSHED_BROKER_URL=postgresql:\n"
    assert "Queue        PostgreSQL alone; no RabbitMQ is needed or started" in talk
    assert "RabbitMQ UI" not in talk
    assert "WORKSHED_BROKER_URL is set" not in talk
    assert process.returncode == 0


def test_where_rabbitmq_cannot_be_installed_it_says_how_to_go_on(newcomer):
    with newcomer("dev") as process:
        _, talk = process.communicate(timeout=120)

    assert "RabbitMQ is not installed" in talk
    assert "  workshed dev --broker postgresql\n" in talk
    assert "WORKSHED_BROKER_URL=postgresql:" in talk
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (["--nodes", "2"], {}, "--nodes is 1 or 3: with two, losing either node stops both"),
        (["--nodes", "3", "--postgres"], {}, "--postgres starts no RabbitMQ"),
        (["--nodes", "3"], {"WORKSHED_BROKER_URL": "stub://"}, "so --nodes has no effect"),
        (["--nodes", "3", "--broker", "postgresql"], {}, "PostgreSQL alone, so --nodes has no"),
        (["--broker", "postgresql"], {"WORKSHED_BROKER_URL": "amqp://h/"}, "unset it"),
        (["--broker", "rabbitmq"], {"WORKSHED_BROKER_URL": "postgresql:"}, "unset it"),
        (["--broker", "rabbitmq", "--postgres"], {}, "--postgres starts no RabbitMQ"),
    ],
)
def test_an_impossible_choice_is_refused(options, environment, words):
    done = subprocess.run(
        [*WORKSHED, "dev", *options],
        env=os.environ | environment | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert words in done.stderr


def test_the_output_of_a_cluster_is_that_of_the_page():
    words, said = [*WORKSHED, *CLUSTER.split()[1:]], ""
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with popen(words, text=True, **both) as process:
        while "export WORKSHED_BROKER_URL" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        process.terminate()

    check(REPORTED, said[said.index("RabbitMQ UI") :], PIDS)
    assert process.returncode == 0


def test_an_unknown_command_is_a_usage_error():
    done = subprocess.run([*WORKSHED, "dve"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "dve" in done.stderr
