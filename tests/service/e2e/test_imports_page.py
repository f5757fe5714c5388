"""The example and the command of docs/imports.md, run with real workers."""

import json
import os
import pty
import re
import shlex
import sys

import pytest

from shop import people
from tests import pages
from tests.promises import keys
from tests.service.variables import NAMES
from workshed import db
from workshed.settings import settings

PAGE = pages.text("docs/imports.md")
[(NAME, TEXT)] = pages.files("docs/imports.md").items()
OWNER = "grace@example.org"
WORDS = pages.block("docs/imports.md", "python -m shop import people.csv").split()[3:]
DRY_RUN = shlex.split(pages.block("docs/imports.md", "python -m shop import customers.csv"))[3:]
MAPPED = shlex.split(pages.block("docs/imports.md", "python -m shop import members.csv"))[3:]
CONTENT = "name;email\nAda;ada@example.org\n;bob@example.org\nCyd;ADA@example.org\n"


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """The folder in which the worker of this module finds files."""
    return tmp_path_factory.mktemp("contents")


@pytest.fixture
def owner(broker, environment, contents, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{contents}")
    settings.cache_clear()
    (tmp_path / "people.csv").write_text(CONTENT)
    with db.transaction() as conn:
        return people.create(conn, name="Grace", email=OWNER)


@pytest.mark.one_worker
def test_the_example_of_the_page_imports(
    owner, tmp_path, run, environment, start_worker, count, eventually
):
    (tmp_path / NAME).write_text(TEXT)
    start_worker()

    code, said = run(NAME, str(owner.id), "people.csv", **environment)

    assert code == 0, said
    done = "shop.imports WHERE state = 'completed' AND succeeded = 1 AND failed = 2"
    eventually(lambda: count(done) == 1)
    eventually(lambda: count("shop.users WHERE welcomed_at IS NOT NULL") == 1)


@pytest.mark.one_worker
def test_the_command_waits_and_prints_the_result(owner, workshed, start_worker, tmp_path):
    start_worker()
    words = ("import", "people.csv", "--owner", OWNER)

    said = workshed(*WORDS, code=1)

    lines = [line.split(maxsplit=3) for line in said.splitlines()]
    for line in (["state", "completed"], ["rows", "3"], ["succeeded", "1"], ["failed", "2"]):
        assert line in lines
    assert re.search(r"no name +1 +3 +the name is missing", said)
    assert re.search(r"duplicate +1 +4 +line 2 has the same address", said)
    assert (tmp_path / "wrong.csv").read_text("utf-8-sig").splitlines() == [
        "line,reason,name,email",
        "3,the name is missing,,bob@example.org",
        "4,line 2 has the same address,Cyd,ADA@example.org",
    ]
    again = json.loads(workshed(*words, "--again", "--json", code=1))
    assert list(again) == keys("import CSV --owner ADDRESS")
    assert (again["state"], again["succeeded"], again["failed"]) == ("completed", 0, 3)
    assert [kind["problem"] for kind in again["problems"]] == ["taken", "no name", "duplicate"]


def test_a_dry_run_shows_how_a_file_is_read_without_any_server(run_apart, tmp_path):
    content = "Nr;Vorname;Nachname;E-Mail\n1;Zoë;Groß;zoe@example.org\n2;;;x@example.org\n"
    (tmp_path / "customers.csv").write_bytes(content.encode("cp1252"))
    away = {
        "WORKSHED_DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "WORKSHED_BROKER_URL": "amqp://127.0.0.1:1",
    }

    words = ("-m", "shop", *DRY_RUN)

    said = run_apart(*words, **away).stdout
    found = json.loads(run_apart(*words, "--json", **away).stdout)

    for line in (
        r"encoding +windows-1252 \(guessed; look at the names\)",
        r"delimiter +semicolon",
        r"name +\{Vorname\} \{Nachname\}",
        r"skipped +Nr",
        r"rows +2",
        r"Zoë Groß +zoe@example.org",
        r"no name +1 +3 +the name is missing",
    ):
        assert re.search(line, said), (line, said)
    assert list(found) == keys("import CSV --dry-run")
    assert (found["rows"], found["good"], found["failed"]) == (2, 1, 1)
    assert found["people"] == [{"name": "Zoë Groß", "email": "zoe@example.org"}]


@pytest.mark.one_worker
def test_columns_and_encoding_may_be_named(owner, workshed, start_worker, count, tmp_path):
    start_worker()
    content = "id;Private address;Given;Surname\n1;jiri@example.org;Jiří;Dvořák\n"
    (tmp_path / "members.csv").write_bytes(content.encode("cp1250"))

    refused = workshed(*MAPPED, code=1)
    said = workshed(*MAPPED, "--encoding", "windows-1250")

    # A terminal may break a line anywhere.
    assert "in windows-1250 it reads 'Jiří'" in " ".join(refused.split())
    assert re.search(r"encoding +windows-1250 *\n", said)
    assert re.search(r"skipped +id +\n", said)
    assert count("shop.users WHERE name = 'Jiří Dvořák'") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "pass the user who owns the import"),
        (["--owner", "1", "--map", "phone=Tel"], "must be email=COLUMN or name=COLUMN"),
        (["--owner", "1", "--map", "name=A", "--name", "{B}"], "name is given twice"),
        (["--owner", "1", "--encoding", "utf-9"], "the encoding 'utf-9' is not known"),
    ],
)
def test_options_that_make_no_sense_are_refused(run_apart, tmp_path, words, said):
    (tmp_path / "people.csv").write_text(CONTENT)

    done = run_apart("-m", "shop", "import", "people.csv", *words)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_the_same_file_is_refused_with_its_import(owner, run_apart, environment, tmp_path):
    words = ("-m", "shop", "import", "people.csv", "--owner", str(owner.id))
    first = run_apart(*words, "--no-wait", **environment)
    number = int(first.stdout)

    second = run_apart(*words, "--no-wait", **environment)

    assert (second.returncode, second.stdout) == (1, "")
    assert f"as import {number}, which is pending" in second.stderr


