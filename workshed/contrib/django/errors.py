"""Errors of Workshed in a Django project."""

from django import get_version

from workshed.extras import MissingExtraError


class OldDjangoError(MissingExtraError):
    """The installed Django has no tasks."""

    def __init__(self) -> None:
        super().__init__("django", "django.tasks")

    def __str__(self) -> str:
        """Name the version that is needed."""
        return (
            f"Workshed's backend for tasks needs Django 6.0 or newer; this is {get_version()}. "
            "Upgrade Django, or declare actors in the module `jobs` of your apps"
        )
