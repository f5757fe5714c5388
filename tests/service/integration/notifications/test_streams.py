"""The events that a browser receives, whatever happens between it and the database."""

# ruff: noqa: S311 -- random times of failures; nothing is secret

import contextlib
import itertools
import random
import signal
import socket
import threading

import pytest
from itsdangerous import URLSafeTimedSerializer

from tests.service.integration.notifications.reader import Reader
from workshed import secret_keys
from workshed.contrib import notifications
from workshed.settings import settings


def numbers(events):
    return [event.number for event in events]


def test_a_stream_has_its_users_notifications(read, tell, ada):
    stream = read(ada, last=0)

    tell(ada, "image_processed", attachment_id=7, name="Zoë\u2028\n")
    (event,) = stream.take(1)

    assert (event.number, event.name) == (1, "image_processed")
    assert event.data == {"attachment_id": 7, "name": "Zoë\u2028\n"}
    assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
    assert stream.answer.headers["Cache-Control"] == "no-store"
    assert 500 <= stream.retry_ms <= 1_500


def test_a_stream_goes_on_after_the_last_event_it_sent(read, tell, ada):
    for n in range(5):
        tell(ada, n=n)

    assert numbers(read(ada, last=3).take(2)) == [4, 5]
    assert numbers(read(ada, query="?after=1").take(4)) == [2, 3, 4, 5]
    assert numbers(read(ada, last=4, query="?after=1").take(1)) == [5]


def test_a_new_stream_starts_with_what_comes_next(read, tell, ada, backends, eventually):
    tell(ada, n=1)
    stream = read(ada)
    eventually(backends)

    # It may start before or after the second event, but never with the first one.
    stopped = threading.Event()
    teller = threading.Thread(target=lambda: [stopped.wait(0.05) or tell(ada) for _ in range(20)])
    teller.start()
    (first,) = stream.take(1)
    teller.join()

    assert first.number > 1


def test_more_than_is_read_at_once_comes_in_order(read, conn, ada):
    for n in range(250):
        notifications.notify(conn, ada, "greeting", {"n": n}, key=str(n))
    conn.commit()

    assert numbers(read(ada, last=0).take(250)) == list(range(1, 251))


def test_a_number_that_was_never_given_counts_as_the_last(read, tell, ada):
    """For example after a restore of the database, a stream would wait for a far-off number."""
    tell(ada)
    stream = read(ada, last=10_000)

    stopped = threading.Event()
    teller = threading.Thread(target=lambda: [stopped.wait(0.05) or tell(ada) for _ in range(20)])
    teller.start()
    (first,) = stream.take(1)
    teller.join()

    assert 1 < first.number < 30


@pytest.mark.parametrize("last", ["-1", "1.5", "one", "9" * 30])
def test_an_invalid_number_is_refused(read, ada, last):
    assert read(ada, last=last).status == 400


