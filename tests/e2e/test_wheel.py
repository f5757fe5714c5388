"""What is built holds what it needs, and works where the repository is not."""

import contextlib
import http.client
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from actors import send_welcome_email
from brokers import schedule
from workshed import __version__, db, migrate, people

ROOT = Path(__file__).parent.parent.parent
AT = re.compile(r"Console http://(127\.0\.0\.1:\d+)")
ENTRY = "olga:operator:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
"""Somebody who never comes in."""


def run(*command, **options):
    """Run a command to its end; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    return next(folder.glob("*.whl"))


class Installed:
    """An environment in which there is the wheel with what it needs, and nothing else."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, program, *words, **env):
        """Run one of its programs to its end; what it printed."""
        return run(self._path(program), *words, cwd=self.folder, env=self._alone(os.environ | env))

    def start(self, program, *words, env, log):
        """Start one of its programs as the leader of a process group."""
        command = [self._path(program), *words]
        with log.open("ab") as out:
            return subprocess.Popen(
                command,
                cwd=log.parent,
                env=self._alone(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _path(self, program):
        return str(self.folder / "bin" / program)

    def _alone(self, env):
        return {name: value for name, value in env.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed") / "env"
    uv = (sys.executable, "-m", "uv")
    run(*uv, "venv", "--python", sys.executable, str(folder))
    # The lock says which releases, so that no new one of another project fails this test.
    lock = ("--constraint", str(ROOT / "requirements.lock"))
    run(*uv, "pip", "install", "--python", str(folder / "bin" / "python"), *lock, str(wheel))
    return Installed(folder)


@pytest.fixture(scope="module")
def warm(installed):
    """What starts the workers of this file: not this environment, but that one."""
    return installed


def test_the_wheel_holds_the_packages_and_their_files(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    packages = {"actors", "brokers", "console", "middleware", "workshed"}
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == packages
    for wanted in (
        "workshed/sql/jobs/0001_schedule.sql",
        "workshed/sql/product/0001_people_and_mail.sql",
        "workshed/mail/templates/welcome.html",
        "console/demo/people.csv",
        "console/web/static/pictures.js",
        "console/web/templates/pictures.html",
        "console/web/static/console.css",
        "console/web/static/console.js",
        "console/web/templates/desk/overview.html",
        *(f"{package}/py.typed" for package in packages),
    ):
        assert wanted in names


def test_the_wheel_brings_the_test_kits_plugin(wheel):
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith("/entry_points.txt"))
        declared = files.read(name).decode()

    assert "[pytest11]\nworkshed = brokers.testing.plugin\n" in declared


def test_the_command_runs_where_only_the_wheel_is_installed(installed):
    said = installed.run("workshed", "--version")
    where = installed.run("python", "-c", "import actors; print(actors.__file__)")

    assert said == f"workshed {__version__}\n"
    assert Path(where).is_relative_to(installed.folder)


def test_it_makes_the_schema(installed, empty_database_url):
    words = ("migrate", "--with-product")
    installed.run("workshed", *words, WORKSHED_DATABASE_URL=empty_database_url)

    with db.Connection.connect(empty_database_url) as conn:
        assert migrate.pending(conn, migrate.STREAMS) == []


def test_its_workers_run_a_job_and_stop(start_worker, mail_server, broker, eventually):
    """From the send of an application to the mail in the mailbox."""
    with db.transaction() as conn:
        user = people.create(conn, name="Ada", email="ada@example.org")
        schedule.send(conn, send_welcome_email.message(user.id))
    worker = start_worker()

    eventually(lambda: mail_server.received)

    assert mail_server.received[0].recipients == ("ada@example.org",)
    assert worker.stop() == 0


def test_its_console_asks_who_is_there(installed, broker, environment, tmp_path, eventually):
    log = tmp_path / "console.log"
    said = {"WORKSHED_CONSOLE_USERS": ENTRY, "WORKSHED_SECRET_KEY": "k" * 40}
    env = {**os.environ, **environment, **said}

    console = installed.start("workshed", "console", "--port", "0", env=env, log=log)
    try:
        eventually(lambda: AT.search(log.read_text()) or console.poll() is not None)
        found = AT.search(log.read_text())
        assert found, log.read_text()
        connection = http.client.HTTPConnection(found[1], timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/login")
            page = connection.getresponse().read().decode()
    finally:
        console.terminate()
        console.wait(60)

    assert 'type="password"' in page
