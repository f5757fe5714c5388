"""The built wheel holds what it needs, and works without the repository."""

import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import zipfile
from email import message_from_bytes

import pytest
from readme_renderer import markdown

from tests import pages
from tests.installing import (
    Installed,
    distributions,
    environment,
    once_per_run,
    run,
    size_bytes,
)
from tests.root import ROOT
from workshed import __version__

pytestmark = pytest.mark.timeout(900)  # pip, or the wait for another process that runs it

MOST_DISTRIBUTIONS = 17
MOST_BYTES = 40_000_000
LOOK = """
import importlib, json, pkgutil, sys
from workshed.extras import MissingExtraError

found = {}
loaded_by_django = ("workshed.contrib.django.admin", "workshed.contrib.django.models")


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
            if not one.name.endswith("__main__") and one.name not in loaded_by_django:
                look(one.name)


for package in sys.argv[1:] or ["workshed"]:
    look(package)
print(json.dumps(found))
"""
"""Imports all modules of some packages; prints the extra that each one lacks, or its error."""
PARTS = {
    "workshed.testing.engines": "sqlalchemy",
    "workshed.testing.kit": "test",
    "workshed.testing.plugin": "test",
    "workshed.console.operations.arguments": "server",
    "workshed.console.operations.batches": "server",
    "workshed.console.operations.cancel": "server",
    "workshed.contrib.mail.caught_mail": "server",
    "workshed.console.cli": "server",
    "workshed.console.operations.dead_jobs": "server",
    "workshed.console.doctor": "server",
    "workshed.console.operations.history": "server",
    "workshed.console.operations.resend_as_code": "server",
    "workshed.devserver.mail": "dev",
    "workshed.console.operations.queues": "server",
    "workshed.console.operations.relations": "server",
    "workshed.console.operations.timeline": "server",
    "workshed.console.operations.attempts": "server",
    "workshed.console.operations.problems": "server",
    "workshed.console.web": "server",
    "workshed.console.formatting": "server",
    "workshed.console.scaffold.render": "server",
    "workshed.middleware.observability.sentry_crons": "sentry",
    "workshed.middleware.observability.sentry_events": "sentry",
    "workshed.middleware.observability.tracing": "otel",
    "workshed.secret_keys": "server",
    "workshed.contrib.cli": "server",
    "workshed.contrib.django": "django",
    "workshed.contrib.mail": "mail",
    "workshed.contrib.mail.check": "server",
    "workshed.contrib.mail.page": "server",
    "workshed.contrib.storage.check": "server",
    "workshed.contrib.notifications": "server",
    "workshed.contrib.sqlalchemy": "sqlalchemy",
    "workshed.contrib.storage.s3": "s3",
    "workshed.contrib.storage.s3_client": "s3",
    "workshed.contrib.storage.s3_errors": "s3",
}
"""The extra that a module, or all of a package, needs; all others need none."""
TASKS = {"workshed.contrib.django.task_backend": "django"}
"""This needs Django 6, which needs Python 3.12."""
EXTRAS = {*PARTS.values()}
TOGETHER = (
    ("server",),
    ("django", "mail", "otel", "s3", "sentry", "sqlalchemy", "test"),
    ("dev",),
)
PAGE = "docs/installing.md"
FILES = pages.files(PAGE)
LACKING = pages.block(PAGE, "$ workshed doctor")
MIGRATE = pages.block(PAGE, "python -m workshed migrate")
WORK = pages.block(PAGE, "dramatiq hello_jobs")
RELAY = pages.block(PAGE, "python -m workshed relay")
SEND = pages.block(PAGE, "python -c")


@pytest.fixture(scope="module")
def plain(wheel, tmp_path_factory):
    """An environment with what `pip install workshed` installs, and nothing else."""
    make = lambda folder: environment(folder / "env", str(wheel))  # noqa: E731
    return Installed(once_per_run(tmp_path_factory, "plain", make) / "env")


@pytest.fixture
def with_extras(wheel, tmp_path):
    """`with_extras(["server"])`: the same, with what `pip install workshed[server]` installs."""

    def with_extras(extras):
        environment(tmp_path / "env", f"{wheel}[{','.join(extras)}]", compiled=False)
        return Installed(tmp_path / "env")

    return with_extras


