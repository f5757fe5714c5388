"""What `from workshed import …` gives, and when."""

import os
import subprocess
import sys

import pytest

import workshed

FIRST_USE = """
import sys, workshed
loaded = {name for name in sys.modules if name.startswith("workshed")}
assert loaded == {"workshed"}, loaded
import dramatiq
for name in workshed.__all__:
    getattr(workshed, name)
assert workshed.broker is dramatiq.get_broker()
"""
AFTER_ALL_MODULES = """
import contextlib, importlib, inspect, pkgutil, workshed
import django
from workshed.contrib.django.errors import OldDjangoError
too_old = contextlib.suppress(*([OldDjangoError] if django.VERSION < (6, 0) else []))
loaded_by_django = ("workshed.contrib.django.admin", "workshed.contrib.django.models")
for one in pkgutil.walk_packages(workshed.__path__, "workshed.", onerror=lambda _: None):
    if not one.name.endswith("__main__") and one.name not in loaded_by_django:
        with too_old:
            importlib.import_module(one.name)
modules = {name for name in workshed.__all__ if inspect.ismodule(getattr(workshed, name))}
assert modules == {"schedule"}, modules
assert "cancel" in vars(workshed.schedule)
"""
"""A submodule with the name of a public object would hide that once it is imported."""


@pytest.mark.parametrize("code", [FIRST_USE, AFTER_ALL_MODULES])
def test_names_are_imported_on_first_use_and_hidden_by_no_module(code):
    # One module is imported only by a Django project, which has settings.
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "django.conf.global_settings"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )

    assert done.returncode == 0, done.stderr


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'workshed' has no attribute 'celery'"):
        workshed.celery  # noqa: B018


def test_an_editor_can_list_the_names():
    assert set(workshed.__all__) <= set(dir(workshed))
