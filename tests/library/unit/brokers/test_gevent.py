"""gevent: refused at boot, since no time limit would strike."""

import dramatiq
import pytest

from workshed.errors import WorkshedError
from workshed.settings import Settings
from workshed.transport import base
from workshed.transport.build import build_broker
from workshed.transport.rabbitmq import RabbitMQBroker


def test_a_worker_does_not_boot_under_it(monkeypatch):
    """A job would go on past its time limit, until the hard one ends the process and all in it."""
    broker = build_broker(Settings())
    assert isinstance(broker, RabbitMQBroker)
    monkeypatch.setattr(base, "is_gevent_active", lambda: True)

    with pytest.raises(WorkshedError, match="gevent has patched this process"):
        broker.check_worker(dramatiq.Worker(broker))
