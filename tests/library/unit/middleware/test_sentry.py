"""What the Sentry middleware does apart from reporting.

Reports are tested in `tests/library/e2e/test_sentry.py`.
"""

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from workshed.middleware import Sentry
from workshed.middleware.observability import sentry
from workshed.settings import Settings


@pytest.fixture
def message():
    return dramatiq.Message("default", "work", (), {}, {})


def test_a_client_that_fails_keeps_no_job_from_being_sent(message, monkeypatch, caplog):
    """An exception in `before_enqueue` vetoes the send."""

    def fail():
        raise OSError("away")

    monkeypatch.setattr(sentry, "_is_initialised", lambda: True)
    monkeypatch.setattr(sentry, "_import_events", fail)

    Sentry(Settings()).before_enqueue(StubBroker(middleware=[]), message, None)

    assert message.options == {}
    assert "sent without its trace" in caplog.text


def test_without_reports_a_message_has_no_trace(message):
    Sentry(Settings()).before_enqueue(StubBroker(middleware=[]), message, None)

    assert message.options == {}
