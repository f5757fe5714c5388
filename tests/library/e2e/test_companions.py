"""Third-party packages that extend dramatiq, used as their own documentation says."""

import os
import subprocess
import sys

import pytest
from dramatiq import Message

from tests import pages
from tests.companions import installed

DOCS = "docs/from-dramatiq.md"
DJANGO = pages.files(DOCS, "django")
FLASK = pages.files(DOCS, "flask")

SITE = """
import os
from psycopg.conninfo import conninfo_to_dict

parts = conninfo_to_dict(os.environ["WORKSHED_DATABASE_URL"])
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": parts["dbname"], "USER": parts["user"],
    "PASSWORD": parts["password"], "HOST": parts["host"], "PORT": parts["port"]}}
INSTALLED_APPS = ["django_dramatiq", "django.contrib.contenttypes", "bookshop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "of a test"
"""
TASKS = """
import dramatiq
from django.contrib.contenttypes.models import ContentType

@dramatiq.actor
def note(name):
    ContentType.objects.create(app_label="bookshop", model=name)

@dramatiq.actor(max_retries=0)
def fail(name):
    raise ValueError(name)
"""
MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
STATUSES = "SELECT actor_name, status FROM django_dramatiq_task ORDER BY 1"

ABORT = """
import time
from pathlib import Path
import dramatiq
from dramatiq_abort import Abortable
from dramatiq_abort.backend import Event, EventBackend
from workshed import broker

class Files(EventBackend):
    def __init__(self, folder):
        self.folder = Path(folder)

    def poll(self, key):
        return Event(key, {}) if (self.folder / key.replace(":", "-")).exists() else None

    def wait_many(self, keys, timeout):
        deadline = time.monotonic() + timeout / 1000
        while time.monotonic() < deadline:
            for key in keys:
                if self.poll(key):
                    (self.folder / key.replace(":", "-")).unlink()
                    return Event(key, {"abort_timeout": 0})
            time.sleep(0.02)

    def notify(self, events, ttl):
        for event in events:
            (self.folder / event.key.replace(":", "-")).touch()

abortable = Abortable(backend=Files("FOLDER"))
broker.add_middleware(abortable)

@dramatiq.actor(broker=broker, queue_name="default", max_retries=0)
def long():
    Path("FOLDER/began").touch()
    while True:
        time.sleep(0.01)

@dramatiq.actor(broker=broker, queue_name="default", max_retries=0, abortable=False)
def other():
    pass
"""
SCHEDULER = """
import sys, threading
from apscheduler.schedulers.background import BackgroundScheduler
from sales import sell

scheduler = BackgroundScheduler(timezone="UTC")
scheduler.add_job(sell.send, "interval", seconds=1, args=[7])
scheduler.start()
threading.Event().wait()
"""
SELL = """
import dramatiq
from workshed import broker, db

@dramatiq.actor(broker=broker, queue_name="default")
def sell(number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO sales VALUES ('clock', %s)", (number,))
"""
SENTRY = """
import os
import sentry_sdk
from sentry_sdk.integrations.dramatiq import DramatiqIntegration

sentry_sdk.init(os.environ["DSN"], integrations=[DramatiqIntegration()])

import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name="default", max_retries=1, min_backoff=1, max_backoff=1)
def fail(number):
    raise OSError("away")
"""


