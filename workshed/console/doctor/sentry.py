"""Sentry: with its SDK, where it is wanted; how a DSN is written the settings have seen."""

import importlib.util
from collections.abc import Iterator
from urllib.parse import urlsplit

from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, failed, ok

SDK = "sentry_sdk"


def check(here: DoctorContext) -> Iterator[Finding]:
    """Look for it; import nothing, send nothing."""
    dsn = here.settings.sentry_dsn
    if dsn is None:
        yield ok("no WORKSHED_SENTRY_DSN is set: failures are reported nowhere else")
    elif importlib.util.find_spec(SDK) is None:
        said = "WORKSHED_SENTRY_DSN is set and the SDK is missing, so no worker starts"
        yield failed(said, "pip install 'workshed[sentry]'")
    else:
        yield ok(f"failures are reported to {urlsplit(dsn.get_secret_value()).hostname}")
