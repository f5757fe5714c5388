"""A small Django project in a folder, and its programs."""

import json
import os
import subprocess
import sys
import textwrap

from psycopg.conninfo import conninfo_to_dict

MANAGE = """
import multiprocessing, os, sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":  # a process of `test --parallel` imports this file
    if "TEST_START_METHOD" in os.environ:
        multiprocessing.set_start_method(os.environ["TEST_START_METHOD"])
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
INSTALLED_APPS = ["store", "workshed.contrib.django"]
WORKSHED = {"BROKER_URL": os.environ["AMQP_URL"], "METRICS": False, "PROBES": False}
SECRET_KEY = "of the tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODELS = """
from django.db import models


class Order(models.Model):
    total = models.IntegerField(unique=True)
"""


def as_variable(database_url):
    """Return the value of `TEST_DATABASE`, which the settings read."""
    return json.dumps(conninfo_to_dict(database_url))


class Site:
    """A Django project with one app, `store`, and programs that have only its environment."""

    def __init__(self, folder, database_url, broker_url, files=None):
        self.folder = folder
        kept = {name: text for name, text in os.environ.items() if not name.startswith("WORKSHED_")}
        self.environment = {
            **kept,
            "TEST_DATABASE": as_variable(database_url),
            "AMQP_URL": broker_url,
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        paths = [str(folder), *filter(None, [kept.get("PYTHONPATH")])]
        self.environment["PYTHONPATH"] = os.pathsep.join(paths)
        names = ["store/__init__.py", "store/migrations/__init__.py"]
        own = {**dict.fromkeys(names, ""), "manage.py": MANAGE, "store/models.py": MODELS}
        for name, text in {**own, "settings.py": SETTINGS, **(files or {})}.items():
            self.write(name, text)

    def write(self, name, text):
        """Write a file of the project."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(textwrap.dedent(text))

    def manage(self, *words, code=0, **variables):
        """Run a command of `manage.py`; return its output."""
        return self.run("manage.py", *words, code=code, **variables)

    def run(self, *words, code=0, **variables):
        """Run a program of this Python in the project's folder; return its output."""
        ended = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert code in (None, ended.returncode), ended.stdout + ended.stderr
        return ended.stdout + ended.stderr
