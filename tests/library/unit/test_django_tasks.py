"""The backend for Django's tasks where Django has none, and what needs no Django 6."""

import subprocess
import sys

import django
import pytest

import workshed.contrib.django
from workshed.contrib.django.priorities import to_level

OLD = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "django.tasks" else find(name, *rest)
import workshed.contrib.django
try:
    workshed.contrib.django.{name}
except ImportError as err:
    print(err)
"""


@pytest.mark.parametrize("name", ["TasksBackend", "task_options"])
def test_on_django_5_its_names_say_which_django_they_need(name):
    words = [sys.executable, "-c", OLD.format(name=name)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=240)

    assert done.stdout == (
        "Workshed's backend for tasks needs Django 6.0 or newer; this is "
        f"{django.get_version()}. Upgrade Django, or declare actors in the module `jobs` of your "
        "apps\n"
    )


def test_the_package_lists_its_names_and_refuses_others():
    assert {"TasksBackend", "task_options"} <= set(dir(workshed.contrib.django))
    with pytest.raises(AttributeError, match="has no attribute 'Task'"):
        workshed.contrib.django.Task  # noqa: B018


@pytest.mark.parametrize(
    ("priority", "levels", "level"),
    [
        (-100, 10, 0),
        (0, 10, 0),
        (1, 10, 1),
        (10, 10, 1),
        (11, 10, 2),
        (100, 10, 10),
        (100, 0, 0),
        (1, 1, 1),
        (50, 255, 128),
        (100, 255, 255),
    ],
)
def test_a_priority_above_zero_is_a_level_above_zero(priority, levels, level):
    assert to_level(priority, levels) == level
