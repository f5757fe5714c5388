"""The database of the tests, for the kit and for Django."""

from io import BytesIO

import pytest
from django.core.management import call_command
from django.db import connections
from PIL import Image
from psycopg.conninfo import conninfo_to_dict

from store.models import User


@pytest.fixture(scope="session")
def django_db_setup(jobs_database, django_db_blocker):
    parts = conninfo_to_dict(jobs_database)
    connections["default"].settings_dict |= {
        "NAME": parts["dbname"],
        "USER": parts["user"],
        "PASSWORD": parts["password"],
        "HOST": parts["host"],
        "PORT": parts["port"],
    }
    with django_db_blocker.unblock():
        call_command("migrate", verbosity=0)


@pytest.fixture
def ada(jobs, transactional_db):
    """A user who is an admin."""
    return User.objects.create(name="Ada", email="ada@example.org", is_admin=True)


@pytest.fixture
def jpeg():
    """A photo of 1600 by 1200 pixels."""
    content = BytesIO()
    Image.new("RGB", (1600, 1200), "teal").save(content, "JPEG")
    return content.getvalue()
