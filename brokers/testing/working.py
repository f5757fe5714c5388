"""What a worker of the tests imports beside its actors: it writes down what runs, and can die."""

from brokers import broker
from brokers.testing.connections import Passing, PassingCursor
from brokers.testing.recorder import Recorder
from workshed import db

broker.add_middleware(Recorder(broker.actors))
# Before the pool is made, of which they are.
db.WatchedConnection = Passing  # type: ignore[misc]
db.OPTIONS["cursor_factory"] = PassingCursor
