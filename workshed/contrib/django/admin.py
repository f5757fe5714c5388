"""Jobs in Django's admin: the history, the dead jobs and the scheduled ones, all read-only.

Django imports this module only where `django.contrib.admin` is installed.
"""

import re
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import QuerySet

from workshed.contrib.django import job_calls
from workshed.contrib.django.job_admin import ActorFilter, JobAdmin, QueueFilter
from workshed.contrib.django.models import DeadJobRow, JobRun, ScheduledJobRow

DIGITS = re.compile(r"[0-9]{1,19}")


@admin.register(JobRun)
class JobRunAdmin(JobAdmin):
    """The history of runs."""

    ordering = ("-recorded_at", "-id")
    list_display = ("call", "outcome", "attempt", "queue", "ended_at", "duration_s", "message_id")
    list_filter = ("outcome", ("recorded_at", admin.DateFieldListFilter), QueueFilter, ActorFilter)
    search_names = ("actor", "parent")
    search_help_text = "the ID of a job or of the job that sent it, or an actor"
    fields = (
        *("call", "message_id", "actor", "queue", "outcome", "reason", "attempt"),
        *("error_class", "traceback", "sent_at", "started_at", "ended_at", "queue_wait_s"),
        *("duration_s", "worker", "release", "parent"),
    )

    def find(self, rows: QuerySet[Any], object_id: str) -> Any | None:
        """Return the run of an address."""
        number, _, message_id = object_id.partition("-")
        if not DIGITS.fullmatch(number):
            return None
        return rows.filter(message_id=message_id, id=int(number)).first()

    def object_id(self, row: JobRun) -> str:
        """Return its number, and the ID of its job, which has an index."""
        return str(quote(f"{row.id}-{row.message_id}"))

    def describe(self, rows: Sequence[Any]) -> None:
        """Give each row the text of its `call`."""
        for row in rows:
            row.call = job_calls.describe_run(row)


@admin.register(DeadJobRow)
class DeadJobAdmin(JobAdmin):
    """The dead jobs."""

    ordering = ("-died_at",)
    list_display = ("call", "error_class", "reason", "attempt", "queue", "died_at", "message_id")
    list_filter = (("died_at", admin.DateFieldListFilter), QueueFilter, ActorFilter)
    search_names = ("actor", "error_class")
    search_help_text = "the ID of a job, an actor, or the class of an error"
    fields = (
        *("call", "message_id", "actor", "queue", "attempt", "reason", "error_class"),
        *("error_location", "release", "died_at"),
    )


@admin.register(ScheduledJobRow)
class ScheduledJobAdmin(JobAdmin):
    """The jobs that wait in PostgreSQL, the next one first."""

    ordering = ("due_at",)
    list_display = ("call", "due_at", "reason", "queue", "created_at", "message_id")
    fields = ("call", "message_id", "actor", "queue", "reason", "due_at", "created_at")

    def get_queryset(self, request: Any) -> QuerySet[Any]:
        """Leave out what is on RabbitMQ, or on its way there."""
        return super().get_queryset(request).filter(claimed_by=None, sent_at=None)
