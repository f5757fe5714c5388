"""docs/roles.md: its commands and its SQL, on real servers."""

import json
import os
import secrets
import shlex
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from dramatiq import Message

from tests import pages
from tests.library.e2e.parts import MAKE, MEMBER, TIMEOUTS
from tests.library.e2e.workers.supervised import Supervised, wait_until_up
from tests.transcripts import shell
from workshed import schedule
from workshed.roles import ROLES

PAGE = "docs/roles.md"
DEFINITIONS = pages.block(PAGE, "workshed broker definitions --vhost")
POOLS = pages.block(PAGE, "workshed broker definitions --pool")
OWNER = pages.block(PAGE, "CREATE ROLE shop_owner")
SENDERS = pages.block(PAGE, "INSERT INTO workshed.sender_grants")


@pytest.fixture
def own(conn, database, servers, tmp_path):
    """Run a line as the owner of the schemas; drop the roles that it makes afterwards."""
    conn.autocommit = True
    path = f"{servers.postgres.binaries}:{os.environ['PATH']}"
    yield shell(tmp_path, PATH=path)
    for name in ["shop", *(f"workshed_{role}" for role in ROLES)]:
        conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_the_owner_of_the_database_migrates_it_and_is_no_superuser(servers, tmp_path):
    name = f"shop_{secrets.token_hex(6)}"
    role, database = OWNER.replace("shop", name).splitlines()
    place = urlsplit(servers.database_url).netloc.rpartition("@")[2]
    with psycopg.connect(servers.database_url, autocommit=True) as conn:
        conn.execute(role)
        try:
            conn.execute(database)
            url = f"postgresql://{name}_owner:{quote('…')}@{place}/{name}"
            said = shell(tmp_path, WORKSHED_DATABASE_URL=url)("workshed migrate")
            assert "workshed/0001" in said
            with psycopg.connect(url) as theirs:
                assert theirs.execute("SHOW is_superuser").fetchone() == ("off",)
                assert theirs.execute("SELECT count(*) FROM workshed.schedule").fetchone() == (0,)
        finally:
            conn.execute(f"DROP DATABASE IF EXISTS {name}")
            conn.execute(f"DROP ROLE {name}_owner")


@pytest.mark.fresh_database
def test_a_sender_has_the_rights_and_the_timeouts_that_the_page_gives_it(own, conn, database):
    assert "ERROR" not in own(MAKE)
    for statement in (MEMBER, SENDERS, TIMEOUTS):
        conn.execute(statement)

    with psycopg.connect(database, user="shop", password="…") as theirs:
        assert theirs.execute("SHOW lock_timeout").fetchone() == ("10s",)
        schedule.send(theirs, Message("default", "send_receipt", (1,), {}, {}))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            schedule.send(theirs, Message("default", "erase_all", (1,), {}, {}))


def test_rabbitmq_imports_the_accounts(broker, servers, rabbitmq, open_folder):
    print_them, import_them = DEFINITIONS.replace(
        "--vhost jobs", f"--vhost {rabbitmq.vhost}"
    ).splitlines()
    before = {one["name"] for one in rabbitmq.ask("GET", "users")}

    assert shell(open_folder)(print_them) == ""
    (open_folder / "definitions.json").chmod(0o644)
    _, command, file = import_them.split()
    servers.rabbitmq.ctl(command, str(open_folder / file))

    made = {one["name"] for one in rabbitmq.ask("GET", "users")} - before
    try:
        passwords = dict(
            line.split("=", 1) for line in (open_folder / "passwords").read_text().split()
        )
        assert made == passwords.keys()
        assert "workshed-sender" in made
    finally:
        for name in made:
            rabbitmq.ask("DELETE", f"users/{name}")


def test_a_pool_has_its_account_its_workers_and_its_doctor(
    broker, environment, tmp_path, eventually
):
    define, work, examine = POOLS.splitlines()
    run = shell(tmp_path, **environment)

    people = json.loads(run(define))["users"]
    workers = Supervised([*shlex.split(work)[2:], "-p", "1"], environment, tmp_path / "worker.log")
    try:
        wait_until_up(workers, eventually)
        said = run(examine)
    finally:
        workers.end()

    assert {"workshed-worker-mail", "workshed-worker-rest"} <= {one["name"] for one in people}
    assert "no worker consumes emails" not in said
    assert "permissions:" in said
