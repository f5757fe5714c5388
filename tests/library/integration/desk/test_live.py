"""A page that updates itself."""

import asyncio
import contextlib
import html
import http.client
import itertools
import json
import random
import re
import threading
import time
import urllib.parse
from types import SimpleNamespace
from unittest import mock

import psycopg
import pytest

from tests.library.integration.desk.conftest import served
from tests.library.integration.desk.planted import plant
from workshed.console.web import Who, create_app, live
from workshed.jobs.dead import dead_jobs

OLGA = {"x-host": "olga"}
PER_HOUR = 3600 / 2
"""Versions of a page in an hour."""
NOTHING_S = 1.5
"""Long enough for thirty versions of a page."""


@pytest.fixture
def address(people, monkeypatch):
    """The console's port, served by this process; `x-host` names a user, `x-role` their role."""
    monkeypatch.setattr(live, "REFRESH_S", 0.05)

    def decide(request):
        name = request.headers.get("x-host")
        return Who(name, request.headers.get("x-role", "operator")) if name else None

    with served(create_app(authorize=decide)) as port:
        yield port


class Stream:
    """The event stream of a page."""

    def __init__(self, port, of, headers, more=""):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        path = f"/live?of={urllib.parse.quote(of)}{more}"
        self.connection.request("GET", path, headers=headers)
        self.answer = self.connection.getresponse()
        self.status = self.answer.status
        self.lines = []
        self.bytes = 0

    def event(self, *, skipped=("beat", "token")):
        """Return the next event: its type and its data."""
        kind, data = None, []
        while True:
            raw = self.answer.readline()
            assert raw, "the stream has ended"
            self.bytes += len(raw)
            text = raw.decode().removesuffix("\r\n")
            assert "\r" not in text, "a browser would end the line there"
            if text == "" and kind in skipped:
                kind, data = None, []
            elif text == "" and kind is not None:
                return kind, "\n".join(data)
            name, _, value = text.partition(": ")
            kind = value if name == "event" else kind
            if name == "data":
                data.append(value)

    def page(self):
        """Return the next version of the page, as the browser puts it together."""
        kind, data = self.event()
        if kind == "page":
            self.lines = data.split("\n")
        else:
            assert kind == "change", (kind, data)
            for start, end, added in json.loads(data):
                self.lines[start:end] = added
        return "\n".join(self.lines)

    def is_silent(self):
        """Return `True` if no event arrives for a while, otherwise the event."""
        self.connection.sock.settimeout(NOTHING_S)
        try:
            return self.event()
        except TimeoutError:
            return True


@pytest.fixture
def stream(address):
    """`stream("/dead", **headers)`: the stream of a page."""
    with contextlib.ExitStack() as stack:

        def start(of, more="", **headers):
            found = Stream(address, of, headers or OLGA, more)
            stack.callback(found.connection.close)
            return found

        yield start


@pytest.fixture
def pause(conn):
    """`pause("slow")`: declare a queue, and pause it, which the Overview and Queues show."""
    return lambda name: conn.execute(
        "INSERT INTO workshed.queues (name, kind, paused_at) VALUES (%s, 'quorum', now())", (name,)
    )


def test_only_what_has_changed_is_sent_again(stream, pause):
    watched = stream("/queues")
    for name in ("first", "second", "third"):
        pause(name)
        while name not in (text := watched.page()):
            pass
    before = watched.bytes

    pause("fourth")
    changed = watched.page()

    assert "fourth" in changed
    assert changed.count("<tr") == text.count("<tr") + 1
    assert watched.bytes - before < len(changed) / 3
    assert stream("/queues").page() == changed


@pytest.mark.parametrize(
    "path", ["/", "/dead", "/queues", "/workers", "/periodic", "/limits", "/batches"]
)
def test_nothing_is_sent_while_nothing_changes(path, stream, conn):
    """Relative times change all the time; the browser knows them."""
    plant(conn)
    # A warning says how long a queue has been paused, which changes each second at first, and a
    # worker becomes silent after 10 s.
    conn.execute("UPDATE workshed.queues SET paused_at = now() - interval '3 hours'")
    conn.execute("UPDATE workshed.workers SET beat_at = now() - interval '1 minute'")
    conn.execute("UPDATE workshed.relays SET beat_at = now() - interval '1 hour'")
    watched = stream(path)
    watched.page()

    assert watched.is_silent() is True


