"""A project with tasks, and a process of it that tests talk to."""

import json
import os
import subprocess
import sys
import textwrap

from psycopg.conninfo import conninfo_to_dict

MANAGE = """
import os, sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
execute_from_command_line(sys.argv)
"""
SETTINGS = """
import json, os
from datetime import timedelta

database = json.loads(os.environ["TEST_DATABASE"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database["dbname"],
        "USER": database["user"],
        "PASSWORD": database["password"],
        "HOST": database["host"],
        "PORT": database["port"],
    }
}
INSTALLED_APPS = ["shop", "workshed.contrib.django", *json.loads(os.environ.get("APPS", "[]"))]
SECRET_KEY = "of the tests"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "Europe/Paris"
USE_TZ = not os.environ.get("NO_TZ")
WORKSHED = {
    "BROKER_URL": os.environ["AMQP_URL"],
    "METRICS": False,
    "PROBES": False,
    "MAX_RETRIES": 1,
}
WORKSHED |= json.loads(os.environ.get("TEST_WORKSHED", "{}"))
TASKS = {
    "default": {
        "BACKEND": "workshed.contrib.django.TasksBackend",
        "QUEUES": ["default", "emails"],
        "OPTIONS": {"min_backoff": timedelta(milliseconds=10)},
    },
    "other": {"BACKEND": "workshed.contrib.django.TasksBackend", "QUEUES": []},
}
if os.environ.get("DROP_OTHER"):
    del TASKS["other"]
    del TASKS["default"]["OPTIONS"]
TASKS["default"] |= json.loads(os.environ.get("TEST_TASKS", "{}"))
"""
APPS = """
from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        from django.tasks.signals import task_enqueued, task_finished, task_started

        from shop.models import Mark

        def note_start(sender, task_result, **_):
            Mark.objects.create(name=f"started {task_result.status}", about=task_result.id)

        def note_end(sender, task_result, **_):
            Mark.objects.create(name=f"finished {task_result.status}", about=task_result.id)

        def fail(sender, **_):
            raise ValueError("this receiver fails")

        for signal in (task_enqueued, task_started, task_finished):
            signal.connect(fail, weak=False)
        task_started.connect(note_start, weak=False)
        task_finished.connect(note_end, weak=False)
"""
MODELS = """
from django.db import models


class Mark(models.Model):
    name = models.TextField()
    about = models.TextField(default="")
"""
TASKS = """
import asyncio
import uuid
from datetime import timedelta

from django.db import transaction
from django.tasks import task
from shop.models import Mark
from workshed import Discard, RetryOn, Snooze, Unique, cancelled
from workshed.contrib.django import task_options


class ShopError(Exception):
    pass


@task
def add(left: int, right: int = 1) -> int:
    return left + right


@task(queue_name="emails", priority=50)
def mark(name):
    Mark.objects.create(name=name)


@task(takes_context=True)
def describe_run(context, word):
    result = context.task_result
    return {
        "word": word,
        "attempt": context.attempt,
        "id": result.id,
        "status": result.status,
        "path": result.task.module_path,
    }


@task
@task_options(max_retries=0)
def fail(secret):
    raise ShopError(f"no {secret}")


@task(takes_context=True)
@task_options(retry_on=RetryOn(ShopError, attempts=4, wait=timedelta(milliseconds=10)))
def recover(context):
    if context.attempt < 3:
        raise ShopError(f"attempt {context.attempt}")
    return context.attempt


@task
def return_object():
    return object()


@task
def return_tuple():
    return ("one", (2, 3), b"four")


@task
def return_large():
    return "x" * (1 << 20)


@task
def return_nan():
    return float("nan")


@task
def discard():
    raise Discard("nothing to do")


@task
async def add_async(left, right):
    await asyncio.sleep(0)
    await Mark.objects.acreate(name=f"async {left}")
    return left + right


@task(takes_context=True)
async def describe_async(context):
    return context.attempt


@task(takes_context=True)
@task_options(once=True)
def mark_once(context, name):
    Mark.objects.create(name=name)
    add.enqueue(1, 1)
    if context.attempt == 1:
        raise ShopError("after the mark")
    return Mark.objects.filter(name=name).count()


@task(takes_context=True)
@task_options(once=True)
async def mark_once_async(context, name):
    await Mark.objects.acreate(name=name)
    await add.aenqueue(1, 1)
    if context.attempt == 1:
        raise ShopError("after the mark")
    return await Mark.objects.filter(name=name).acount()


@task(takes_context=True)
def poll(context, name):
    Mark.objects.create(name=name)
    if Mark.objects.filter(name=name).count() < 3:
        raise Snooze(timedelta(milliseconds=10))
    return context.attempt


@task
@task_options(unique=Unique())
def export(name):
    return name


@task
@task_options(unique=Unique(on_conflict="replace"))
def index(name):
    return name


@task
@task_options(unique=Unique(on_conflict="raise"))
def publish(name):
    return name


@task
def find_by_uuid(key: uuid.UUID):
    return key


@task(takes_context=True)
def wait_for_kill(context):
    import os, signal
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return context.attempt
"""
LATE = """
from django.tasks import task


@task
def greet(name):
    return f"Hello {name}"
"""
ASK = """
import asyncio, contextlib, json, sys, textwrap, traceback
from datetime import timedelta

from django.core.management.base import BaseCommand
from django.db import connection, transaction
from django.tasks import default_task_backend, task_backends
from django.utils import timezone
from shop import tasks
from shop.models import Mark
from workshed import broker
from workshed.errors import DuplicateJobError


def describe(result):
    return {
        "id": result.id,
        "path": result.task.module_path,
        "status": str(result.status),
        "value": result.return_value if result.status == "SUCCESSFUL" else None,
        "enqueued_at": str(result.enqueued_at or ""),
        "started_at": str(result.started_at or ""),
        "last_attempted_at": str(result.last_attempted_at or ""),
        "finished_at": str(result.finished_at or ""),
        "args": result.args,
        "kwargs": result.kwargs,
        "backend": result.backend,
        "priority": result.task.priority,
        "queue": result.task.queue_name,
        "run_after": str(result.task.run_after or ""),
        "attempts": result.attempts,
        "errors": [[error.exception_class_path, error.traceback] for error in result.errors],
    }


def find_options(message_id):
    with connection.cursor() as cursor:
        query = "SELECT body FROM workshed.schedule WHERE message_id = %s"
        cursor.execute(query, (message_id,))
        return json.loads(cursor.fetchone()[0])["options"]


class Command(BaseCommand):
    requires_system_checks = ()

    def handle(self, **_):
        replies = sys.stdout
        sys.stdout = sys.stderr
        for line in sys.stdin:
            names = dict(globals())
            try:
                exec("def run():\\n" + textwrap.indent(json.loads(line), "    "), names)
                reply = {"value": names["run"]()}
            except Exception as err:
                kind = type(err).__name__
                reply = {"error": f"{kind}: {err}", "traceback": traceback.format_exc()}
            replies.write(json.dumps(reply) + "\\n")
            replies.flush()
"""
FILES = {
    "manage.py": MANAGE,
    "settings.py": SETTINGS,
    "shop/__init__.py": "",
    "shop/apps.py": APPS,
    "shop/models.py": MODELS,
    "shop/tasks.py": TASKS,
    "shop/late.py": LATE,
    "shop/migrations/__init__.py": "",
    "shop/management/__init__.py": "",
    "shop/management/commands/__init__.py": "",
    "shop/management/commands/ask.py": ASK,
}
HANGS_S = 120


