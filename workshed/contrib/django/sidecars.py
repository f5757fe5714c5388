"""The fork of a plain `dramatiq` master, which needs the settings of the project and no app."""

from workshed.contrib.django import configuration
from workshed.transport.sidecars import forks


def run_sidecars() -> int:
    """Do as `workshed.transport.sidecars.forks.run_sidecars`, with the settings of the project."""
    configuration.export_settings()
    return forks.run_sidecars()
