"""A private PostgreSQL for one run of the tests, as a child process."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from workshed.settings import settings

STOP_S = 30


class NoServerError(Exception):
    """None could be started; the text says why."""


@contextmanager
def private_server() -> Generator[str]:
    """Run `workshed dev --postgres` for the block; yield the URL of its database.

    In a session of its own, so that Ctrl-C reaches the tests first and they end it in good order;
    it ends by itself when they are killed.
    """
    # -P: a folder `console` where the tests are started is not ours.
    words = [sys.executable, "-P", "-m", "console", "dev", "--postgres", "--json", "--fresh"]
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 -- every word is ours
        words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as server:
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            _, said = server.communicate()
            raise NoServerError(said.strip().removeprefix("workshed: ") or "it said nothing")
        try:
            url: str = json.loads(line)["database_url"]
            yield url
        finally:
            server.terminate()
            server.communicate(timeout=STOP_S)


@contextmanager
def found() -> Generator[str | NoServerError]:
    """Yield what `WORKSHED_DATABASE_URL` names, or a private server's URL, or why it is none."""
    if "database_url" in settings().model_fields_set:
        yield settings().database_url.get_secret_value()
        return
    with ExitStack() as stack:
        try:
            url: str | NoServerError = stack.enter_context(private_server())
        except NoServerError as err:
            url = err
        yield url