class AskError(Exception):
    """The code that a test sent raised an error."""


class Shell:
    """A process of the project that runs code for tests."""

    def __init__(self, process):
        self._process = process

    def ask(self, code):
        """Run the body of a function, and return what it returns; raises `AskError`."""
        self._process.stdin.write(json.dumps(textwrap.dedent(code).strip("\n")) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise AskError(f"{answer['error']}\n{answer['traceback']}")
        return answer["value"]


class TaskSite:
    """The folder of a project, its servers and its processes."""

    def __init__(self, folder, database_url, vhost, files=None):
        self.folder = folder
        self.database_url = database_url
        kept = {name: text for name, text in os.environ.items() if not name.startswith("WORKSHED_")}
        database = json.dumps(conninfo_to_dict(database_url))
        self.variables = {**kept, "TEST_DATABASE": database, "AMQP_URL": vhost}
        self._processes = []
        for name, text in (FILES if files is None else files).items():
            self.write(name, text)

    def write(self, name, text):
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def manage(self, *words, code=0, **variables):
        """Run a command of `manage.py`; return its output."""
        done = subprocess.run(
            self._command(words),
            cwd=self.folder,
            env={**self.variables, **variables},
            capture_output=True,
            text=True,
            timeout=HANGS_S,
            check=False,
        )
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, *words, **options):
        """Start a command of `manage.py` that runs until the site stops."""
        process = subprocess.Popen(
            self._command(words), cwd=self.folder, env=self.variables, text=True, **options
        )
        self._processes.append(process)
        return process

    def open_shell(self):
        """Start a process that runs code for tests."""
        return Shell(self.start("ask", stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def stop(self):
        """End all processes."""
        for process in reversed(self._processes):
            if process.stdin is not None:
                process.stdin.close()
            process.terminate()
            process.wait(HANGS_S)
            if process.stdout is not None:
                process.stdout.close()

    def _command(self, words):
        return [sys.executable, str(self.folder / "manage.py"), *words]
