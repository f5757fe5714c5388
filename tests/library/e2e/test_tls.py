"""A whole installation that uses nothing but TLS, with certificates of a private authority."""

import contextlib
import json
import os
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import pages, tls
from tests.conftest import management
from workshed.devserver.ports import HOST

ACTORS = """
import dramatiq
from workshed import broker, db

@dramatiq.actor(broker=broker, queue_name="low", once=True)
def note(number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO noted VALUES (%s, %s)", (number, conn.pgconn.ssl_in_use))
"""
SEND = """
from workshed import db, schedule
import parts

with db.transaction() as conn:
    schedule.send(conn, parts.note.message(1))
"""
SHOWN = pages.block("docs/roles.md", "export WORKSHED_BROKER_URL='amqps")
MANAGEMENT = {"management": "MANAGEMENT"}


@pytest.fixture(scope="module")
def ports(servers, authority):
    """The ports where RabbitMQ serves AMQP and its API over TLS."""
    node = servers.rabbitmq
    return tls.listen(node, authority), tls.manage(node, authority)


@pytest.fixture
def by_tls(servers, ports, vhost, database, environment, numbers, authority, eventually):
    """Environment variables of a process that reaches all servers, and RabbitMQ's API, by TLS."""
    ca, (amqps, https) = authority.file, ports
    with tls.postgres(database, authority.issue(), eventually) as postgres:
        yield {
            **environment,
            **numbers,
            "WORKSHED_BROKER_URL": tls.by_tls(vhost, amqps, cacertfile=ca),
            "WORKSHED_MANAGEMENT_URL": tls.by_tls(management(servers), https, cacertfile=ca),
            "WORKSHED_DATABASE_URL": tls.verified(postgres, ca),
        }


@pytest.fixture
def workshed(by_tls, run_apart):
    """`workshed("doctor")`: run the installed command to its end."""
    return lambda *words, **env: run_apart("-m", "workshed", *words, **{**by_tls, **env})


@pytest.fixture
def background(warm, by_tls, tmp_path):
    """`background("relay")`: start a command that runs until the test ends; returns its log."""
    with contextlib.ExitStack() as stack:

        def start(*words):
            log = tmp_path / f"{words[0]}.log"
            process = warm.start("workshed", *words, env={**os.environ, **by_tls}, log=log)
            stack.callback(process.wait, 90)
            stack.callback(process.terminate)
            return log

        yield start


@pytest.fixture
def noted(conn, tmp_path):
    """The numbers that were noted, each with whether its connection used TLS."""
    (tmp_path / "parts.py").write_text(ACTORS)
    conn.autocommit = True
    conn.execute("CREATE TABLE noted (number int, by_tls boolean)")
    return lambda: conn.execute("SELECT number, by_tls FROM noted").fetchall()


def form(url):
    """The scheme, and the names in the query."""
    parts = urlsplit(url)
    return parts.scheme, parse_qs(parts.query).keys()


def test_the_urls_of_the_page_have_the_form_of_those_used_here(by_tls):
    lines = re.findall(r"^export (\w+)='(.+)'$", SHOWN, re.MULTILINE)

    assert len(lines) == 3
    assert {name: form(url) for name, url in lines} == {
        name: form(by_tls[name]) for name, _ in lines
    }


def test_a_job_is_sent_relayed_and_run_by_tls_and_the_doctor_is_content(
    workshed, by_tls, background, run_apart, rabbitmq, noted, authority, eventually
):
    made = workshed("broker", "setup", "--import", "parts")
    assert made.returncode == 0, made.stderr
    sent = run_apart("-c", SEND, **by_tls)
    assert sent.returncode == 0, sent.stderr
    logs = [background("relay"), background("worker", "--no-relay", "-p", "1", "-t", "2", "parts")]

    ran = eventually(noted)

    assert ran == [(1, True)], [log.read_text() for log in logs]
    checked = workshed("broker", "check", "--import", "parts")
    assert "as declared" in checked.stdout, checked.stderr

    def ours():
        links = rabbitmq.ask("GET", "connections")
        return [one["ssl"] for one in links if one.get("vhost") == rabbitmq.vhost]

    eventually(lambda: len(ours()) >= 2)  # the list is up to 5 s old
    assert all(ours())
    words = ("--import", "parts", "--processes", "1", "--threads", "2", "--stop-within", "30s")
    report = workshed("doctor", "--json", *words)
    findings = json.loads(report.stdout)["checks"]
    assert [one for one in findings if one["level"] != "ok"] == []
    said = {one["check"]: one["message"] for one in findings}
    for check in ("RabbitMQ", "management"):
        assert f"TLS by {authority.file}" in said[check]


@pytest.mark.parametrize("wrong", [{"RabbitMQ": "BROKER", "PostgreSQL": "DATABASE"}, MANAGEMENT])
def test_the_doctor_says_which_server_shows_a_certificate_of_another_host(
    wrong, workshed, by_tls, authority
):
    """And its fix is never a URL without TLS."""
    names = [f"WORKSHED_{name}_URL" for name in wrong.values()]
    urls = {name: by_tls[name].replace(tls.NAME, HOST) for name in names}

    report = workshed("doctor", "--json", **urls)

    found = {one["check"]: one for one in json.loads(report.stdout)["checks"]}
    assert report.returncode == 1
    for check in wrong:
        assert found[check]["level"] == "failed"
        assert HOST in found[check]["message"]
        assert "amqp:" not in found[check]["fix"]
    if wrong == MANAGEMENT:
        assert found["management"]["fix"].endswith(f":15671?cacertfile={authority.file}'")
    for url in urls.values():
        assert urlsplit(url).password not in report.stdout + report.stderr