def test_a_busy_list_sends_at_most_5_mb_an_hour(stream, conn):
    """With a job that dies in each version."""
    for number in range(192):
        bury(conn, number)
    watched = stream("/dead")
    watched.page()
    before = watched.bytes
    for number in range(20):
        bury(conn, 1_000 + number)
        while f"job-{1_000 + number}" not in watched.page():
            pass

    per_version = (watched.bytes - before) / 20
    assert per_version * PER_HOUR <= 5_000_000


def bury(conn, number):
    """Add a dead job."""
    dead_jobs.add_dead_job(
        conn,
        message_id=f"job-{number}",
        generation=0,
        attempt=1,
        queue="critical",
        actor="charge_card",
        body=b'{"args": [1, "x"], "kwargs": {}}',
        reason="failed once",
        error=ValueError("why"),
    )


def test_browsers_that_show_one_page_share_its_renderings(stream, monkeypatch):
    monkeypatch.setattr(live, "REFRESH_S", 600.0)
    rendered = []
    render = live.render_main
    monkeypatch.setattr(
        live, "render_main", lambda *words: (rendered.append(words[1].role), render(*words))[1]
    )
    watching = [stream("/dead", **{"x-host": f"user-{n}"}) for n in range(30)]
    for one in watching:
        one.page()
    assert rendered == ["operator"]

    reader = stream("/dead", **{"x-host": "rita", "x-role": "reader"})

    assert "Retry" not in reader.page()
    assert rendered == ["operator", "reader"]


def test_a_page_has_no_token_and_no_name_of_a_user(stream, conn):
    plant(conn)
    first, second = stream("/dead"), stream("/dead", **{"x-host": "otto"})

    text = first.page()

    assert text == second.page()
    assert 'name="csrf" value=""' in text
    assert "olga" not in text


def test_a_page_is_rendered_less_often_if_it_costs_much(stream, monkeypatch, eventually):
    runs = []
    render = live.render_main

    def slow(*words):
        began = time.monotonic()
        time.sleep(0.1)
        made = render(*words)
        runs.append((began, time.monotonic()))
        return made

    monkeypatch.setattr(live, "render_main", slow)
    stream("/dead").page()
    eventually(lambda: len(runs) >= 4)

    for (began, ended), (next_began, _) in itertools.pairwise(runs):
        assert next_began - ended >= live.PAUSE_PER_COST * (ended - began)


def test_streams_are_counted_before_they_are_answered(stream, monkeypatch):
    """140 requests at once would all find that there is room."""
    monkeypatch.setattr(live, "MOST_STREAMS", 10)
    found = []

    def ask(number):
        found.append(stream("/dead", **{"x-host": f"user-{number}"}).status)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert sorted(found) == [200] * 10 + [503] * 20


def test_one_user_cannot_take_the_streams_of_all(stream, eventually):
    mine = [stream("/dead") for _ in range(live.MOST_STREAMS_PER_USER)]

    assert stream("/dead").status == 429
    assert stream("/dead", **{"x-host": "otto"}).status == 200
    mine[0].connection.close()
    eventually(lambda: stream("/dead").status == 200)


def test_a_page_that_is_gone_ends_its_stream(stream, conn, monkeypatch):
    plant(conn)
    watched = stream("/batch?id=00000000-0000-0000-0000-000000000000")

    kind, text = watched.event()

    assert kind == "gone"
    assert "00000000" in text


@pytest.mark.parametrize("of", ["/dead", "/of-the-release-before"])
def test_a_page_of_another_release_is_asked_to_reload(stream, of):
    """Its scripts may not understand what this release sends."""
    watched = stream(of, "&v=0123456789ab")

    assert watched.event() == ("gone", "The console was updated. Reload the page.")
    assert watched.answer.read() == b""


def test_a_page_names_the_release_of_its_scripts(stream, address):
    connection = http.client.HTTPConnection("127.0.0.1", address, timeout=60)
    connection.request("GET", "/dead", headers=OLGA)
    text = connection.getresponse().read().decode()
    connection.close()
    (named,) = re.findall(r'data-live="/live\?of=/dead(&amp;v=[0-9a-f]{12})"', text)

    assert stream("/dead", html.unescape(named)).event()[0] == "page"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.errors.QueryCanceled("too long"), "PostgreSQL took too long."),
        (psycopg.errors.InsufficientPrivilege("no right"), "PostgreSQL refuses this"),
        (psycopg.OperationalError("gone"), "PostgreSQL cannot be reached"),
        (ZeroDivisionError(), "This page failed; the log of the console has the reason."),
    ],
)
def test_the_true_reason_is_sent_and_the_page_comes_back(error, said, stream, monkeypatch):
    watched = stream("/limits")
    first = watched.page()
    with monkeypatch.context() as patch:
        patch.setattr(live, "render_main", mock.Mock(side_effect=error))
        kind, text = watched.event()

    assert kind == "away"
    assert text.startswith(said)
    assert watched.event() == ("page", first)


