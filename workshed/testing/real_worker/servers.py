"""Private servers for one test run, as child processes."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from workshed.settings import PREFIX, settings

STOP_S = 30


class NoServerError(Exception):
    """No server could be started; the text says why."""


class KitRabbitMQ(NamedTuple):
    """A RabbitMQ in which each test has its own virtual host."""

    broker_url: str
    management_url: str


@contextmanager
def private_server() -> Generator[str]:
    """Run `workshed dev --postgres` for the block; yield the URL of its database."""
    with _run_dev("--postgres") as urls:
        yield urls["database_url"]


@contextmanager
def private_rabbitmq(database_url: str) -> Generator[KitRabbitMQ]:
    """Run `workshed dev` for the block, which starts the server that is not given: RabbitMQ."""
    named = {"DATABASE_URL": database_url, "SMTP_URL": "maildir:none"}
    with _run_dev(**{PREFIX + name: url for name, url in named.items()}) as urls:
        yield KitRabbitMQ(urls["broker_url"], urls["management_url"])


@contextmanager
def _run_dev(*options: str, **named: str) -> Generator[dict[str, str]]:
    """Run `workshed dev` with some servers given; yield the URLs of all.

    Runs in a session of its own, so that Ctrl-C reaches the tests first and they shut it down. It
    ends by itself if they are killed.
    """
    # -P, so that a folder `console` in the working directory is not imported.
    words = [sys.executable, "-P", "-m", "workshed", "dev", *options, "--json", "--fresh"]
    env = {name: value for name, value in os.environ.items() if name != f"{PREFIX}BROKER_URL"}
    with subprocess.Popen(  # noqa: S603 -- every word is ours
        words,
        env=env | named,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as server:
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            _, said = server.communicate()
            raise NoServerError(said.strip().removeprefix("workshed: ") or "it printed nothing")
        try:
            yield json.loads(line)
        finally:
            server.terminate()
            server.communicate(timeout=STOP_S)


@contextmanager
def find_server() -> Generator[str | NoServerError]:
    """Yield the URL from `WORKSHED_DATABASE_URL` or of a private server, or why there is none."""
    if "database_url" in settings().given:
        yield settings().database_url.get_secret_value()
        return
    with ExitStack() as stack:
        try:
            url: str | NoServerError = stack.enter_context(private_server())
        except NoServerError as err:
            url = err
        yield url
