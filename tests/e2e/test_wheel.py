"""What is built holds what it needs, and works where the repository is not."""

import contextlib
import http.client
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from actors import send_welcome_email
from shop import people
from tests import pages
from tests.installing import distributions, environment, once_per_run, run, size_bytes
from workshed import __version__, db, migrate, schedule

pytestmark = pytest.mark.timeout(900)  # pip, or the wait for another process that runs it

ROOT = Path(__file__).parent.parent.parent
MOST_DISTRIBUTIONS = 18
MOST_BYTES = 40_000_000
LOOK = """
import importlib, json, pkgutil, sys
from workshed.extras import MissingExtraError

found = {}


def look(name):
    try:
        module = importlib.import_module(name)
    except MissingExtraError as err:
        found[name] = err.extra
    except BaseException as err:
        found[name] = f"{type(err).__name__}: {err}"
    else:
        found[name] = None
        for one in pkgutil.iter_modules(getattr(module, "__path__", []), f"{name}."):
            if not one.name.endswith("__main__"):
                look(one.name)


for package in sys.argv[1:]:
    look(package)
print(json.dumps(found))
"""
"""Imports all modules of some packages; prints the extra that each one lacks, or its error."""
PACKAGES = ("actors", "brokers", "middleware", "shop", "workshed")
PARTS = {
    "actors": "shop",
    "workshed.testing.kit": "test",
    "workshed.testing.plugin": "test",
    "workshed.console.operations.arguments": "server",
    "shop.campaign_actions": "server",
    "workshed.console.caught": "server",
    "workshed.console.cli": "server",
    "workshed.console.operations.dead_jobs": "server",
    "shop.demo": "shop",
    "workshed.console.doctor": "server",
    "workshed.console.operations.history": "server",
    "shop.import_actions": "shop",
    "workshed.console.operations.resend_as_code": "server",
    "workshed.devserver.mail": "dev",
    "workshed.console.operations.relations": "server",
    "workshed.console.operations.timeline": "server",
    "workshed.console.operations.attempts": "server",
    "workshed.console.operations.problems": "server",
    "workshed.console.web": "server",
    "shop.chart_check": "server",
    "shop.cli": "server",
    "shop.compose": "mail",
    "shop.onboarding": "mail",
    "shop.web": "server",
    "shop.web.pages.campaigns": "shop",
    "shop.web.pictures": "shop",
    "shop.demo.shop": "shop",
    "shop.web.unsubscribe": "shop",
    "workshed.console.formatting": "server",
    "workshed.middleware.observability.sentry_crons": "sentry",
    "workshed.middleware.observability.sentry_events": "sentry",
    "workshed.middleware.observability.tracing": "otel",
    "shop.campaigns": "mail",
    "shop.images": "shop",
    "shop.imports": "server",
    "workshed.secret_keys": "server",
    "workshed.mail": "mail",
    "workshed.notifications": "server",
    "shop.people.unsubscribing": "mail",
    "shop.pixels": "images",
    "shop.retention": "shop",
    "shop.reports": "mail",
    "shop.reports.chart": "report",
    "workshed.storage.s3": "s3",
    "workshed.storage.s3_client": "s3",
    "workshed.storage.s3_errors": "s3",
    "shop.sync": "shop",
}
"""The extra that a module, or all of a package, needs; all others need none."""
EXTRAS = {*PARTS.values(), "sync"}
SERVICE = ("server", "shop")
TOGETHER = (
    ("server",),
    SERVICE,
    ("heic", "images", "mail", "otel", "report", "s3", "sentry", "test"),
    ("dev",),
)
AT = re.compile(r"Console http://(127\.0\.0\.1:\d+)")
PAGE = "docs/installing.md"
FILES = pages.files(PAGE)
LACKING = pages.block(PAGE, "$ workshed doctor")
MIGRATE = pages.block(PAGE, "python -m workshed migrate")
WORK = pages.block(PAGE, "dramatiq hello_jobs")
RELAY = pages.block(PAGE, "python -m workshed relay")
SEND = pages.block(PAGE, "python -c")
ENTRY = "olga:operator:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA"
"""Somebody who never comes in."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    def build(folder):
        words = ("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
        run(sys.executable, *words, cwd=ROOT)

    return next(once_per_run(tmp_path_factory, "wheel", build).glob("*.whl"))


class Installed:
    """An environment in which there is the wheel with what it needs, and nothing else."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, program, *words, **env):
        """Run one of its programs to its end; what it printed."""
        return run(self.path(program), *words, cwd=self.folder, env=self._alone(os.environ | env))

    def start(self, program, *words, env, log):
        """Start one of its programs as the leader of a process group."""
        command = [self.path(program), *words]
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

    @property
    def python(self):
        """The interpreter."""
        return self.path("python")

    def path(self, program):
        """Name one of its programs."""
        return str(self.folder / "bin" / program)

    def _alone(self, env):
        return {name: value for name, value in env.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    wanted = f"{wheel}[{','.join(SERVICE)}]"
    make = lambda folder: environment(folder / "env", wanted, compiled=False)  # noqa: E731
    return Installed(once_per_run(tmp_path_factory, "installed", make) / "env")


@pytest.fixture(scope="module")
def plain(wheel, tmp_path_factory):
    """What `pip install workshed` brings, and nothing else."""
    make = lambda folder: environment(folder / "env", str(wheel))  # noqa: E731
    return Installed(once_per_run(tmp_path_factory, "plain", make) / "env")


@pytest.fixture
def with_extras(wheel, tmp_path, request):
    """`with_extras(["server"])`: what `pip install workshed[server]` brings, and nothing else."""

    def with_extras(extras):
        if extras == SERVICE:
            return request.getfixturevalue("installed")
        environment(tmp_path / "env", f"{wheel}[{','.join(extras)}]", compiled=False)
        return Installed(tmp_path / "env")

    return with_extras


@pytest.fixture(scope="module")
def warm(installed):
    """What starts the workers of this file: not this environment, but that one."""
    return installed


def test_the_wheel_holds_the_packages_and_their_files(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    packages = {"actors", "brokers", "middleware", "shop", "workshed"}
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == packages
    for wanted in (
        "workshed/sql/jobs/0001_schedule.sql",
        "workshed/sql/product/0001_people_and_mail.sql",
        "shop/templates/welcome.html",
        "shop/demo/people.csv",
        "shop/web/static/pictures.js",
        "shop/web/templates/pictures.html",
        "shop/web/pages/templates/campaigns.html",
        "workshed/console/web/static/console.css",
        "workshed/console/web/static/console.js",
        "workshed/console/web/templates/desk/overview.html",
        "workshed/__main__.py",
        *(f"{package}/py.typed" for package in packages),
    ):
        assert wanted in names


def test_the_wheel_brings_the_test_kits_plugin(wheel):
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith("/entry_points.txt"))
        declared = files.read(name).decode()

    assert "[pytest11]\nworkshed = workshed.testing.plugin\n" in declared


def test_a_plain_install_is_small(plain):
    found = distributions(plain.python)

    assert len(found) <= MOST_DISTRIBUTIONS, found
    assert size_bytes(plain.folder) <= MOST_BYTES


def test_every_module_imports_in_a_plain_install_or_names_its_extra(plain):
    found = modules_of(plain)

    failing = {name: why for name, why in found.items() if why not in (None, *EXTRAS)}
    assert failing == {}
    unexpected = {name: extra for name, extra in found.items() if extra and not part_of(name)}
    assert unexpected == {}, "these need an extra, and a plain install has to do without"
    assert len(found) > 250


@pytest.mark.exhaustive
def test_the_package_console_of_the_index_may_be_there_too(wheel, tmp_path):
    environment(tmp_path / "env", f"{wheel}[server]", "console", compiled=False)
    both = Installed(tmp_path / "env")

    assert "site-packages/console/" in both.run(
        "python", "-c", "import console as c; print(c.__file__)"
    )
    assert both.run("workshed", "--version").strip().endswith(__version__)


@pytest.mark.exhaustive
@pytest.mark.parametrize("extras", TOGETHER)
def test_every_module_imports_with_the_extra_that_it_needs(extras, with_extras):
    """Each alone would show a little more, and take a minute each on a busy machine."""
    wanted = [name for name, needs in PARTS.items() if needs in extras]

    found = modules_of(with_extras(extras), *wanted)

    lacking = {name: why for name, why in found.items() if why and why not in rest_of(name, extras)}
    assert lacking == {}
    assert [name for name in wanted if name not in found] == []


def modules_of(env, *packages):
    """Import all modules; what each one lacks."""
    return json.loads(env.run("python", "-c", LOOK, *(packages or PACKAGES)))


def part_of(name):
    """Return the extras of the parts that a module is in."""
    return {extra for part, extra in PARTS.items() if f"{name}.".startswith(f"{part}.")}


def rest_of(name, extras):
    """Return the extras, beyond these, that a module may lack."""
    return EXTRAS if part_of(name) - {*extras} else ()


def test_the_command_of_a_plain_install_says_which_extra_has_the_others(plain):
    helped = plain.run("python", "-m", "workshed", "--help")
    told = LACKING.splitlines()[1]
    with pytest.raises(AssertionError, match=re.escape(told)):
        plain.run("workshed", "doctor")

    assert "migrate" in helped
    assert "relay" in helped


def test_a_plain_install_migrates_sends_relays_and_works(
    plain, broker, environment, empty_database_url, tmp_path, eventually
):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    env = {**os.environ, **environment, "WORKSHED_DATABASE_URL": empty_database_url}
    env |= {"PYTHONPATH": "", "WORKSHED_RELAY_FORK": "false"}
    env |= {"WORKSHED_METRICS": "false", "WORKSHED_PROBES": "false"}
    log = tmp_path / "plain.log"

    def ran(line):
        program, *words = shlex.split(line)
        return run(plain.path(program), *words, cwd=tmp_path, env=env)

    def greeted():
        with contextlib.suppress(FileNotFoundError):
            return (tmp_path / "greeted").read_text("utf-8")

    applied = ran(MIGRATE)
    status = ran(f"{MIGRATE} --status")
    # So that it needs the relay.
    ran(SEND.replace("greet.send('Ada')", "greet.send_with_options(args=('Ada',), delay=500)"))
    workers = [plain.start(*shlex.split(line), env=env, log=log) for line in (RELAY, WORK)]
    try:
        eventually(lambda: greeted() or workers[1].poll() is not None)
        first = greeted()
        (tmp_path / "greeted").unlink()
        ran(SEND)
        eventually(lambda: greeted() or workers[1].poll() is not None)
    finally:
        for worker in workers:
            worker.terminate()
        codes = [worker.wait(60) for worker in workers]

    assert "applied jobs/0001_schedule" in applied
    assert "pending" not in status
    assert [first, greeted()] == ["Ada", "Ada"], log.read_text()
    assert codes == [0, 0], log.read_text()


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
        connection = http.client.HTTPConnection(found[1], timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/login")
            page = connection.getresponse().read().decode()
    finally:
        console.terminate()
        console.wait(60)

    assert 'type="password"' in page
