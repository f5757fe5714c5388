"""`manage.py workshed …`: the command line of Workshed, with Django loaded."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from workshed.console.entry import main
from workshed.contrib.django import configuration

DJANGO_OPTIONS = ("--settings", "--pythonpath")
"""Options that Django has applied before it runs a command."""


class Command(BaseCommand):
    """Runs a command of Workshed."""

    help = "Run a command of Workshed: worker, relay, migrate, doctor, … (workshed --help)."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Pass everything on, also `--help` and `--version`."""
        run_workshed(without_django_options(argv[2:]))

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the words of the command, from `call_command`."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def handle(self, *_: Any, words: list[str], **__: Any) -> None:
        """Run it, and raise `SystemExit` if it fails."""
        try:
            run_workshed(words)
        except SystemExit as end:
            if end.code:
                raise


def without_django_options(words: list[str]) -> list[str]:
    """Leave out the options of every command of Django, each as one word or two."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in DJANGO_OPTIONS:
            next(rest, None)
        elif not word.startswith(tuple(f"{option}=" for option in DJANGO_OPTIONS)):
            kept.append(word)
    return kept


def run_workshed(words: list[str]) -> None:
    """Run the command line; processes that it starts find the project as this one does."""
    if problem := configuration.find_problem():
        raise CommandError(problem)
    # As this process, which `manage.py` or `--pythonpath` may have given more folders.
    folders = [find_project(), *filter(None, sys.path)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(folders))
    before = sys.argv
    sys.argv = ["workshed", *words]
    try:
        main()
    finally:
        sys.argv = before


def find_project() -> str:
    """Return the folder from which the module of the settings is imported."""
    root = sys.modules[settings.SETTINGS_MODULE.partition(".")[0]]
    if hasattr(root, "__path__"):
        return str(Path(next(iter(root.__path__))).resolve().parent)
    return str(Path(str(root.__file__)).resolve().parent)
