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

import dramatiq  # noqa: E402 -- as a Django application does: its settings come first
from django.db import models  # noqa: E402

from workshed.middleware import RetryOn  # noqa: E402
from workshed.transport import Queue, broker  # noqa: E402

broker.add_queue(Queue("parts"))

AGAIN = RetryOn(Exception, attempts=4, wait=timedelta(milliseconds=100))
"""As often as a job is tried by default, but sooner."""


class Effect(models.Model):
    """What a job has done."""

    kind = models.TextField()
    number = models.IntegerField()

    class Meta:
        """The table is made by the test."""

        app_label = "shop"
        db_table = "effects"

    def __str__(self):
        """Name it."""
        return f"{self.kind} {self.number}"


@dramatiq.actor(broker=broker, queue_name="parts", retry_on=AGAIN)
def pay(number):
    """Write the effect, without a transaction of its own."""
    Effect.objects.create(kind="pay", number=number)
    time.sleep(0.01)
