"""Workshed's tables as the admin reads them.

Workshed's own migrations create them, so Django manages none of them. Django also sends
`pre_migrate` only to apps that have this module.
"""

from typing import Any

from django.db import models

from workshed.jobs.outcomes import OUTCOMES


class NoRows(models.Manager):
    """Keeps `dumpdata` from reading the tables, which need not be in the database that it dumps."""

    def get_queryset(self) -> Any:
        """Return nothing; the admin has a query of its own."""
        return super().get_queryset().none()


class JobRun(models.Model):
    """One run of a job, from the history."""

    id = models.BigIntegerField(primary_key=True)
    recorded_at = models.DateTimeField()
    message_id = models.TextField("job")
    attempt = models.IntegerField()
    queue = models.TextField()
    actor = models.TextField()
    outcome = models.TextField(choices=[(outcome, outcome) for outcome in OUTCOMES])
    reason = models.TextField()
    error_class = models.TextField(null=True)  # noqa: DJ001 -- as the column
    traceback = models.TextField(null=True)  # noqa: DJ001
    sent_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField()
    queue_wait_s = models.FloatField("waited (s)", null=True)
    duration_s = models.FloatField("ran (s)", null=True)
    worker = models.TextField()
    parent = models.TextField("sent by job", null=True)  # noqa: DJ001
    release = models.TextField()
    arguments: Any = models.TextField(null=True)  # noqa: DJ001
    """A dict: the column is `json`, which psycopg parses, unlike Django's `jsonb`."""

    objects = NoRows()

    class Meta:
        """A view of the history."""

        managed = False
        base_manager_name = "objects"
        db_table = '"workshed"."runs"'
        default_permissions = ("view",)
        verbose_name = "run"

    def __str__(self) -> str:
        """Return the actor and the ID of the job."""
        return f"{self.actor} {self.message_id}"


class DeadJobRow(models.Model):
    """A dead job."""

    message_id = models.TextField("job", primary_key=True)
    attempt = models.IntegerField()
    queue = models.TextField()
    actor = models.TextField(null=True)  # noqa: DJ001
    body = models.BinaryField()
    reason = models.TextField()
    error_class = models.TextField(null=True)  # noqa: DJ001
    error_location = models.TextField(null=True)  # noqa: DJ001
    release = models.TextField(null=True)  # noqa: DJ001
    died_at = models.DateTimeField()

    objects = NoRows()

    class Meta:
        """A view of the dead jobs."""

        managed = False
        base_manager_name = "objects"
        db_table = '"workshed"."dead"'
        default_permissions = ("view",)
        verbose_name = "dead job"

    def __str__(self) -> str:
        """Return the actor and the ID of the job."""
        return f"{self.actor or '?'} {self.message_id}"


class ScheduledJobRow(models.Model):
    """A job that waits in PostgreSQL: for its time, its retry, or a relay."""

    message_id = models.TextField("job", primary_key=True)
    generation = models.IntegerField()
    queue = models.TextField()
    actor = models.TextField()
    body = models.TextField()
    reason = models.TextField()
    due_at = models.DateTimeField()
    created_at = models.DateTimeField("stored at")
    claimed_by = models.UUIDField(null=True)
    sent_at = models.DateTimeField(null=True)

    objects = NoRows()

    class Meta:
        """A view of the schedule."""

        managed = False
        base_manager_name = "objects"
        db_table = '"workshed"."schedule"'
        default_permissions = ("view",)
        verbose_name = "scheduled job"

    def __str__(self) -> str:
        """Return the actor and the ID of the job."""
        return f"{self.actor} {self.message_id}"
