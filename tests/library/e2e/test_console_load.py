"""What strangers' loads do to the users of a console, and to its probes; prints the figures."""

import os
import re
import resource
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.library.e2e.desk import running
from tests.library.integration.desk.conftest import Browser

HANGS_S = 60
FILES = 1024
"""The limit of open files that systemd and most shells set."""
HALF_SENT = 1_100
UNREAD = 570
LOGINS = 60
PAGES = ("/", "/jobs", "/dead", "/queues", "/livez", "/readyz")
HALF_HEADERS = "GET / HTTP/1.1\r\nHost: {at}\r\nX-Half: "
HALF_FORM = (
    "POST /login HTTP/1.1\r\nHost: {at}\r\nOrigin: http://{at}\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 500\r\n\r\nname=olga"
)
BROKEN = re.compile("Traceback|out of system resource")


@pytest.fixture
def console(warm, broker, environment, tmp_path):
    """A console that may open no more files than usual; olga is an operator."""
    with running(warm, environment, tmp_path, files=FILES, olga="operator") as started:
        yield started


@pytest.fixture
def open_files():
    """Let this process open enough files for all clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * HALF_SENT), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def clients(console):
    """`clients("127.0.0.2")`: a browser at this address."""
    with ExitStack() as stack:

        def client(address="127.0.0.1"):
            transport = httpx2.HTTPTransport(local_address=address)
            client = httpx2.Client(base_url=console.url, timeout=HANGS_S, transport=transport)
            return Browser(stack.enter_context(client), console.url)

        yield client


@pytest.fixture
def olga(clients):
    """The browser of olga, who has logged in."""
    browser = clients()
    assert browser.log_in("olga").status_code == HTTPStatus.SEE_OTHER
    slowest(browser, lambda: False)  # which also compiles the templates
    return browser


def slowest(browser, goes_on):
    """Request all pages and probes for as long as `goes_on()`; return the slowest, in seconds.

    Each is answered with success, over a new connection: an attack may have closed the last one.
    """
    found = dict.fromkeys(PAGES, 0.0)
    is_last = False
    while not is_last:
        is_last = not goes_on()
        for path in PAGES:
            began = time.monotonic()
            answer = browser.get(path, connection="close")
            found[path] = max(found[path], time.monotonic() - began)
            assert answer.status_code == HTTPStatus.OK, (path, answer.status_code)
    return found


def report(title, found):
    figures = ", ".join(f"{path} {1_000 * seconds:.0f} ms" for path, seconds in found.items())
    print(f"{title}: {figures}")  # noqa: T201 -- for the documentation


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.2"],
        ["127.0.0.1"],
        [f"127.0.1.{number}" for number in range(1, 41)],
    ],
    ids=["another address", "the same address", "40 addresses"],
)
def test_half_sent_requests_leave_users_and_probes_alone(console, open_files, olga, addresses):
    at = urlsplit(console.url).netloc
    host, port = at.split(":")
    halves = [half.format(at=at).encode() for half in (HALF_HEADERS, HALF_FORM)]
    before = slowest(olga, lambda: False)
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:

        def attack():
            opened = []
            for number in range(HALF_SENT):
                source = (addresses[number % len(addresses)], 0)
                client = socket.create_connection((host, int(port)), HANGS_S, source)
                opened.append(stack.enter_context(client))
                client.sendall(halves[number % 2])
            sent_at = time.monotonic()
            for client in opened:
                read_all(client)
            return time.monotonic() - sent_at

        attacked = pool.submit(attack)
        during = slowest(olga, lambda: not attacked.done())
        closed_s = attacked.result()
    report("before", before)
    report(f"with {HALF_SENT} half-sent requests", during)
    print(f"the last of them was closed after {closed_s:.1f} s")  # noqa: T201 -- likewise

    assert closed_s < HANGS_S
    assert not BROKEN.search(console.text()), console.text()


def read_all(client):
    """Read until the server has closed the connection."""
    try:
        while client.recv(65_536):
            pass
    except ConnectionResetError:
        pass


def test_clients_that_do_not_read_leave_users_and_probes_alone(console, open_files, olga):
    """Each asks for a file many times at once, as anyone may, and reads no answer."""
    host, port = urlsplit(console.url).netloc.split(":")
    [file] = re.findall(r'src="(/static/[^"]+/console\.js)"', olga.get("/").text)
    requests = f"GET {file} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 60
    before = slowest(olga, lambda: False)
    with ExitStack() as stack:
        for number in range(UNREAD):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            client.bind((f"127.0.2.{1 + number % 3}", 0))
            client.connect((host, int(port)))
            client.setblocking(False)
            client.send(requests)
        until = time.monotonic() + 5
        during = slowest(olga, lambda: time.monotonic() < until)
    report("before", before)
    report(f"with {UNREAD} clients that do not read", during)

    assert not BROKEN.search(console.text()), console.text()


def test_many_strangers_who_log_in_leave_users_and_probes_alone(console, clients, olga):
    strangers = [clients(f"127.0.2.{number}") for number in range(1, LOGINS + 1)]
    tokens = [one.csrf("/login") for one in strangers]
    before = slowest(olga, lambda: False)
    with ThreadPoolExecutor(LOGINS) as pool:

        def guess(number):
            fields = {"name": f"name {number}", "password": "guess", "next": "/"}
            return strangers[number].post("/login", fields, csrf=tokens[number]).status_code

        guesses = [pool.submit(guess, number) for number in range(LOGINS)]
        during = slowest(olga, lambda: not all(one.done() for one in guesses))
        answers = [one.result() for one in guesses]
    report("before", before)
    report(f"with {LOGINS} logins at once", during)
    refused = answers.count(HTTPStatus.TOO_MANY_REQUESTS)
    print(f"{LOGINS - refused} passwords were checked, {refused} refused")  # noqa: T201 -- likewise

    assert set(answers) <= {HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS}
    assert not BROKEN.search(console.text()), console.text()


@pytest.fixture
def stopped(servers):
    """`with stopped():` all processes of PostgreSQL stand still, and keep their connections."""

    @contextmanager
    def stop():
        pid = servers.postgres.pid
        os.kill(pid, signal.SIGSTOP)  # first, so that it starts no other
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGSTOP)
        try:
            yield
        finally:
            for each in (*children, pid):
                os.kill(int(each), signal.SIGCONT)

    return stop


def test_each_page_of_a_stopped_postgresql_ends_in_an_error_page(
    console, olga, stopped, eventually
):
    assert olga.get("/").status_code == HTTPStatus.OK

    def load(path):
        began = time.monotonic()
        answer = olga.get(path, connection="close")
        return answer, time.monotonic() - began

    def refused_s(path):
        answer, took = load(path)
        return took if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE else None

    with stopped(), ThreadPoolExecutor(50) as pool:
        pages = pool.map(load, ["/", "/jobs", "/dead", "/audit", "/queues"] * 10)
        live, live_s = load("/livez")
        ready_s = eventually(lambda: refused_s("/readyz"))  # an answer is valid for a second
        pages = list(pages)
    longest_s = max(took for _, took in pages)
    print(  # noqa: T201 -- for the documentation
        f"slowest page {longest_s:.1f} s, /livez {live_s:.3f} s, /readyz {ready_s:.1f} s"
    )

    assert {answer.status_code for answer, _ in pages} == {HTTPStatus.SERVICE_UNAVAILABLE}
    assert all("PostgreSQL" in answer.text for answer, _ in pages)
    assert longest_s < HANGS_S
    assert live.status_code == HTTPStatus.OK
    eventually(lambda: load("/")[0].status_code == HTTPStatus.OK)
