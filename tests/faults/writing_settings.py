"""The settings of a Django project on the database of a test, for `writing.py`."""

import os

from psycopg.conninfo import conninfo_to_dict

PARTS = conninfo_to_dict(os.environ["WORKSHED_DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": PARTS["dbname"],
        "USER": PARTS["user"],
        "PASSWORD": PARTS["password"],
        "HOST": PARTS["host"],
        "PORT": PARTS["port"],
    }
}
INSTALLED_APPS = ["workshed.contrib.django"]
LOGGING_CONFIG = None
