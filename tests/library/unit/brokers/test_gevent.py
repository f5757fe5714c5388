"""gevent is refused at boot, because no time limit would interrupt a job."""

import dramatiq
import pytest

from workshed.errors import WorkshedError
from workshed.settings import Settings
from workshed.transport import base
from workshed.transport.build import build_broker
from workshed.transport.rabbitmq import RabbitMQBroker


def test_a_worker_does_not_boot_under_gevent(monkeypatch):
    """A job would run on until the hard time limit ends the process and all its jobs."""
    broker = build_broker(Settings())
    assert isinstance(broker, RabbitMQBroker)
    monkeypatch.setattr(base, "is_gevent_active", lambda: True)

    with pytest.raises(WorkshedError, match="gevent has patched this process"):
        broker.check_worker(dramatiq.Worker(broker))
