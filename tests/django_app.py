"""Django in this process, connected to the database of a test."""

import contextlib

import django
from django.conf import settings
from django.db import connections
from psycopg.conninfo import conninfo_to_dict


@contextlib.contextmanager
def django_connected(url, **options):
    """`with django_connected(url, CONN_MAX_AGE=None):` connects Django's default to that URL."""
    if not settings.configured:
        names = {"default": "postgresql", "lite": "sqlite3"}
        databases = {name: {"ENGINE": f"django.db.backends.{b}"} for name, b in names.items()}
        settings.configure(DATABASES=databases, LOGGING_CONFIG=None)
        django.setup()
    found = conninfo_to_dict(url)
    default = connections.settings["default"]
    before = dict(default)
    default |= {
        "NAME": found["dbname"],
        **{name.upper(): found[name] for name in ("user", "password", "host", "port")},
        **options,
    }
    try:
        yield
    finally:
        for conn in connections.all(initialized_only=True):
            conn.close()
            del connections[conn.alias]
        default.clear()
        default.update(before)
