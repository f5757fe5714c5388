"""The service in its own folder, with the installed wheel: no clone, no PYTHONPATH."""

import contextlib
import http.client
import json
import os
import re
import shutil
import tomllib

import pytest

from actors import send_welcome_email
from shop import people
from tests.installing import ROOT, Installed, environment, once_per_run
from workshed import __version__, db, schedule

pytestmark = pytest.mark.timeout(900)  # for pip, or for another process that runs pip

PACKAGES = ("actors", "brokers", "middleware", "shop")
EXTRAS = "mail,periodiq,server,test"
AT = re.compile(r"Console http://(127\.0\.0\.1:\d+)")
ENTRY = "olga:operator:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
"""A console user with which no test logs in."""
WHERE = "import actors, workshed; print(actors.__file__, workshed.__file__)"
TEST = """
from actors import send_welcome_email


def test_it(jobs):
    send_welcome_email.send(7)
    jobs.assert_enqueued(send_welcome_email, 7)
"""


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel with the extras that the service uses, and the service's own requirements."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    wanted = (f"{wheel}[{EXTRAS}]", *groups["service"])
    make = lambda folder: environment(folder / "env", *wanted, compiled=False)  # noqa: E731
    return Installed(once_per_run(tmp_path_factory, "service", make) / "env")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The service in an empty folder; its `pyproject.toml` names its App."""
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    (tmp_path / "pyproject.toml").write_text('[tool.workshed]\napp = "brokers.app:app"\n')
    monkeypatch.delenv("WORKSHED_APP")
    return tmp_path


@pytest.fixture
def warm(installed):
    """Starts the workers of this file from the installed environment."""
    return installed


@pytest.fixture
def run(installed, folder, environment):
    """`run("workshed", "doctor")`: run a program in that folder and return its output."""

    def run(program, *words, code=0, **env):
        env = {**environment, **env}
        return installed.run(program, *words, folder=folder, code=code, **env)

    return run


@pytest.fixture
def start(installed, folder, environment):
    """`start("periodiq", "actors")`: start a program; return its log and the process."""
    started = []

    def start(program, *words, **env):
        log = folder / f"{len(started)}.log"
        env = {**os.environ, **environment, **env}
        started.append(installed.start(program, *words, env=env, log=log))
        return log, started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(90)


def test_it_is_imported_from_its_folder_and_all_modules_can_be(run, folder, installed):
    service, library = run("python", "-c", WHERE).split()
    modules = (
        ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for file in (folder / package).rglob("*.py")
        if file.name != "__main__.py"
    )
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"

    assert service == str(folder / "actors" / "__init__.py")
    assert library.startswith(str(installed.folder))
    assert run("python", "-c", code, *modules) == ""


def test_its_commands_are_there(run):
    assert run("workshed", "--version") == f"workshed {__version__}\n"
    assert "campaigns" in run("python", "-m", "shop", "--help")
    assert "Usage: python -m shop.demo" in run("python", "-m", "shop.demo", "--help")


def test_it_makes_the_schema(run, empty_database_url):
    said = run("workshed", "migrate", WORKSHED_DATABASE_URL=empty_database_url)
    again = run("workshed", "migrate", WORKSHED_DATABASE_URL=empty_database_url)

    assert "applied workshed/0001_baseline\n" in said
    assert "applied shop/0001_baseline\n" in said
    assert again == "up to date\n"


def test_its_workers_run_a_job_and_stop(start_worker, mail_server, broker, eventually):
    """From an application's send to the email in the mailbox."""
    with db.transaction() as conn:
        user = people.create(conn, name="Ada", email="ada@example.org")
        schedule.send(conn, send_welcome_email.message(user.id))
    worker = start_worker()

    eventually(lambda: mail_server.received)

    assert mail_server.received[0].recipients == ("ada@example.org",)
    assert worker.stop() == 0


def test_so_do_a_supervisor_a_relay_and_a_clock(start, broker, mail_server, conn, eventually):
    conn.autocommit = True
    user = people.create(conn, name="Ada", email="ada@example.org")
    schedule.send(conn, send_welcome_email.message(user.id))  # a relay publishes it
    programs = [
        start("workshed", "relay"),
        start("workshed", "worker", "--processes", "1", "--no-relay"),  # its App names `actors`
        start("periodiq", "actors"),
    ]
    periodic = "SELECT count(*) FROM workshed.periodic_jobs WHERE name = 'daily_report'"

    def has_ended():
        assert [log.read_text() for log, one in programs if one.poll() is not None] == []
        return mail_server.received and conn.execute(periodic).fetchone() == (1,)

    eventually(has_ended)


@pytest.mark.parametrize("words", [("workshed", "worker"), ("workshed", "relay")])
def test_a_setting_of_its_own_that_cannot_be_read_ends_each_with_2(run, words):
    """By that code, systemd and Kubernetes know that a restart does not help."""
    said = run(*words, code=2, SHOP_IMAGE_MAX_BYTES="many")

    assert "SHOP_IMAGE_MAX_BYTES: Input should be a valid integer" in said


def test_its_doctor_looks_at_its_queues_and_makes_its_checks(run, broker, eventually):
    """On a busy machine an import may take longer than a check is given, so it is asked again."""
    broker.ensure_queues(set(broker.declared_queues))
    words = ("workshed", "doctor", "--json", "--import", "actors")

    def levels():
        said = run(*words, code=1)  # no worker is running
        found = json.loads(said[: said.rindex("}") + 1])["checks"]
        return {(one["check"], one["level"]) for one in found}

    eventually(lambda: {("actors", "ok"), ("queues", "ok"), ("charts", "ok")} <= levels())


def test_its_console_requires_a_login(start, broker, eventually):
    said = {"WORKSHED_CONSOLE_USERS": ENTRY, "WORKSHED_SECRET_KEY": "k" * 40}

    log, console = start("workshed", "console", "--port", "0", **said)
    eventually(lambda: AT.search(log.read_text()) or console.poll() is not None)
    found = AT.search(log.read_text())
    assert found, log.read_text()
    connection = http.client.HTTPConnection(found[1], timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/login")
        page = connection.getresponse().read().decode()

    assert 'type="password"' in page


def test_its_tests_run(run, folder):
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text(TEST)

    assert "1 passed" in run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
