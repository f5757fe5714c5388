"""docs/examples: each application runs from the built wheel, by the commands of its README."""

import contextlib
import json
import os
import re
import shlex
import shutil
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from threading import Thread
from urllib.request import Request, urlopen

import psycopg
import pytest
from PIL import Image

from tests import installing, pages
from tests.installing import Installed, once_per_run
from workshed import schedule
from workshed.devserver.ports import find_free_ports

pytestmark = pytest.mark.timeout(900)  # pip, or the wait for another process that runs it

EXAMPLES = installing.ROOT / "docs" / "examples"
NAMES = ("fastapi_shop", "django_shop")
INSTALL, TABLES, PROGRAMS, TESTS = (
    {name: pages.block(f"docs/examples/{name}/README.md", block) for name in NAMES}
    for block in ("install", "tables", "programs", "tests")
)
PORT = "8000"
WORKSHED = {"fastapi_shop": "workshed", "django_shop": "python manage.py workshed"}
TABLE = {"fastapi_shop": "{}s", "django_shop": "store_{}"}
RECORDS = ("user", "product", "supplier")
RUN_CODE = {"fastapi_shop": "python -c", "django_shop": "python manage.py shell -v 0 -c"}
WEIGHTS = {"critical": 3, "default": 2, "emails": 2, "images": 1, "low": 1}
PRINT_WEIGHTS = """
import json
from workshed import broker
print(json.dumps({queue.name: queue.weight for queue in broker.declared_queues.values()}))
"""
CSV = b"name,email\nBob,bob@example.org\nEve,\nAda,ada@example.org\n"
OUTAGES = 2
"""How often the supplier fails before it answers."""
RETRIES = """
    SELECT extract(epoch FROM s.due_at - a.ended_at)
      FROM workshed.schedule s JOIN workshed.attempts a USING (message_id)
     WHERE a.outcome = 'retry' AND a.attempt = %s AND s.reason = 'retry'
"""
DAYS_TO_REMINDER = """
    SELECT round(extract(epoch FROM due_at - now()) / 86400)
      FROM workshed.schedule
     WHERE actor = 'send_reminder'
"""


class Example:
    """An example in a folder of its own, and its running programs."""

    def __init__(self, name, installed, folder, env):
        self.name, self.installed, self.folder, self.env = name, installed, folder, env
        self.port = find_free_ports(1)[0]
        self.processes = []

    def run(self, line, *words):
        """Run a command line of its README; return the output."""
        program, *rest = shlex.split(line)
        path = self.installed.path(program)
        return installing.run(path, *rest, *words, cwd=self.folder, env=self.env)

    def start_programs(self):
        for number, line in enumerate(
            PROGRAMS[self.name].replace(PORT, str(self.port)).splitlines()
        ):
            log = self.folder / f"{number}.log"
            self.processes.append(self.installed.start(*shlex.split(line), env=self.env, log=log))

    def stop_programs(self):
        """End its programs, and return their exit codes."""
        for process in self.processes:
            process.terminate()
        return [process.wait(90) for process in self.processes]

    def logs(self):
        return "\n".join(log.read_text() for log in self.folder.glob("*.log"))

    def post(self, path, content, kind="application/json"):
        """Send a request; return the id in the answer."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.answer(Request(self.url(path), body, {"Content-Type": kind}))["id"]  # noqa: S310 -- ours

    def get(self, path):
        return self.answer(self.url(path))

    def answer(self, request):
        with urlopen(request, timeout=60) as answer:  # noqa: S310 -- ours
            return json.load(answer)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def is_up(self):
        with contextlib.suppress(OSError):
            return self.get("/users/0/notifications") == []

    def mails(self, subject):
        """Return the mails with this subject."""
        files = (self.folder / "mail" / "new").glob("*")
        found = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
        return [mail for mail in found if mail["Subject"] == subject]


class Supplier(BaseHTTPRequestHandler):
    """Another system: away at first, then with one product."""

    outages = OUTAGES

    def do_GET(self):
        is_away = self.outages > 0
        type(self).outages -= 1
        self.send_response(503 if is_away else 200)
        self.end_headers()
        self.wfile.write(json.dumps([{"sku": "1", "name": "Dune", "price": 900}]).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def supplier():
    """The URL of another system."""
    server = HTTPServer(("127.0.0.1", 0), type("NewSupplier", (Supplier,), {}))
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/products"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """An environment with what both READMEs install."""
    words = {word for line in INSTALL.values() for word in shlex.split(line)[2:]}
    requirements = [re.sub(r"^workshed(?=\[)", str(wheel), word) for word in sorted(words)]

    def make(folder):
        installing.environment(folder / "env", *requirements)

    return Installed(once_per_run(tmp_path_factory, "examples", make) / "env")


@pytest.fixture(params=NAMES)
def example(request, installed, empty_database_url, vhost, tmp_path):
    """An example, on servers without anything in them."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLES / request.param, folder)
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHONPATH", "SHOP_", "WORKSHED_"))
    }
    env |= {
        "DATABASE_URL": empty_database_url,
        "WORKSHED_DATABASE_URL": empty_database_url,
        "WORKSHED_BROKER_URL": vhost,
        "WORKSHED_SMTP_URL": f"maildir:{folder / 'mail'}",
        "WORKSHED_STORAGE_URL": f"file:{folder / 'files'}",
        "WORKSHED_METRICS": "false",
        "WORKSHED_PROBES": "false",
    }
    found = Example(request.param, installed, folder, env)
    yield found
    found.stop_programs()


