"""dramatiq's own middleware that works here: `CurrentMessage` and `Prometheus`."""

from urllib.error import URLError
from urllib.request import urlopen

import pytest
from dramatiq import Message

from workshed.devserver.ports import find_free_ports

PROGRAM = """
import os
from pathlib import Path

import dramatiq
from dramatiq.middleware import CurrentMessage
from dramatiq.middleware.prometheus import Prometheus

from workshed import broker

broker.add_middleware(CurrentMessage())
broker.add_middleware(Prometheus())


@dramatiq.actor(max_retries=0)
def note(number):
    Path(os.environ["NOTED"]).write_text(CurrentMessage.get_current_message().message_id)
    if number == 2:
        raise OSError("fails on purpose")
"""


@pytest.fixture
def page(tmp_path):
    """The address of dramatiq's metrics, and the environment variables of a worker for it."""
    (port,) = find_free_ports(1)
    return f"http://127.0.0.1:{port}/metrics", {
        "dramatiq_prom_db": str(tmp_path),  # by default one folder for all programs of the machine
        "dramatiq_prom_host": "127.0.0.1",
        "dramatiq_prom_port": str(port),
    }


def test_both_see_each_job(page, broker, start_worker, tmp_path, eventually):
    url, env = page
    noted = tmp_path / "noted"
    (tmp_path / "mine.py").write_text(PROGRAM)
    start_worker("mine", threads=1, env={**env, "NOTED": str(noted)})

    first = broker.enqueue(Message("default", "note", (1,), {}, {}))
    eventually(lambda: noted.exists() and noted.read_text() == first.message_id)
    second = broker.enqueue(Message("default", "note", (2,), {}, {}))
    eventually(lambda: noted.read_text() == second.message_id)

    labels = '{actor_name="note",queue_name="default"}'
    eventually(lambda: f"dramatiq_messages_total{labels} 2.0" in read(url))
    eventually(lambda: f"dramatiq_message_errors_total{labels} 1.0" in read(url))


def read(url):
    """Return the page, or an empty text while it is not there yet."""
    try:
        with urlopen(url, timeout=60) as answer:  # noqa: S310 -- http
            return answer.read().decode()
    except URLError:
        return ""