def test_the_wheel_holds_the_library_with_its_files_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"workshed"}
    for wanted in (
        "workshed/sql/0001_baseline.sql",
        "workshed/contrib/storage/sql/0001_blobs.sql",
        "workshed/contrib/mail/sql/0001_mail.sql",
        "workshed/contrib/notifications/sql/0001_notifications.sql",
        "workshed/console/web/static/console.css",
        "workshed/console/web/static/console.js",
        "workshed/console/web/templates/desk/overview.html",
        "workshed/contrib/django/templates/admin/workshed/unavailable.html",
        "workshed/__main__.py",
        "workshed/py.typed",
    ):
        assert wanted in names


def test_the_wheel_brings_the_test_kits_plugin(wheel):
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith("/entry_points.txt"))
        declared = files.read(name).decode()

    assert "[pytest11]\nworkshed = workshed.testing.plugin\n" in declared


@pytest.fixture
def released(tmp_path):
    """`released(address)`: the metadata of a wheel from a repository with this public address."""

    def released(address):
        for name in ("LICENSE", "README.md", "pyproject.toml", "tools", "workshed"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, tmp_path / name)
        project = tmp_path / "pyproject.toml"
        text = project.read_text("utf-8")
        project.write_text(text.replace('\nrepository = ""\n', f'\nrepository = "{address}"\n'))
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out", cwd=tmp_path)
        [built] = (tmp_path / "out").glob("*.whl")
        return metadata_of(built)

    return released


def metadata_of(wheel):
    """Return the metadata of a wheel as headers, with the description as their body."""
    with zipfile.ZipFile(wheel) as files:
        [name] = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(files.read(name))


def list_addresses(said):
    """Return the addresses of links and pictures in a description as an index shows it."""
    assert said["Description-Content-Type"] == "text/markdown"
    html = markdown.render(said.get_payload(decode=True).decode())
    assert html is not None
    return re.findall(r'\b(?:href|src)="([^"]*)"', html)


def test_an_index_can_show_the_description_without_a_public_address(wheel):
    said = metadata_of(wheel)

    assert said.get_all("Project-URL") is None
    assert [one for one in list_addresses(said) if not one.startswith(("https://", "#"))] == []


def test_a_public_address_makes_urls_links_and_pictures(released):
    home = "https://git.example/team/workshed"

    said = released(home)

    urls = dict(one.split(", ") for one in said.get_all("Project-URL"))
    assert urls["Homepage"] == home
    assert urls["Changelog"] == f"{home}/blob/v{__version__}/CHANGELOG.md"
    found = list_addresses(said)
    assert [one for one in found if not one.startswith(("https://", "#"))] == []
    assert any(one.startswith(f"{home}/blob/v{__version__}/docs/") for one in found)
    assert any(one.startswith(f"{home}/raw/v{__version__}/docs/") for one in found)


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
    """One at a time would show a little more, but take a minute each on a busy machine."""
    wanted = [name for name, needs in PARTS.items() if needs in extras]

    found = modules_of(with_extras(extras), *wanted)

    lacking = {name: why for name, why in found.items() if why and why not in rest_of(name, extras)}
    too_old = TASKS if "django" in extras and sys.version_info < (3, 12) else {}
    assert lacking == too_old
    assert [name for name in wanted if name not in found] == []


def modules_of(env, *packages):
    """Import all modules; return what each one lacks."""
    variables = {"WORKSHED_APP": "", "DJANGO_SETTINGS_MODULE": "django.conf.global_settings"}
    return json.loads(env.run("python", "-c", LOOK, *packages, **variables))


def part_of(name):
    """Return the extras of the parts that a module is in."""
    return {extra for part, extra in PARTS.items() if f"{name}.".startswith(f"{part}.")}


def rest_of(name, extras):
    """Return the extras, beyond these, that a module may lack."""
    return EXTRAS if part_of(name) - {*extras} else ()


def test_the_command_of_a_plain_install_says_which_extra_has_the_others(plain):
    helped = plain.run("python", "-m", "workshed", "--help")
    expected_line = LACKING.splitlines()[1]
    with pytest.raises(AssertionError, match=re.escape(expected_line)):
        plain.run("workshed", "doctor")

    assert "migrate" in helped
    assert "relay" in helped


def test_a_plain_install_migrates_sends_relays_and_works(
    no_app, plain, broker, environment, empty_database_url, tmp_path, eventually
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
    # Delayed, so that it needs the relay.
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

    assert "applied workshed/0001_baseline" in applied
    assert "pending" not in status
    assert [first, greeted()] == ["Ada", "Ada"], log.read_text()
    assert codes == [0, 0], log.read_text()