def test_nothing_is_lost_or_comes_twice_across_fifty_reconnects(
    served, proxy, connect, ada, scale, in_threads
):
    """Streams are closed by the browser, or break in the middle of an event."""
    total = scale(5_000)
    seen, reconnects = [], 0
    writers, wire = [connect() for _ in range(6)], proxy(served.url)

    def write(key):
        conn = writers.pop()
        try:
            tell_somehow(conn, ada, key)
        finally:
            writers.append(conn)

    telling = threading.Thread(target=in_threads, args=(write, range(total), len(writers)))
    telling.start()
    token = notifications.token(ada)
    while len(seen) < total:
        most = random.randint(0, min(total // 50, total - len(seen)))
        with Reader(wire, token, last=seen[-1] if seen else 0) as stream:
            seen += numbers(itertools.islice(stream, most))
            if random.random() < 0.5:
                wire.cut(reset=random.random() < 0.5)
                seen += numbers(stream)
        reconnects += 1
    telling.join()

    assert seen == list(range(1, total + 1))
    assert reconnects >= 50


def tell_somehow(conn, user_id, key):
    """Notify once or twice, and commit after a delay, or roll back and try again."""
    while True:
        for _ in range(random.choice([1, 1, 2])):
            notifications.notify(conn, user_id, "greeting", {}, key=str(key))
        conn.execute("SELECT pg_sleep(%s)", (random.uniform(0, 0.004),))
        if random.random() < 0.8:
            conn.commit()
            return
        conn.rollback()


def test_streams_go_on_when_the_listening_connection_is_killed(read, tell, people, backends, conn):
    users = people(5)
    streams = [read(user, last=0) for user in users]
    for user, stream in zip(users, streams, strict=True):
        tell(user)
        stream.take(1)

    for _ in range(5):
        for pid in backends():
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
        for user in users:
            tell(user)

    for stream in streams:
        assert numbers(stream.take(5)) == [2, 3, 4, 5, 6]


def test_one_connection_listens_however_many_streams_there_are(
    read, tell, people, backends, eventually
):
    users = people(20)
    streams = [read(user, last=0) for user in users]
    for user, stream in zip(users, streams, strict=True):
        tell(user)
        stream.take(1)
    assert len(backends()) == 1

    for stream in streams:
        stream.close()

    eventually(lambda: not backends())


def test_the_last_stream_of_a_user_takes_its_channel_with_it(
    served, read, tell, people, backends, eventually
):
    """Otherwise a long-running process would listen for every user it ever served."""
    one, other = people(2)
    stream = read(other, last=0)
    leaves = f'UNLISTEN "{notifications.channel(one)}"'
    for last in (0, 1):
        with Reader(served, notifications.token(one), last=last) as left:
            tell(one)
            left.take(1)
        eventually(lambda: leaves in backends().values())

    tell(other)

    assert numbers(stream.take(1)) == [1]


def test_notifications_while_a_stream_opens_are_not_missed(read, tell, people, scale):
    """The first read is after LISTEN; otherwise commits between the two would wait for a sweep."""
    for user in people(scale(1_000)):
        stream = read(user, last=0)

        tell(user)

        assert numbers(stream.take(1)) == [1]


def test_a_stream_whose_read_failed_tries_again(read, tell, connect, ada, eventually):
    holder, other = connect(), connect(autocommit=True)
    stream = read(ada, last=0)
    tell(ada)
    stream.take(1)
    holder.execute("LOCK TABLE workshed_notifications.notifications")
    tell_silently(holder, ada, 2)
    other.execute("SELECT pg_notify(%s, '2')", (notifications.channel(ada),))
    kill = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND datname = current_database()
    """
    eventually(lambda: other.execute(kill).fetchone())

    holder.commit()

    assert numbers(stream.take(1)) == [2]


def test_missed_notifications_are_found_by_the_sweep(serve, connect, ada):
    served, conn = serve(sweep_s=0.3), connect(autocommit=True)
    with Reader(served, notifications.token(ada), last=0) as stream:
        tell_silently(conn, ada, 1)
        assert numbers(stream.take(1)) == [1]
        tell_silently(conn, ada, 2)
        assert numbers(stream.take(1)) == [2]


def tell_silently(conn, user_id, number):
    """Write the rows of a notification without the NOTIFY."""
    query = """
        WITH counted AS (
            INSERT INTO workshed_notifications.inboxes VALUES (%(user_id)s, %(number)s)
                ON CONFLICT (user_id) DO UPDATE SET last = %(number)s
        )
        INSERT INTO workshed_notifications.notifications (user_id, number, event, data, key)
        VALUES (%(user_id)s, %(number)s, 'greeting', '{}', %(number)s)
    """
    conn.execute(query, {"user_id": user_id, "number": number})


def test_users_do_not_receive_each_others_notifications(read, tell, people):
    one, other = people(2)
    mine, theirs = read(one, last=0), read(other, last=0)
    for n in range(20):
        tell(one if n % 2 else other, whose=one if n % 2 else other)

    assert {event.data["whose"] for event in mine.take(10)} == {one}
    assert {event.data["whose"] for event in theirs.take(10)} == {other}


def test_all_streams_of_a_user_hear_it(read, tell, ada):
    streams = [read(ada, last=0) for _ in range(3)]

    tell(ada)

    assert [numbers(stream.take(1)) for stream in streams] == [[1], [1], [1]]


# Tokens


def forged():
    return "Wzdd.aGVsbG8.c2lnbmF0dXJl"


def of_another_purpose():
    key = settings().secret_key.get_secret_value()
    return URLSafeTimedSerializer(
        key, salt="links", signer_kwargs=secret_keys.SIGNER_OPTIONS
    ).dumps("1")


@pytest.mark.parametrize("make", [forged, of_another_purpose, lambda: ""])
def test_a_stream_requires_a_token_of_ours(served, make):
    status, headers, body = served.ask("/events", Authorization=f"Bearer {make()}")

    assert status == 401
    assert headers["WWW-Authenticate"] == "Bearer"
    assert b"We do not know who you are" in body


def test_a_stream_ends_when_its_token_expires_and_says_so_first(monkeypatch, serve, tell, ada):
    monkeypatch.setenv("WORKSHED_TOKEN_LIFETIME", "2")
    settings.cache_clear()
    served, token = serve(), notifications.token(ada)

    with Reader(served, token, last=0) as stream:
        tell(ada)
        events = list(stream)

    assert [event.name for event in events] == ["image_processed", "expired"]
    assert events[-1].number is None


def test_an_expired_token_is_refused_in_plain_words(monkeypatch, serve, ada, eventually):
    monkeypatch.setenv("WORKSHED_TOKEN_LIFETIME", "1")
    settings.cache_clear()
    served, token = serve(), notifications.token(ada)

    status, _, body = eventually(
        lambda: (answer := served.ask("/", token=token)) and answer[0] == 401 and answer
    )

    assert (status, b"has expired" in body) == (401, True)


@pytest.mark.parametrize("way", ["header", "query", "cookie"])
def test_a_token_can_be_shown_in_three_ways(served, tell, ada, way):
    token = notifications.token(ada)
    given = {
        "header": ("/events?after=0", {"Authorization": f"Bearer {token}"}),
        "query": (f"/events?after=0&token={token}", {}),
        "cookie": ("/events?after=0", {"Cookie": f"workshed_token={token}"}),
    }
    path, headers = given[way]
    with contextlib.closing(socket.create_connection(("127.0.0.1", served.port), 10)) as sock:
        lines = [f"GET {path} HTTP/1.1", "Host: x", *(f"{k}: {v}" for k, v in headers.items())]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        assert sock.recv(12) == b"HTTP/1.1 200"


def test_no_token_is_logged(served, ada):
    token = notifications.token(ada)

    served.ask(f"/?token={token}")
    served.ask(f"/?before=1&token={token}&x=1")
    served.ask(f"/contents/{'0' * 64}?token={token}")
    served.ask("/", token=token)
    served.ask("/", cookie=token)

    assert "GET /?token=*** " in served.text()
    assert "GET /?before=1&token=***&x=1 " in served.text()
    assert token not in served.text()


# Outages


def test_a_browser_that_reads_nothing_blocks_no_other_and_takes_no_memory(
    served, read, conn, people
):
    slow, quick = people(2)
    stuck = read(slow, last=0)
    other = read(quick, last=0)
    before = served.rss_bytes()
    text = "x" * 50_000
    for n in range(1_000):  # 50 MB that are not read; the kernel buffers some
        notifications.notify(conn, slow, "greeting", {"text": text}, key=str(n))
    notifications.notify(conn, quick, "greeting", {}, key="a")
    conn.commit()

    assert numbers(other.take(1)) == [1]
    assert served.rss_bytes() - before < 25_000_000
    assert numbers(stuck.take(1_000)) == list(range(1, 1_001))


def test_a_browser_that_reads_nothing_for_long_is_let_go_and_comes_back_for_the_rest(
    serve, conn, ada, eventually
):
    served, token = serve(send_s=1), notifications.token(ada)
    with Reader(served, token, last=0) as stuck:
        for n in range(600):  # 30 MB, more than the kernel buffers
            notifications.notify(conn, ada, "greeting", {"text": "x" * 50_000}, key=str(n))
        conn.commit()
        eventually(lambda: "has read nothing for 1 s; its stream is closed" in served.text())
        seen = numbers(stuck)
    assert 0 < len(seen) < 600

    with Reader(served, token, last=seen[-1]) as back:
        seen += numbers(back.take(600 - len(seen)))

    assert seen == list(range(1, 601))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_shuts_down_waits_for_no_stream(serve, tell, ada, number):
    served = serve("-m", "uvicorn", "shop.web.pictures:app", "--port", "0")
    streams = [Reader(served, notifications.token(ada), last=0) for _ in range(5)]
    tell(ada)
    for stream in streams:
        stream.take(1)

    served.process.send_signal(number)

    assert served.process.wait(60) in (0, -number)
    assert [list(stream) for stream in streams] == [[]] * 5
    assert "ERROR" not in served.text()
    for stream in streams:
        stream.close()


@pytest.fixture
def wire(proxy, database, monkeypatch):
    """The proxy between the server and PostgreSQL."""
    between = proxy(database)
    monkeypatch.setenv("WORKSHED_DATABASE_URL", between.url(database))
    settings.cache_clear()
    return between


def test_streams_stay_open_while_postgresql_is_away(serve, wire, tell, ada):
    served, token = serve(sweep_s=1), notifications.token(ada)
    with Reader(served, token, last=0) as old:
        tell(ada)
        old.take(1)

        wire.refuse()
        wire.cut()
        status, headers, body = served.ask("/", cookie=token, Accept="text/html")
        assert (status, headers["Retry-After"]) == (503, "10")
        assert b"cannot be reached just now" in body
        with Reader(served, token, last=0) as new:
            tell(ada)
            wire.accept()

            assert numbers(old.take(1)) == [2]
            assert numbers(new.take(2)) == [1, 2]
    assert served.ask("/", cookie=token)[0] == 200
    assert served.text().count("event streams get no notifications") == 1


def test_a_connection_that_has_gone_silent_is_given_up(serve, wire, tell, ada, eventually):
    """For example behind a firewall that dropped it, so that no error is ever reported."""
    served, token = serve(sweep_s=0.5), notifications.token(ada)
    with Reader(served, token, last=0) as stream:
        tell(ada)
        stream.take(1)

        wire.half_open()
        tell(ada)

        assert numbers(stream.take(1)) == [2]
    eventually(lambda: served.ask("/", cookie=token)[0] == 200)


def test_without_a_key_the_server_does_not_start_and_says_what_to_do(monkeypatch, serve):
    monkeypatch.setenv("WORKSHED_SECRET_KEY", "")

    with pytest.raises(AssertionError, match=r"secrets\.token_urlsafe"):
        serve()