def test_an_outage_is_not_forgotten(stream, monkeypatch):
    """A beat, which says that the page is up to date, must not follow."""
    monkeypatch.setattr(live, "BEAT_S", 0.1)
    watched = stream("/limits")
    watched.page()
    monkeypatch.setattr(live, "render_main", mock.Mock(side_effect=psycopg.OperationalError))
    while watched.event(skipped=("token",))[0] == "beat":
        pass

    assert [watched.event(skipped=("token",))[0] for _ in range(3)] == ["away"] * 3


def test_a_page_that_hangs_is_not_live(stream, monkeypatch, conn):
    monkeypatch.setattr(live, "LATE_S", 0.1)
    watched = stream("/limits")
    watched.page()
    release = threading.Event()
    monkeypatch.setattr(live, "render_main", lambda *_: release.wait(60))

    assert watched.event() == ("away", "The console is busy.")
    release.set()


LONG = "one" * 30


class Pages:
    """The only page of a console, which is rendered by hand."""

    def __init__(self, monkeypatch):
        self.feed = live.LiveFeed(lambda: "", None)
        self.feed.lines, self.feed.version = [LONG], 1
        self.streams = live.EventStreams(SimpleNamespace(find_user=self.find_user), ())
        monkeypatch.setattr(self.streams, "_watch", lambda *_: contextlib.nullcontext(self.feed))
        monkeypatch.setattr(live.csrf, "csrf_token", lambda *_: "token")
        monkeypatch.setattr(live.responses, "root_path", lambda _: "")

    async def find_user(self, _, *, is_use):
        assert not is_use, "an open page is no use of a session"
        return self.user

    user = Who("olga", "operator")

    def add(self, line):
        lines = [line, *self.feed.lines]
        self.feed.delta = live.format_delta(self.feed.lines, lines)
        self.feed.lines = lines
        self.feed.version += 1

    def stream(self):
        return self.streams._stream(None, None, self.user, {})


def test_a_slow_browser_misses_versions_and_still_has_the_right_page(monkeypatch):
    """It takes an event when its connection is free again; meanwhile the page has changed twice."""

    async def follow():
        pages = Pages(monkeypatch)
        events = pages.stream()
        assert (await anext(events)).event == "token"
        first = await anext(events)
        assert (first.event, first.data, first.id) == ("page", LONG, "1")
        pages.add("two")
        second = await anext(events)
        assert (second.event, second.id) == ("change", "2")
        pages.add("three")
        pages.add("four")
        third = await anext(events)
        assert (third.event, third.data, third.id) == ("page", f"four\nthree\ntwo\n{LONG}", "4")

    asyncio.run(follow())


def test_a_user_whose_role_has_changed_is_sent_nothing_more(monkeypatch):
    async def follow():
        pages = Pages(monkeypatch)
        events = pages.stream()
        await anext(events)
        pages.user = Who("olga", "reader")
        return [event async for event in events]

    assert [event.event for event in asyncio.run(follow())] == ["page"]


def test_a_difference_makes_the_one_list_of_the_other():
    rng = random.Random(33)  # noqa: S311 -- to repeat it
    for _ in range(500):
        before, after = ([rng.choice("aaabc") * 9 for _ in range(rng.randrange(30))] for _ in "ab")
        delta = live.format_delta(before, after)
        if delta is not None:
            for start, end, added in json.loads(delta):
                before[start:end] = added
            assert before == after


def test_a_difference_of_large_pages_takes_no_longer_than_reading_them():
    """A matcher of lines takes minutes for pages in which each row has changed."""
    before = [line for n in range(3_000) for line in ("<tr>", f"<td>{n}</td>", "</tr>")]
    after = [line.replace("<td>", "<td>1") for line in before]

    assert live.format_delta(before, after) is None


def test_a_carriage_return_ends_no_line(stream, conn):
    conn.execute(
        """
        INSERT INTO workshed.queues (name, kind, paused_at) VALUES (E'a\rb', 'quorum', now())
        """
    )

    assert "a&#13;b" in stream("/queues").page()


@pytest.mark.parametrize("of", ["//[", "/none", "http://["])
def test_an_address_without_a_page_is_refused(of, stream):
    assert stream(of).status == 404


def test_without_a_login_nothing_is_sent(stream):
    assert stream("/", **{"x-other": "1"}).status == 401


def test_a_page_that_does_not_update_itself_is_not_sent(stream):
    assert stream("/audit").status == 404