def test_an_unknown_owner_is_reported(owner, run_apart, environment):
    words = ("-m", "shop", "import", "people.csv", "--owner", "stranger@example.org")

    done = run_apart(*words, **environment)

    assert done.returncode == 5
    assert done.stderr.startswith("python -m shop: no user 'stranger@example.org'")


@pytest.mark.one_worker
def test_a_terminal_sees_how_far_it_is(owner, environment, start_worker, tmp_path):
    start_worker()
    rows = "".join(f"Ada,a{n}@example.org\n" for n in range(20_000))
    (tmp_path / "people.csv").write_text(f"name,email\n{rows}")
    words = ("-m", "shop", "import", "people.csv", "--owner", OWNER)
    terminal = {**os.environ, **environment, "TERM": "xterm", "COLUMNS": "80"}

    pid, ours = pty.fork()
    if not pid:
        os.chdir(tmp_path)
        os.execve(sys.executable, (sys.executable, *words), terminal)  # noqa: S606 -- like a shell
    seen = b"".join(iter(lambda: piece(ours), b"")).decode(errors="replace")
    os.close(ours)
    _, status = os.waitpid(pid, 0)

    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert os.waitstatus_to_exitcode(status) == 0, plain
    assert re.search(r"(reading|importing) .*\d+/(\?|20000) +rows", plain)
    assert re.search(r"succeeded +20000", plain)


def piece(terminal):
    """Read on from the terminal; empty once the program has closed it."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def test_the_settings_of_the_page_exist():
    names = set(re.findall(r"`((?:WORKSHED|SHOP)_\w+)", PAGE))

    assert names == {
        "SHOP_IMPORT_CHUNK",
        "SHOP_IMPORT_RETENTION",
        "SHOP_IMPORT_EMAIL_COLUMNS",
        "SHOP_IMPORT_NAME_COLUMNS",
    }
    assert names <= NAMES
