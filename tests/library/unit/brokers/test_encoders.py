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
    """As one that encrypts: what it writes is no JSON."""

    def encode(self, data):
        return zlib.compress(super().encode(data))


class Stamped(JSONEncoder):
    """Writes a field more."""

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
def test_one_whose_output_cannot_be_read_is_refused_by_the_send(greet, use, encoder):
    """`send()` would return, and every job be dead as `not JSON`."""
    use(encoder)

    name = type(encoder).__name__
    with pytest.raises(RefusedEncoderError, match=f"leave out .* with {name}"):
        greet.send(7)
    assert greet.broker.sent == []


def test_a_worker_does_not_boot_with_it(use):
    """It would come up, and each job that it sends fail."""
    broker = build_broker(Settings())
    use(Compressed())

    with pytest.raises(RefusedEncoderError, match=r"leave out .* with Compressed"):
        broker.check_worker(dramatiq.Worker(broker))


class Plain(JSONEncoder):
    """An application's own, which writes the same."""


@pytest.mark.parametrize("encoder", [JSONEncoder(), Plain(), StrictJson()])
def test_one_that_writes_the_same_is_taken(greet, use, encoder):
    use(encoder)

    greet.send(7)

    assert [message.args for message in greet.broker.sent] == [(7,)]
