"""A PostgreSQL that accepts connections, or has accepted them, and does not answer any longer."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import httpx2
import pytest

from tests.library.integration.desk.conftest import served
from tests.library.integration.desk.test_live import Stream
from workshed import db
from workshed.console.web import Who, create_app, endpoints, live, probes, request_guard
from workshed.console.web.auth import csrf
from workshed.console.web.auth.csrf import ActionForm
from workshed.console.web.pages import list_pages
from workshed.console.web.view.page import Action, ActionResult, Download, DownloadContent
from workshed.database import waits
from workshed.database.waits import remaining_wait
from workshed.jobs.control import audit
from workshed.settings import settings

HANGS_S = 60
THREADS = 40
"""Those in which pages are made, of all requests together."""
TEXTS = ("PostgreSQL does not answer.", "The console got no connection to PostgreSQL")


def authorize(request):
    return Who(request.headers.get("x-host", "olga"), "operator")


@pytest.fixture
def wire(people, database, proxy, monkeypatch):
    """The network between the console and PostgreSQL; `wire.stall()` holds all answers."""
    between = proxy(database)
    monkeypatch.setenv("WORKSHED_DATABASE_URL", between.url(database))
    settings.cache_clear()
    db.forget_pool()
    yield between
    between.resume()
    db.get_pool().close()


@pytest.fixture
def console(wire):
    """`console(path)`: the answer to a request, from any thread."""
    with served(create_app(authorize=authorize)) as port, ExitStack() as stack:
        address = f"http://127.0.0.1:{port}"
        client = stack.enter_context(httpx2.Client(base_url=address, timeout=3 * HANGS_S))

        def ask(path, **headers):
            return client.get(path, headers={"accept": "text/html", **headers})

        yield ask


@pytest.mark.sample(4)
@pytest.mark.parametrize("page", list_pages(), ids=lambda page: page.path)
def test_each_page_ends_in_a_page_that_names_the_cause(console, wire, monkeypatch, page):
    assert console("/audit").status_code == 200  # the pool has a connection
    monkeypatch.setattr(request_guard, "ANSWER_S", 0.5)
    wire.stall()
    began = time.monotonic()

    answer = console(page.path)

    assert answer.status_code == 503
    assert any(text in answer.text for text in TEXTS)
    assert time.monotonic() - began < HANGS_S


def test_no_thread_is_lost_and_probes_answer_meanwhile(console, wire, monkeypatch, eventually):
    assert console("/readyz").status_code == 200
    monkeypatch.setattr(probes, "FRESH_S", 0.0)
    monkeypatch.setattr(request_guard, "ANSWER_S", 1.0)
    wire.stall()
    with ThreadPoolExecutor(2 * THREADS) as pool:
        pages = [pool.submit(console, "/audit") for _ in range(2 * THREADS)]

        assert console("/livez").status_code == 200
        assert console("/readyz").status_code == 503
        assert {one.result().status_code for one in pages} == {503}

    wire.resume()
    monkeypatch.setattr(request_guard, "ANSWER_S", 90.0)
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(console, ["/audit"] * THREADS)
        assert {answer.status_code for answer in found} == {200}
    eventually(lambda: console("/readyz").status_code == 200)


def test_probes_need_no_thread_and_no_connection_of_pages(console, monkeypatch):
    monkeypatch.setattr(probes, "FRESH_S", 0.0)
    monkeypatch.setattr(probes, "WAIT_S", 60.0)
    with ThreadPoolExecutor(THREADS) as pool, ExitStack() as stack:
        for _ in range(settings().pool_size):
            stack.enter_context(db.separate_transaction())
        pages = [pool.submit(console, "/audit") for _ in range(THREADS)]

        assert console("/livez").status_code == 200
        assert console("/readyz").status_code == 200
        assert not any(one.done() for one in pages)

        stack.close()
        assert {one.result().status_code for one in pages} == {200}


def test_an_action_that_finds_no_postgresql_ends_like_a_page(browsers, wire, monkeypatch):
    operator = browsers("olga")
    csrf = operator.csrf("/audit")
    monkeypatch.setattr(request_guard, "ANSWER_S", 0.5)
    wire.stall()
    began = time.monotonic()

    answer = operator.post("/queues/pause", {"name": "default"}, csrf=csrf)

    assert answer.status_code == 503
    assert time.monotonic() - began < HANGS_S
    wire.resume()


def test_the_time_in_which_a_form_arrives_is_not_that_of_its_action(browsers, monkeypatch):
    operator = browsers(app=create_app(authorize=authorize))
    page_token = operator.csrf("/audit")
    read_form = csrf.read_form

    async def read_late(*args, **options):
        monkeypatch.setattr(request_guard, "ANSWER_S", 90.0)
        return await read_form(*args, **options)

    monkeypatch.setattr(csrf, "read_form", read_late)
    monkeypatch.setattr(request_guard, "ANSWER_S", 0.0)  # over before the form is here

    answer = operator.post("/dead/retry", {"one": "unknown"}, csrf=page_token)

    assert (answer.status_code, "unknown: no longer dead." in answer.text) == (404, True)


@pytest.fixture
def clock(monkeypatch):
    """The clock of deadlines, which the test sets: `clock.now += 60`."""
    found = SimpleNamespace(now=0.0)
    found.monotonic = lambda: found.now
    monkeypatch.setattr(waits, "time", found)
    return found


@pytest.mark.parametrize("is_transactional", [True, False])
def test_an_action_has_a_limit_for_each_statement_and_none_for_all(
    people, clock, conn, is_transactional
):
    """Otherwise a purge of many jobs would end before its audit entry is written."""

    def run(deed):
        for _ in range(10):
            deed.conn.execute("SELECT")
            assert remaining_wait() == endpoints.ACTION_S
            clock.now += 60
        return ActionResult("Done.", 10)

    action = Action("/x", "x", run, is_transactional=is_transactional)
    with db.WaitDeadline(60):
        _, entry = endpoints.run_action(action, ActionForm({}), Who("olga", "operator"))
        assert remaining_wait() == 0

    assert audit.get_entry(conn, entry).count == 10


def test_a_download_may_take_any_time_while_its_rows_come(people, clock):
    """A million rows take longer than a page may."""

    def build(ask):
        with ask.conn.cursor(name="rows") as cur:
            cur.itersize = 2
            for _ in cur.execute("SELECT generate_series(1, 10)"):
                assert remaining_wait() == endpoints.DOWNLOAD_S
                clock.now += 7
        return DownloadContent("text/csv", "rows.csv", b"")

    with db.WaitDeadline(8):
        content = endpoints.build_download(Download("/x", build), Who("olga", "operator"), {})

    assert content.filename == "rows.csv"
    assert clock.now == 70


def test_a_live_page_goes_on_after_the_deadline_of_its_first_request(people, monkeypatch, conn):
    monkeypatch.setattr(request_guard, "ANSWER_S", 0.0)
    monkeypatch.setattr(live, "REFRESH_S", 0.05)
    waits = []

    def decide(request):
        waits.append(remaining_wait())
        return authorize(request)

    with served(create_app(authorize=decide)) as port, ExitStack() as stack:
        stream = Stream(port, "/queues", {})
        stack.callback(stream.connection.close)
        stream.page()
        conn.execute(
            "INSERT INTO workshed.queues (name, kind, paused_at) VALUES ('new', 'quorum', now())"
        )

        assert "new" in stream.page()

    assert waits[0] == 0.0
    assert min(waits[1:]) > 0.0
