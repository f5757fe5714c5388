"""What the middleware does about Sentry beside telling it.

That is in `tests/library/e2e/test_sentry.py`.
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
    """A hook before the enqueue vetoes with what it raises."""

    def fail():
        raise OSError("away")

    monkeypatch.setattr(sentry, "_initialised", lambda: True)
    monkeypatch.setattr(sentry, "_reports", fail)

    Sentry(Settings()).before_enqueue(StubBroker(middleware=[]), message, None)

    assert message.options == {}
    assert "sent without its trace" in caplog.text


def test_where_nobody_reports_a_message_has_no_trace(message):
    Sentry(Settings()).before_enqueue(StubBroker(middleware=[]), message, None)

    assert message.options == {}