@pytest.fixture
def write(tmp_path):
    """`write("a.py", text)`: a file of the application."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("FOLDER", str(tmp_path)))

    return write


@pytest.fixture
def using(environment, tmp_path, database, vhost, numbers):
    """`using("flask-dramatiq==0.8.0")`: the environment of a process with this package."""

    def with_packages(*requirements, **env):
        packages = str(installed(*requirements)) if requirements else ""
        path = os.pathsep.join(filter(None, [packages, environment["PYTHONPATH"]]))
        return {**os.environ, **environment, **numbers, "PYTHONPATH": path, **env}

    return with_packages


@pytest.fixture
def run_to_end(tmp_path):
    """`run_to_end(env, "-m", …)`: run Python in the folder of the application."""

    def run(env, *words):
        done = subprocess.run(
            [sys.executable, *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def background(tmp_path):
    """`background(env, "-m", …)`: the same, until the test ends; returns its log."""
    started = []

    def start(env, *words):
        log = tmp_path / f"background-{len(started)}.log"
        with log.open("wb") as out:
            started.append(
                subprocess.Popen(
                    [sys.executable, *words],
                    env=env,
                    cwd=tmp_path,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            )
        return log

    yield start
    for process in started:
        os.killpg(process.pid, 9)
        process.wait(60)


@pytest.fixture
def rows(conn):
    conn.autocommit = True
    return lambda query: conn.execute(query).fetchall()


@pytest.fixture
def sales(conn):
    conn.autocommit = True
    conn.execute("CREATE TABLE public.sales (shop text, number integer)")


def test_django_dramatiq(using, write, run_to_end, background, rows, eventually, broker):
    write("site_settings.py", SITE + DJANGO["site_settings.py"])
    write("bookshop/__init__.py", "")
    write("bookshop/tasks.py", TASKS)
    write("manage.py", MANAGE)
    env = using("django-dramatiq==0.15.0")
    run_to_end(env, "manage.py", "migrate", "-v", "0")

    # Sent before there are workers, because it records a message after its confirm.
    send = "from bookshop.tasks import fail, note; note.send('order'); fail.send('x')"
    run_to_end(env, "manage.py", "shell", "-c", send)
    assert rows(STATUSES) == [("fail", "enqueued"), ("note", "enqueued")]

    background(env, "manage.py", "rundramatiq", "--processes", "1", "--threads", "2")

    eventually(lambda: rows(STATUSES) == [("fail", "failed"), ("note", "done")])
    assert rows("SELECT model FROM django_content_type WHERE app_label = 'bookshop'") == [
        ("order",)
    ]
    eventually(lambda: rows("SELECT actor FROM workshed.dead") == [("fail",)])


def test_flask_dramatiq(using, write, run_to_end, background, rows, eventually, sales, broker):
    write("shop_app.py", FLASK["shop_app.py"])
    env = using("flask-dramatiq==0.8.0")

    background(env, "-m", "flask", "--app", "shop_app", "worker", "-p", "1", "-t", "2")
    send = "from shop_app import create_app, note_sale; create_app(); note_sale.send(7)"
    run_to_end(env, "-c", send)

    eventually(lambda: rows("SELECT * FROM sales") == [("Paris", 7)])


def test_dramatiq_abort(using, write, run_to_end, start_worker, rows, eventually, tmp_path):
    write("parts.py", ABORT)
    env = using("dramatiq-abort==1.2.1")
    send = "from parts import long; print(long.send().message_id)"
    abort = "import parts, dramatiq_abort; dramatiq_abort.abort({!r})"

    pending = run_to_end(env, "-c", send).strip()
    run_to_end(env, "-c", abort.format(pending))
    start_worker("parts", threads=2, env={"PYTHONPATH": env["PYTHONPATH"]})
    outcome = "SELECT message_id, outcome FROM workshed.runs"
    eventually(lambda: rows(outcome) == [(pending, "skipped")])
    assert not (tmp_path / "began").exists()

    running = run_to_end(env, "-c", send).strip()
    eventually((tmp_path / "began").exists)
    run_to_end(env, "-c", abort.format(running))

    eventually(lambda: (running,) in rows("SELECT message_id FROM workshed.runs"))


def test_apscheduler(using, write, background, start_worker, rows, eventually, sales):
    write("sales.py", SELL)
    write("scheduler.py", SCHEDULER)
    start_worker("sales", threads=2)

    background(using("apscheduler==3.11.3", "tzlocal==5.3.1"), "scheduler.py")

    eventually(lambda: rows("SELECT count(*) FROM sales WHERE number = 7") >= [(3,)])


def test_the_integration_of_sentry(using, write, start_worker, sentry, broker, rows, eventually):
    """As its docs say; a job that dies is one event, although Workshed reports to Sentry, too."""
    write("parts.py", SENTRY)
    start_worker("parts", threads=1, env={"DSN": sentry.dsn})

    broker.enqueue(Message("default", "fail", (7,), {}, {}))

    eventually(lambda: rows("SELECT actor FROM workshed.dead") == [("fail",)])
    eventually(lambda: sentry.of("event"))
    assert len(sentry.of("event")) == 1
