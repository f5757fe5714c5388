"""Each part of an installation with an account of RabbitMQ and a role of PostgreSQL of its own."""

import secrets
from urllib.parse import urlsplit, urlunsplit

from brokers.accounts import accounts
from brokers.definitions import definitions
from tests import pages
from workshed.roles import ROLES, script

TIMEOUTS = pages.block("docs/roles.md", "timeouts")
PASSWORD = "pw"


class Parts:
    """What `workshed broker definitions` and `workshed roles` print, taken by the servers."""

    def __init__(self, broker_url, database_url, rabbitmq, conn, queues, pools):
        self._urls = broker_url, database_url
        self._rabbitmq, self._conn = rabbitmq, conn
        self.prefix = f"parts_{secrets.token_hex(5)}"
        people = accounts([queue.name for queue in queues], pools, self.prefix)
        self._accounts = [one.name for one in people]
        passwords = dict.fromkeys(self._accounts, PASSWORD)
        rabbitmq.load(definitions(rabbitmq.vhost, queues, people, passwords))
        conn.execute("\n".join(script(self.prefix, ("jobs", "product"))))
        for role in ROLES:
            name = f"{self.prefix}_{role}"
            conn.execute(f"CREATE ROLE {name}_one LOGIN PASSWORD '{PASSWORD}' IN ROLE {name}")
            conn.execute(TIMEOUTS.replace("ROLE shop", f"ROLE {name}_one"))

    def broker_url(self, account):
        """The URL of RabbitMQ of an account; without one it is that of nobody."""
        return by(self._urls[0], f"{self.prefix}-{account}" if account else "nobody")

    def database_url(self, role):
        """The URL of PostgreSQL of a role."""
        return by(self._urls[1], f"{self.prefix}_{role}_one")

    def env(self, account, role):
        """The variables of a part."""
        return {
            "WORKSHED_BROKER_URL": self.broker_url(account),
            "WORKSHED_DATABASE_URL": self.database_url(role),
        }

    def end(self):
        """Take all that from the servers."""
        for name in self._accounts:
            self._rabbitmq.ask("DELETE", f"users/{name}")
        for role in ROLES:
            name = f"{self.prefix}_{role}"
            self._conn.execute(f"DROP ROLE {name}_one; DROP OWNED BY {name}; DROP ROLE {name}")


def by(url, user):
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))
