"""Settings of a Django project, as environment variables that every process of it reads."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict

from workshed.contrib.django import configuration
from workshed.settings import Settings, settings

POSTGRESQL = "django.db.backends.postgresql"


class Project:
    """The settings of a project."""

    DATABASES = {"default": {"ENGINE": POSTGRESQL, "NAME": "shop"}}  # noqa: RUF012


@pytest.fixture
def project(monkeypatch, tmp_path):
    """The settings of a project, in an environment without variables of Workshed."""
    for name in [name for name in os.environ if name.startswith("WORKSHED_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", {**os.environ})
    monkeypatch.chdir(tmp_path)  # that of the repository names an App
    found = Project()
    monkeypatch.setattr(configuration, "project", found)
    settings.cache_clear()
    yield found
    settings.cache_clear()


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ({"NAME": "shop"}, {"dbname": "shop"}),
        (
            {
                "NAME": "shop",
                "USER": "ann@x",
                "PASSWORD": "p:/?#%ü",
                "HOST": "db.internal",
                "PORT": "5433",
            },
            {
                "dbname": "shop",
                "user": "ann@x",
                "password": "p:/?#%ü",
                "host": "db.internal",
                "port": "5433",
            },
        ),
        (
            {"NAME": "shop", "HOST": "/var/run/postgresql", "PORT": 5433, "USER": "ann"},
            {"dbname": "shop", "user": "ann", "host": "/var/run/postgresql", "port": "5433"},
        ),
        ({"NAME": "shop", "HOST": "::1"}, {"dbname": "shop", "host": "::1"}),
        (
            {"NAME": "shop", "HOST": "a.net,b.net", "PORT": "6432,6433", "USER": "ann"},
            {"dbname": "shop", "user": "ann", "host": "a.net,b.net", "port": "6432,6433"},
        ),
        (
            {"NAME": "shop", "HOST": "a.net,b.net", "PORT": "6432"},
            {"dbname": "shop", "host": "a.net,b.net", "port": "6432"},
        ),
        (
            {
                "NAME": "my shop",
                "OPTIONS": {
                    "sslmode": "require",
                    "sslrootcert": Path("/etc/ca.pem"),
                    "keepalives": True,
                    "passfile": None,
                    "options": "-c search_path=a,b",
                    "isolation_level": 2,
                    "pool": {"min_size": 2},
                    "server_side_binding": True,
                },
            },
            {
                "dbname": "my shop",
                "sslmode": "require",
                "sslrootcert": "/etc/ca.pem",
                "keepalives": "1",
                "options": "-c search_path=a,b",
            },
        ),
        (
            {"NAME": "", "OPTIONS": {"service": "shop"}},
            {"service": "shop"},
        ),
    ],
)
def test_the_url_leads_to_the_database_of_the_project(project, database, expected):
    project.DATABASES = {"default": {"ENGINE": POSTGRESQL, **database}}

    url = configuration.build_url("default")

    assert conninfo_to_dict(url) == expected
    assert Settings(database_url=url).database_url  # it can be read


def test_settings_are_read_from_the_project(project):
    project.WORKSHED = {
        "BROKER_URL": "amqp://ann:secret@mq/shop",
        "POOL_SIZE": 5,
        "METRICS": False,
        "SHUTDOWN_GRACE": timedelta(seconds=1.5),
        "QUEUES": {"default": 2, "mail": 1},
        "RELEASE": None,
    }

    configuration.export_settings()

    found = Settings()
    assert found.broker_url.get_secret_value() == "amqp://ann:secret@mq/shop"
    assert found.database_url.get_secret_value() == "postgresql:///shop"
    assert (found.pool_size, found.metrics) == (5, False)
    assert found.shutdown_grace == timedelta(seconds=1.5)
    assert found.queues == "default=2,mail=1"
    assert found.release == Settings.release
    assert os.environ["WORKSHED_APP"] == "workshed.contrib.django.app:app"


def test_the_environment_wins(project):
    project.WORKSHED = {"POOL_SIZE": 5, "APP": "shop.app:app"}
    os.environ["WORKSHED_POOL_SIZE"] = "7"
    os.environ["WORKSHED_DATABASE_URL"] = "postgresql://pooler/shop"

    configuration.export_settings()

    assert Settings().pool_size == 7
    assert Settings().database_url.get_secret_value() == "postgresql://pooler/shop"
    assert os.environ["WORKSHED_APP"] == "shop.app:app"


def test_a_process_that_another_one_started_reads_its_own_settings(project):
    """The one that `runserver` starts again after each change of a file, for example."""
    project.WORKSHED = {"POOL_SIZE": 5, "BROKER_URL": "amqp://a/"}
    configuration.export_settings()

    project.WORKSHED = {"POOL_SIZE": 6}
    configuration.export_settings()

    assert Settings().pool_size == 6
    assert "WORKSHED_BROKER_URL" not in os.environ


@pytest.mark.parametrize(
    "database", [{"ENGINE": "django.db.backends.sqlite3", "NAME": "a"}, {}], ids=["sqlite", "none"]
)
def test_commands_that_need_no_database_go_on_without_postgresql(project, database):
    project.DATABASES = {"default": database}

    configuration.export_settings()

    assert "WORKSHED_DATABASE_URL" not in os.environ
    assert "Workshed needs PostgreSQL" in configuration.find_problem()


def test_a_value_that_was_set_after_the_export_is_kept(project):
    """A supervisor sets some for its children, and so does the test kit."""
    project.WORKSHED = {"RELAY_FORK": True}
    configuration.export_settings()
    os.environ["WORKSHED_RELAY_FORK"] = "false"

    configuration.export_settings()

    assert Settings().relay_fork is False


def test_a_worker_that_is_started_again_keeps_what_its_supervisor_has_read(project, caplog):
    project.WORKSHED = {"POOL_SIZE": 5}
    configuration.export_settings()
    settings()
    project.WORKSHED = {"POOL_SIZE": 6}

    configuration.export_settings()

    assert settings().pool_size == 5
    assert "WORKSHED_POOL_SIZE changed in the project's settings" in caplog.text


def test_no_error_shows_the_password(project):
    project.WORKSHED = {"DATABASE_URL": "postgresql+psycopg://ann:secret@db/shop"}

    with pytest.raises(ImproperlyConfigured, match="WORKSHED_DATABASE_URL cannot be read") as found:
        configuration.export_settings()

    assert "secret" not in str(found.value)


def test_settings_that_workshed_has_read_before_are_too_late(project):
    settings()
    project.WORKSHED = {"POOL_SIZE": 5}

    with pytest.raises(ImproperlyConfigured, match="has read its settings before Django's"):
        configuration.export_settings()


def test_an_app_of_the_project_file_is_kept(project, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.workshed]\napp = "shop.app:app"\n')

    configuration.export_settings()

    assert "WORKSHED_APP" not in os.environ


def test_without_a_database_of_django_nothing_is_compared(project):
    project.WORKSHED = {"DATABASE": None, "DATABASE_URL": "postgresql://elsewhere/jobs"}
    project.DATABASES = {}

    configuration.export_settings()

    assert configuration.database_alias() is None
    assert Settings().database_url.get_secret_value() == "postgresql://elsewhere/jobs"


@pytest.mark.parametrize(
    ("given", "databases", "message"),
    [
        ({"POOLSIZE": 5}, None, r"WORKSHED\['POOLSIZE'\] is not a setting of Workshed"),
        ({"DATABASE": "jobs"}, None, r"is 'jobs', which DATABASES lacks"),
        (
            {"DATABASE_URL": "postgresql://elsewhere/jobs"},
            None,
            r"leads to the database 'jobs', and DATABASES\['default'\] to 'shop': unset WORKSHED_D",
        ),
        (
            {},
            {"default": {"ENGINE": POSTGRESQL, "NAME": "shop", "OPTIONS": {"sslkey": []}}},
            r"\['sslkey'\] is of type list",
        ),
    ],
)
def test_what_cannot_work_is_refused(project, given, databases, message):
    project.WORKSHED = given
    project.DATABASES = databases or project.DATABASES

    with pytest.raises(ImproperlyConfigured, match=message):
        configuration.export_settings()
