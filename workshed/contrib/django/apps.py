"""The Django application."""

import importlib
from typing import Any

import django
from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import pre_migrate
from django.utils.module_loading import autodiscover_modules

from workshed import db
from workshed.contrib.django import (
    configuration,
    created_databases,
    defaults,
    migrations,
    shared_connections,
    sidecars,
    transactions,
)
from workshed.transport.build import get_broker
from workshed.transport.sidecars.forks import SidecarFork


class WorkshedConfig(AppConfig):
    """Configures Workshed from Django's settings, and imports the jobs and tasks of each app."""

    name = "workshed.contrib.django"
    label = "workshed"
    verbose_name = "Workshed"

    def __init__(self, *args: Any) -> None:
        """Export the settings and build the broker, before models or apps declare actors."""
        super().__init__(*args)
        configuration.export_settings()
        broker = get_broker()
        defaults.apply_defaults(broker)
        for middleware in broker.middleware:
            if isinstance(middleware, SidecarFork):
                middleware.run = sidecars.run_sidecars
        alias = configuration.database_alias()
        if alias is not None and configuration.is_postgresql(alias):
            db.add_lender("django", transactions.Lender(alias))
            if configuration.joins_transactions():
                broker.find_transaction = transactions.TransactionFinder(alias)
            broker.find_test_transaction = shared_connections.SharedConnectionFinder(alias)

    def ready(self) -> None:
        """Let `migrate` create the tables, follow Django's tests, and import actors and tasks."""
        checks.register(find_problems)
        created_databases.follow_tests()
        pre_migrate.connect(migrations.apply_workshed_migrations, sender=self)
        autodiscover_modules("jobs")
        if django.VERSION >= (6, 0):  # Django 5.2 has no tasks
            found = importlib.import_module("workshed.contrib.django.task_backend.setup")
            found.prepare_tasks(get_broker())


def find_problems(**_: Any) -> list[checks.CheckMessage]:
    """Report what is wrong with the settings, as a system check of Django."""
    found = {
        "workshed.E001": configuration.find_problem(),
        "workshed.E002": configuration.find_console_problem(),
    }
    return [checks.Error(text, id=name) for name, text in found.items() if text is not None]
