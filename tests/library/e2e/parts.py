"""An installation whose parts have their own RabbitMQ accounts and PostgreSQL roles."""

import os
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests import pages
from workshed.roles import ROLES
from workshed.transport.amqp.accounts import build_accounts
from workshed.transport.amqp.definitions import build_definitions

PAGE = "docs/roles.md"
MAKE = pages.block(PAGE, "roles")
MEMBER = pages.block(PAGE, "member")
TIMEOUTS = pages.block(PAGE, "timeouts")
PASSWORD = "pw"


class Parts:
    """The output of `workshed broker definitions` and `workshed roles`, applied to the servers.

    The owner of the database, who is not a superuser, makes the roles with the commands of the
    page; `programs` is the folder of psql.
    """

    def __init__(self, broker_url, database_url, rabbitmq, programs, queues, pools):
        self._urls = broker_url, database_url
        self._rabbitmq = rabbitmq
        self.prefix = f"parts_{secrets.token_hex(5)}"
        people = build_accounts([queue.name for queue in queues], pools, self.prefix)
        self._accounts = [one.name for one in people]
        passwords = dict.fromkeys(self._accounts, PASSWORD)
        rabbitmq.load(
            build_definitions(rabbitmq.vhost, queues, people, passwords, rabbitmq.version())
        )
        run(MAKE, self.prefix, database_url, programs)
        with self._owner() as conn:
            for role in ROLES:
                name = f"{self.prefix}_{role}"
                member = MEMBER.replace("workshed_sender", name).replace("…", PASSWORD)
                for words in (member, TIMEOUTS):
                    conn.execute(words.replace("ROLE shop ", f"ROLE {name}_one "))

    def broker_url(self, account):
        """The RabbitMQ URL of an account; without one, that of an unknown user."""
        return by(self._urls[0], f"{self.prefix}-{account}" if account else "stranger")

    def database_url(self, role):
        """The PostgreSQL URL of a role."""
        return by(self._urls[1], f"{self.prefix}_{role}_one")

    def env(self, account, role):
        """The environment variables of a part."""
        return {
            "WORKSHED_BROKER_URL": self.broker_url(account),
            "WORKSHED_DATABASE_URL": self.database_url(role),
        }

    def end(self):
        """Remove the accounts and roles from the servers."""
        for name in self._accounts:
            self._rabbitmq.ask("DELETE", f"users/{name}")
        with self._owner() as conn:
            for role in ROLES:
                name = f"{self.prefix}_{role}"
                conn.execute(f"DROP ROLE {name}_one")
                drop(conn, name)

    def _owner(self):
        return psycopg.connect(self._urls[1], autocommit=True)


def run(command, prefix, url, programs):
    """Run a command of the page, with the prefix for its roles, as the user of the URL."""
    folders = [Path(sys.executable).parent, programs, os.environ["PATH"]]
    done = subprocess.run(
        ["sh", "-e", "-c", command.replace("workshed roles", f"workshed roles --prefix {prefix}")],
        env={
            **os.environ,
            "PATH": os.pathsep.join(map(str, folders)),
            "WORKSHED_DATABASE_URL": url,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def drop(conn, role):
    """Drop a role with its rights, which only a member of it or a superuser may take away."""
    conn.execute(f"GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}")


def by(url, user):
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))
