"""A plain `dramatiq` worker of a Django project."""

import subprocess
import sys

from tests.library.e2e.django_sites.project import Site

ENTRY = """
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

import django

django.setup()
"""


def test_a_master_without_the_settings_names_the_variable(
    tmp_path, site_database, site_broker, eventually
):
    """Only the workers import the module that sets it."""
    site = Site(tmp_path, site_database, site_broker, {"entry.py": ENTRY})
    site.manage("migrate")
    del site.environment["DJANGO_SETTINGS_MODULE"]
    log = tmp_path / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "dramatiq", "entry", "-p", "1", "-t", "1"],
            cwd=tmp_path,
            env=site.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as master,
    ):
        try:
            eventually(lambda: "no relay is running, because DJANGO_SETTINGS_" in log.read_text())
        finally:
            master.terminate()

    assert "ImproperlyConfigured" not in log.read_text()
