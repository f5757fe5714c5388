"""Jobs of a Django application, whose connections are cut."""

import time
from datetime import timedelta

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

import workshed.settings

URL = workshed.settings.settings().database_url.get_secret_value()
PARTS = conninfo_to_dict(URL)
NAMES = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
DATABASE = {name: str(PARTS.get(part) or "") for part, name in NAMES.items()}
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "OPTIONS": {"application_name": "django"},
            **DATABASE,
        }
    },
    LOGGING_CONFIG=None,
)
django.setup()

import dramatiq  # noqa: E402 -- as in a Django application, settings come first
from django.db import models  # noqa: E402

from workshed.middleware import RetryOn  # noqa: E402
from workshed.transport import Queue, broker  # noqa: E402

broker.add_queue(Queue("parts"))

AGAIN = RetryOn(Exception, attempts=4, wait=timedelta(milliseconds=100))
"""The default number of attempts, but sooner."""


class Effect(models.Model):
    """The effect of a job."""

    kind = models.TextField()
    number = models.IntegerField()

    class Meta:
        """The test creates the table."""

        app_label = "shop"
        db_table = "effects"

    def __str__(self):
        """Return its name."""
        return f"{self.kind} {self.number}"


@dramatiq.actor(broker=broker, queue_name="parts", retry_on=AGAIN)
def pay(number):
    """Write the effect without opening a transaction."""
    Effect.objects.create(kind="pay", number=number)
    time.sleep(0.01)
