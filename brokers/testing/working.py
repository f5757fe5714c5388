"""What a worker of the tests imports beside its actors: it writes down what has run."""

from brokers import broker
from brokers.testing.recorder import Recorder

broker.add_middleware(Recorder(broker.actors))
