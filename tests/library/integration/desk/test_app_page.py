"""docs/app.md: its application works as printed, in a directory of its own."""

import json
import os
import subprocess
import sys

import pytest

from tests import pages
from tests.transcripts import check, steps
from workshed.app import APP_VARIABLE, get_app
from workshed.console.web.pages import list_modules

DOCS = "docs/app.md"
FILES = pages.files(DOCS)
[(COMMAND, SHOWN)] = steps(pages.block(DOCS, "$ workshed stock"))
[(MIGRATE, APPLIED)] = steps(pages.block(DOCS, "$ workshed migrate"))


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch, database, connect):
    """The files of the page, and its tables with three articles."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv(APP_VARIABLE)
    done = workshed(*MIGRATE.split()[1:])
    assert done.returncode == 0, done.stderr
    check(APPLIED, done.stdout)
    conn = connect(autocommit=True)
    conn.execute("INSERT INTO stock.articles VALUES ('cups', 2), ('jugs', 1), ('pots', 7)")
    loaded = set(sys.modules)
    get_app.cache_clear()
    list_modules.cache_clear()
    yield tmp_path
    get_app.cache_clear()
    list_modules.cache_clear()
    for name in set(sys.modules) - loaded:
        if name.partition(".")[0] in ("stock", "stock_app"):
            del sys.modules[name]


def workshed(*words):
    return subprocess.run(
        [sys.executable, "-P", "-m", "workshed", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.fresh_database
def test_its_command_its_check_and_its_queues(conn):
    _, *words = COMMAND.split()
    done = workshed(*words)
    assert done.returncode == 0, done.stderr
    check(SHOWN, done.stdout)

    conn.execute("UPDATE stock.articles SET amount = 0 WHERE name = 'cups'")
    found = json.loads(workshed("doctor", "--json").stdout)["checks"]
    assert {
        "check": "shelves",
        "level": "failed",
        "message": "1 articles are sold out",
    }.items() <= (next(one for one in found if one["check"] == "shelves").items())
    assert [(queue.name, queue.weight) for queue in get_app().queues] == [
        ("default", 1),
        ("orders", 3),
    ]


@pytest.mark.fresh_database
def test_its_roles_may_do_exactly_what_it_grants_them():
    granted = [line for line in workshed("roles").stdout.splitlines() if " stock." in line]

    assert "GRANT INSERT ON TABLE stock.levels TO workshed_relay;" in granted
    assert len(granted) == len(["rw", "r", "rw", "a", "r", "r"])
    assert "GRANT USAGE ON SCHEMA stock TO" in workshed("roles").stdout


@pytest.mark.fresh_database
def test_its_page_and_its_button(operator, reader):
    assert reader.json("/stock")["articles"][0] == {"name": "cups", "amount": 2}
    assert "cups: 2" in reader.get("/stock").text

    assert operator.submit("/stock/restock", {"name": "cups"}) == "10 more of cups."

    assert "cups: 12" in reader.get("/stock").text
    assert reader.post("/stock/restock", {"name": "cups"}).status_code == 403


@pytest.mark.fresh_database
def test_its_relay_measures(project, conn, vhost, eventually):
    with (project / "relay.log").open("wb") as log:
        relay = subprocess.Popen(
            [sys.executable, "-P", "-m", "workshed.transport.relay.relay"],
            stdout=log,
            stderr=log,
            env=os.environ,
        )
    try:
        query = "SELECT articles FROM stock.levels"
        eventually(lambda: conn.execute(query).fetchall() == [(3,)])
    finally:
        relay.kill()
        relay.wait(60)
