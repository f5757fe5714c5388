"""The setup commands on pages: their settings are accepted, and their tables are created."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests import pages
from tests.transcripts import shell
from workshed import db
from workshed.migrate import list_pending, list_streams

LINES = {
    "bulk mail": pages.block("docs/bulk-mail.md", "workshed migrate"),
    "configuration": pages.block("docs/configuration.md", "export WORKSHED_BROKER_URL"),
    "groups": pages.block("docs/capacity.md", "# group 1"),
    "sentry": pages.block("docs/sentry-and-tracing.md", "pip install 'workshed[sentry]'"),
    "tracing": pages.block("docs/sentry-and-tracing.md", "pip install 'workshed[otel]'"),
}
TAKEN = 'python -c "from workshed.settings import settings; settings()" && echo taken'
INSTALL = re.compile(r"^pip install '(.+)'.*\n", re.MULTILINE)


@pytest.mark.parametrize("lines", LINES.values(), ids=LINES)
def test_their_extras_exist_and_their_settings_are_accepted(
    lines, empty_database_url, monkeypatch, tmp_path
):
    """All packages of an extra are installed, because a test downloads nothing."""
    monkeypatch.setenv("WORKSHED_DATABASE_URL", empty_database_url)
    extras = {extra for one in INSTALL.findall(lines) for extra in Requirement(one).extras}
    assert extras <= set(metadata.metadata("workshed").get_all("Provides-Extra"))

    script = INSTALL.sub("", lines).replace("SECRET_KEY=…", f"SECRET_KEY={'k' * 40}")
    said = shell(tmp_path)(f"set -ea; {script}{TAKEN}")

    assert said.endswith("taken\n")
    if "migrate" in lines:
        with db.Connection.connect(empty_database_url) as conn:
            assert list_pending(conn, list_streams()) == []
