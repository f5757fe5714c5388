"""Imported by a test's worker before its actors: records runs, adds failpoints and the guard."""

import os

from workshed import db
from workshed.database import pool
from workshed.settings import settings
from workshed.testing.database.connections import FailpointConnection, FailpointCursor
from workshed.testing.guard import guard, install_guard, parse_addresses
from workshed.testing.real_worker.recorder import RunRecorder
from workshed.testing.real_worker.worker import OTHER_DATABASES
from workshed.transport import broker

broker.add_middleware(RunRecorder(broker.actors))
# Before the pool is created, because its connections use these classes.
pool.InterruptibleConnection = FailpointConnection  # type: ignore[misc]
db.CONNECT_OPTIONS["cursor_factory"] = FailpointCursor

# As in the test, the application's own engines lead to the database of its settings.
install_guard()
guard.own = parse_addresses(settings().database_url.get_secret_value())
guard.others = os.environ.get(OTHER_DATABASES, "").split(",")
