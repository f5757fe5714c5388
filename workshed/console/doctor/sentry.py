"""Check that the SDK of Sentry is installed if a DSN is set; the settings have parsed the DSN."""

import importlib.util
from collections.abc import Iterator
from urllib.parse import urlsplit

from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import Finding, failed, ok

SDK = "sentry_sdk"


def check_sentry(here: DoctorContext) -> Iterator[Finding]:
    """Look for the SDK; import nothing, send nothing."""
    dsn = here.settings.sentry_dsn
    if dsn is None:
        yield ok("WORKSHED_SENTRY_DSN is not set: failures are not reported to Sentry")
    elif importlib.util.find_spec(SDK) is None:
        said = "WORKSHED_SENTRY_DSN is set, but the SDK is missing, so no worker starts"
        yield failed(said, "pip install 'workshed[sentry]'")
    else:
        yield ok(f"failures are reported to {urlsplit(dsn.get_secret_value()).hostname}")
