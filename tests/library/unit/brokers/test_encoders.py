"""`dramatiq.set_encoder`: messages are JSON, or the send is refused."""

import zlib

import dramatiq
import pytest
from dramatiq.encoder import JSONEncoder, PickleEncoder

from workshed.settings import Settings
from workshed.transport.build import build_broker
from workshed.transport.errors import RefusedEncoderError
from workshed.transport.messages.envelope import StrictJson


class Compressed(JSONEncoder):
    """Like an encrypting encoder: its output is not JSON."""

    def encode(self, data):
        return zlib.compress(super().encode(data))


class Stamped(JSONEncoder):
    """Adds a field."""

    def encode(self, data):
        return super().encode({**data, "version": 2})


class Cannot(JSONEncoder):
    def encode(self, data):
        raise RuntimeError("no key")


@pytest.fixture
def greet():
    stub = build_broker(Settings(broker_url="stub://"))
    return dramatiq.actor(broker=stub, actor_name="greet")(lambda user_id: None)


@pytest.fixture
def use():
    before = dramatiq.get_encoder()
    yield dramatiq.set_encoder
    dramatiq.set_encoder(before)


@pytest.mark.parametrize("encoder", [PickleEncoder(), Compressed(), Stamped(), Cannot()])
def test_an_encoder_with_unreadable_output_is_refused_by_send(greet, use, encoder):
    """Otherwise `send()` would succeed and every job would end dead with `not JSON`."""
    use(encoder)

    name = type(encoder).__name__
    with pytest.raises(RefusedEncoderError, match=f"leave out .* with {name}"):
        greet.send(7)
    assert greet.broker.sent == []


def test_a_worker_does_not_boot_with_such_an_encoder(use):
    """It would boot, and every send by its jobs would fail."""
    broker = build_broker(Settings())
    use(Compressed())

    with pytest.raises(RefusedEncoderError, match=r"leave out .* with Compressed"):
        broker.check_worker(dramatiq.Worker(broker))


class Plain(JSONEncoder):
    """An application's own encoder with the same output."""


@pytest.mark.parametrize("encoder", [JSONEncoder(), Plain(), StrictJson()])
def test_an_encoder_with_the_same_output_is_accepted(greet, use, encoder):
    use(encoder)

    greet.send(7)

    assert [message.args for message in greet.broker.sent] == [(7,)]
