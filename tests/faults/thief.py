"""A thief with a part's password, who tries what that part may not do."""

import contextlib
from typing import Any

import pika
import psycopg
from pika.exceptions import AMQPError, ChannelClosedByBroker
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from tests.forbidden import ALWAYS, POOLS, attempts, columns_of, may, operations, refusal
from tests.library.e2e.parts import Parts
from workshed import Queue
from workshed.roles import ROLES, list_grants

LONGEST = "2s"
"""Longest wait for a lock; a refused statement waits for none."""


class Thief:
    """Has all passwords; `accepted` is what was not refused, and with whose password."""

    def __init__(self) -> None:
        self.tried = 0
        self.accepted: list[tuple[str, str]] = []


class OnRabbitMQ(Thief):
    """Tries AMQP operations, with an account for each pool of workers."""

    def __init__(self, parts: Parts, mail: Queue, rest: Queue) -> None:
        super().__init__()
        self._parts = parts
        self._open: dict[str, Any] = {}
        self._does = operations(mail, rest)
        self.forbidden = [
            (part, name)
            for part in (*POOLS, *ALWAYS)
            for name in self._does
            if name not in may(mail, rest)[part]
        ]

    def attempt(self, part: str, name: str) -> None:
        """Try the operation."""
        self.tried += 1
        channel = self._channel(part)
        try:
            self._does[name](channel)
        except ChannelClosedByBroker as err:
            if err.reply_code == refusal(part, name):
                return
        self.accepted.append((part, name))

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            with contextlib.suppress(AMQPError):
                connection.close()

    def _channel(self, part: str) -> Any:
        if part not in self._open or not self._open[part].is_open:
            url = self._parts.broker_url(part)
            self._open[part] = pika.BlockingConnection(pika.URLParameters(url))
        channel = self._open[part].channel()
        channel.confirm_delivery()
        return channel


class OnPostgreSQL(Thief):
    """Tries statements, each of which would change all rows of a table, or the table."""

    def __init__(self, parts: Parts, conn: psycopg.Connection[Any]) -> None:
        super().__init__()
        self._open = {
            role: psycopg.connect(parts.database_url(role), autocommit=True) for role in ROLES
        }
        for each in self._open.values():
            each.execute(f"SET lock_timeout = '{LONGEST}'")
        self._does: dict[tuple[str, str], sql.Composed] = {
            (table, right): statement
            for grants in list_grants()
            for table in grants.tables
            for right, statement in attempts(table, columns_of(conn, table), "true").items()
        }
        rights = {table: roles for one in list_grants() for table, roles in one.tables.items()}
        self.forbidden = [
            (role, table, right)
            for role in ROLES
            for table, right in self._does
            if right not in rights[table].get(role, "")
        ]

    def attempt(self, role: str, table: str, right: str) -> None:
        """Do it, if PostgreSQL lets one."""
        self.tried += 1
        try:
            self._open[role].execute(self._does[table, right])
        except InsufficientPrivilege:
            return
        except psycopg.Error:  # it was let in, and hurt itself on something else
            pass
        self.accepted.append((role, f"{right} {table}"))

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close()
