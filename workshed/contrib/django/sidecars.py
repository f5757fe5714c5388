"""The fork of a plain `dramatiq` master, which needs the settings of the project and no app."""

import logging
import os

from django.conf import ENVIRONMENT_VARIABLE, settings

from workshed.contrib.django import configuration
from workshed.errors import EXIT_USAGE
from workshed.transport.sidecars import forks

logger = logging.getLogger(__name__)


def run_sidecars() -> int:
    """Do as `workshed.transport.sidecars.forks.run_sidecars`, with the settings of the project.

    The master of `dramatiq` imports none of the project's modules, which may name the settings.
    """
    if not settings.configured and not os.environ.get(ENVIRONMENT_VARIABLE):
        logger.error(
            "no relay is running, because %s is not set in the environment of `dramatiq`, and its "
            "master process does not import the module that sets it: start it with "
            "`%s=shop.settings dramatiq …`, or run `manage.py workshed worker`",
            ENVIRONMENT_VARIABLE,
            ENVIRONMENT_VARIABLE,
        )
        return EXIT_USAGE
    configuration.export_settings()
    return forks.run_sidecars()
