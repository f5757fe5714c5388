"""The commands of Workshed and the shop, run in this process on the servers of the test."""

import functools

import pytest

from shop.__main__ import COMMANDS as SHOP
from shop.__main__ import NAME
from shop.__main__ import app as shop
from tests.library.integration.console.conftest import (
    bury,
    conn,
    declared,
    dies,
    make_batch,
    management,
    ran,
    run_program,
    set_variables,
    store,
    tarpit,
)
from tests.service.integration.console import kinds
from tests.service.variables import variable
from workshed.console.cli import app
from workshed.contrib.storage import blobs, storage
from workshed.transport.amqp import topology

__all__ = [
    "bury",
    "conn",
    "declared",
    "dies",
    "make_batch",
    "management",
    "ran",
    "run_program",
    "store",
    "tarpit",
]


@pytest.fixture
def env(monkeypatch):
    """`env(SYNC_ORIGINS="…")`: set variables of Workshed and the shop in this process."""
    return functools.partial(set_variables, monkeypatch, variable)


@pytest.fixture
def workshed(run_program):
    """`workshed("dead", "list")`: run a command, also one of the shop's, without a terminal."""

    def run(*words):
        of_shop = words and words[0] in SHOP
        return run_program(*((shop, NAME) if of_shop else (app, "workshed")), *words)

    return run


@pytest.fixture
def something(broker, management, conn, store, bury, ran, env, open_folder):
    """`something("dead show ID")`: the words of a command, with real objects for placeholders."""
    env(STORAGE_URL=f"file:{open_folder}/contents", SECRET_KEY="k" * 40, SYNC_ORIGINS=kinds.ORIGIN)
    (open_folder / "news.txt").write_text("{{ unsubscribe_url }}")
    (open_folder / "people.csv").write_text("name,email\nAda,ada@example.org\n")
    broker.ensure_queues({"emails"})  # all queues would take RabbitMQ 0.3 s of CPU time
    kinds.jobs(conn, store, bury, ran)
    draft, sent = kinds.product()
    names = {"BATCH": kinds.BATCH, "KEY": "greet:7", "NAME": "nightly", "RULE": "1"}
    names |= {"QUEUE": "emails", "ACTOR": "deliver_email 7", "SOURCE": "crm", "TEXT": "Hello"}
    names |= {"URL": f"{kinds.ORIGIN}/v2", "ADDRESS": kinds.GRACE, "FOLDER": str(open_folder)}
    names |= {"FILE": f"{open_folder}/news.txt", "CSV": f"{open_folder}/people.csv"}
    names |= {"WORKER": "here:1", "USER": "olga"}
    names |= {"DRAFT": str(draft), "CAMPAIGN": str(sent)}
    names |= {"MAIL": str(kinds.mail_in_doubt()), "SERVER": kinds.SERVER}

    def called(line):
        if line.startswith("broker"):
            broker.ensure_queues(set(broker.declared_queues))
        names["ID"] = "died" if line.startswith("dead") else "waits"
        return " ".join(names.get(word, word) for word in line.split()).split()

    return called


@pytest.fixture
def called(something, broker, conn, rabbitmq, open_folder, eventually):
    """`called("queues purge QUEUE")`: the words of a command that has something to do."""
    with topology.open_connection(broker.urls) as connection:
        for queue in ("emails", "emails.dead"):
            connection.channel().basic_publish("", queue, b"x")
    with storage().draft() as draft:
        draft.write(b"a content whose row is lost")
        blob = blobs.keep(draft)
    conn.execute("DELETE FROM workshed_storage.blobs WHERE sha256 = %s", (blob.sha256,))
    (open_folder / "logs").mkdir()
    (open_folder / "logs/mail.log").write_text("7 bytes")
    eventually(lambda: rabbitmq.depth("emails") == rabbitmq.depth("emails.dead") == 1)
    return something
