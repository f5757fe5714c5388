"""The settings of the project."""

import os

from psycopg.conninfo import conninfo_to_dict

database = conninfo_to_dict(os.environ.get("DATABASE_URL", "postgresql:///bookshop"))
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.get("dbname"),
        "USER": database.get("user"),
        "PASSWORD": database.get("password"),
        "HOST": database.get("host"),
        "PORT": database.get("port"),
        "ATOMIC_REQUESTS": True,
    }
}
INSTALLED_APPS = ["workshed.contrib.django", "store"]
WORKSHED = {
    "APP": "bookshop.job_app:app",
    "BROKER_URL": os.environ.get("BROKER_URL"),
}
ROOT_URLCONF = "bookshop.urls"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
SECRET_KEY = os.environ.get("SECRET_KEY", "for development only")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
USE_TZ = True