@pytest.fixture
def rows(example, empty_database_url):
    """`rows("SELECT … FROM {user}")`: the rows of a query on the tables of an example."""
    tables = {record: TABLE[example.name].format(record) for record in RECORDS}
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        yield lambda query, *values: conn.execute(query.format(**tables), values).fetchall()


@pytest.fixture
def run_now(empty_database_url, rows):
    """`run_now("send_reminder")`: make the one waiting job of an actor due."""

    def run_now(actor):
        query = "SELECT message_id FROM workshed.schedule WHERE actor = %s"
        [(message_id,)] = rows(query, actor)
        with psycopg.connect(empty_database_url) as conn:
            assert schedule.run_now(conn, message_id) == "moved"

    return run_now


@pytest.fixture
def running(example, eventually):
    """The same example with its tables, a web server, a worker and a relay."""
    for line in TABLES[example.name].splitlines():
        example.run(line)
    example.start_programs()
    eventually(example.is_up)
    yield example
    print(example.logs())  # noqa: T201 -- pytest shows it if the test has failed
    assert example.stop_programs()[1] == 0, example.logs()


def test_its_own_tests_pass(example):
    assert " passed" in example.run(TESTS[example.name])


def test_its_queues_have_weights(example):
    assert json.loads(example.run(RUN_CODE[example.name], PRINT_WEIGHTS)) == WEIGHTS


def test_its_nine_jobs_have_their_effects(running, rows, run_now, supplier, eventually):
    workshed = WORKSHED[running.name]

    # 1: the welcome mail, which a user who is gone does not get.
    ada = running.post("/users", {"name": "Ada", "email": "ada@example.org"})
    eventually(lambda: running.mails("Welcome to the bookshop"))
    assert rows("SELECT welcomed_at IS NOT NULL FROM {user}") == [(True,)]
    running.run(workshed, "enqueue", "send_welcome_email", "404")
    eventually(lambda: rows("SELECT FROM workshed.attempts WHERE outcome = 'discarded'"))

    # 2: the reminder.
    assert rows(DAYS_TO_REMINDER) == [(3,)]
    run_now("send_reminder")
    eventually(lambda: running.mails("Your books are waiting"))

    # 3: the thumbnail.
    photo = BytesIO()
    Image.new("RGB", (1600, 1200), "teal").save(photo, "JPEG")
    photo_id = running.post(f"/users/{ada}/photos", photo.getvalue(), "image/jpeg")
    [notification] = eventually(lambda: running.get(f"/users/{ada}/notifications"))
    assert (notification["event"], notification["data"]["photo_id"]) == (
        "thumbnail_ready",
        photo_id,
    )
    assert rows("SELECT count(*) FROM workshed_storage.blobs") == [(2,)]

    # 4 to 6: the import, its rows and its end.
    running.post(f"/users/{ada}/imports", CSV, "text/csv")
    [mail] = eventually(lambda: running.mails("Your import is complete"))
    assert mail.get_content() == "1 of 3 rows are new users.\n"
    assert rows("SELECT name FROM {user} ORDER BY id") == [("Ada",), ("Bob",)]

    # 7: the daily report.
    rows("UPDATE {user} SET is_admin = name = 'Ada' RETURNING 1")
    assert "daily at 09:00" in running.run(workshed, "periodic")
    running.run(workshed, "periodic", "run", "send_daily_report")
    eventually(lambda: rows("SELECT FROM workshed_mail.emails WHERE kind = 'report'"))

    # 8: the sync, after two failures.
    [(supplier_id,)] = rows("INSERT INTO {supplier} (url) VALUES (%s) RETURNING id", supplier)
    running.run(workshed, "enqueue", "sync_products", str(supplier_id))
    for attempt in range(1, OUTAGES + 1):
        [(seconds,)] = eventually(lambda attempt=attempt: rows(RETRIES, attempt))
        assert attempt**4 - 1 <= seconds <= attempt**4 + 31
        run_now("sync_products")
    eventually(lambda: rows("SELECT name FROM {product}") == [("Dune",)])

    # 9: the newsletter, in two batches.
    rows(
        "INSERT INTO {user} (name, email, is_admin) "
        "SELECT n, n || '@example.org', false FROM generate_series(1, 118) n RETURNING 1"
    )
    running.post("/newsletters", {"subject": "News", "text": "Hello\n"})
    eventually(lambda: len(running.mails("News")) == 120)
    assert json.loads(running.run(workshed, "mail", "--json")) == {"servers": [], "held": []}
    assert rows("SELECT FROM workshed.dead") == []
