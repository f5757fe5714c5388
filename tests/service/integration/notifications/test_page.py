"""The page over HTTP: what each user sees and may upload."""

import functools
import http.client
import json
import re
import threading
from urllib.parse import quote

import pytest

from tests.service.integration.notifications import uploads
from tests.service.integration.notifications.reader import Reader
from workshed.contrib import notifications
from workshed.contrib.storage import storage

JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"


@pytest.fixture
def keep(connect):
    """`keep(content)`: store a content as a job would, and return its SHA-256."""
    return functools.partial(uploads.keep, connect(autocommit=True))


@pytest.fixture
def attach(connect):
    """`attach(user_id, filename, original)`: store an attachment and return its id."""
    conn = connect(autocommit=True)

    def attach(user_id, filename="cat.jpg", original=b"original"):
        return uploads.attach(conn, user_id, filename, original)

    return attach


@pytest.fixture
def make(connect, keep):
    """`make(original, content)`: record a variant of an original and return its SHA-256."""
    conn = connect(autocommit=True)

    def make(original=b"original", content=JPEG, box=(800, 600)):
        query = """
            INSERT INTO shop.image_variants
            VALUES (%s, %s, %s, 85, 'jpeg', 'test', %s, 'image/jpeg', 8, 6, 1)
        """
        sha256 = keep(content)
        conn.execute(query, (keep(original), *box, sha256))
        return sha256

    return make


@pytest.fixture
def run(connect):
    conn = connect(autocommit=True)
    return lambda query, *values: conn.execute(query, values)


@pytest.fixture
def see(served):
    """`see(user_id)`: the page of a user."""

    def see(user_id, path="/"):
        status, _, body = served.ask(path, cookie=notifications.token(user_id))
        assert status == 200, body
        return body.decode()

    return see


# What users see


def test_the_newest_picture_comes_first(see, attach, ada):
    for name in ("first.jpg", "second.jpg"):
        attach(ada, name)

    assert re.findall(r"<bdi>(.+?)</bdi>", see(ada)) == ["second.jpg", "first.jpg"]


def test_a_picture_is_shown_once_it_is_made(see, attach, make, ada):
    attach(ada)
    assert "Being processed" in see(ada)

    sha256 = make()

    assert f'<img src="contents/{sha256}" width="8" height="6" alt="cat.jpg"' in see(ada)
    assert "Being processed" not in see(ada)


def test_all_variants_are_shown_each_once(see, attach, make, ada):
    attach(ada)
    small = make(content=b"small", box=(80, 60))
    make(content=b"small", box=(90, 60))
    large = make()

    assert re.findall(r'src="contents/(\w+)"', see(ada)) == [small, large]


def test_a_refusal_is_shown_with_its_reason(see, attach, run, ada):
    attach(ada)
    run("UPDATE shop.attachments SET refusal = 'a <bomb>', refused_at = workshed.now()")

    assert "a &lt;bomb&gt;" in see(ada)


def test_a_name_is_text_and_nothing_else(see, attach, ada):
    attach(ada, '"><script>alert(1)<')

    assert "<script>alert" not in see(ada)


def test_users_do_not_see_each_others_pictures(see, attach, people):
    one, other = people(2)
    attach(other, "theirs.jpg")

    assert "theirs.jpg" not in see(one)
    assert "Nothing here yet" in see(one)


def test_a_page_says_after_which_number_it_is_to_be_followed(see, tell, ada):
    for n in range(3):
        tell(ada, n=n)

    assert 'data-number="3"' in see(ada)


def test_older_pictures_are_on_further_pages(see, attach, ada):
    ids = [attach(ada, f"{n}.jpg") for n in range(61)]

    assert f'href="./?before={ids[1]}"' in see(ada)
    assert re.findall(r"<bdi>(.+?)</bdi>", see(ada, f"/?before={ids[1]}")) == ["0.jpg"]


def test_changes_while_a_page_is_made_are_on_it_or_follow(
    served, connect, attach, make, ada, eventually
):
    """If the pictures were read before the number, it could be missed."""
    attach(ada)
    holder, watching = connect(), connect(autocommit=True)
    holder.execute("LOCK TABLE workshed_notifications.inboxes")
    answers = []
    token = notifications.token(ada)
    asking = threading.Thread(target=lambda: answers.append(served.ask("/", cookie=token)))
    asking.start()
    waits = """
        SELECT 1 FROM pg_locks
         WHERE NOT granted AND relation = 'workshed_notifications.inboxes'::regclass
    """
    eventually(lambda: watching.execute(waits).fetchone())

    sha256 = make()
    notifications.notify(holder, ada, "image_processed", {}, key="a")
    holder.commit()
    asking.join()

    page = answers[0][2].decode()
    assert 'data-number="0"' in page or sha256 in page


# Contents


def test_a_variant_is_served_to_owners_of_its_original(served, attach, make, ada):
    attach(ada)
    sha256 = make()

    status, headers, body = served.ask(f"/contents/{sha256}", cookie=notifications.token(ada))

    assert (status, body) == (200, JPEG)
    assert headers["Content-Type"] == "image/jpeg"
    assert headers["Content-Length"] == str(len(JPEG))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_a_large_variant_is_served_whole(served, attach, make, ada):
    attach(ada)
    content = bytes(range(256)) * 8_000
    sha256 = make(content=content)

    assert served.ask(f"/contents/{sha256}", token=notifications.token(ada))[2] == content


def test_other_users_do_not_learn_that_it_exists(served, attach, make, people):
    one, other = people(2)
    attach(other)
    known, unknown = make(), "0" * 64

    answers = [
        served.ask(f"/contents/{sha256}", cookie=notifications.token(one))
        for sha256 in (known, unknown)
    ]

    assert [status for status, *_ in answers] == [404, 404]
    assert answers[0][2] == answers[1][2]


def test_an_original_is_no_variant(served, attach, make, keep, ada):
    attach(ada)
    make()

    path = f"/contents/{keep(b'original')}"

    assert served.ask(path, cookie=notifications.token(ada))[0] == 404


def test_variants_of_a_replaced_original_are_not_served(served, attach, make, keep, run, ada):
    attach(ada)
    sha256 = make()
    run("UPDATE shop.attachments SET sha256 = %s", keep(b"another"))

    assert served.ask(f"/contents/{sha256}", cookie=notifications.token(ada))[0] == 404


def test_a_content_that_is_gone_is_missing(served, attach, make, ada):
    attach(ada)
    sha256 = make()
    storage().delete(sha256)

    assert served.ask(f"/contents/{sha256}", cookie=notifications.token(ada))[0] == 404


def test_without_a_token_nothing_is_served(served, make):
    assert served.ask(f"/contents/{make()}")[0] == 401


# Uploads


@pytest.fixture
def upload(served):
    """`upload(user_id, body)`: upload a file as the page does."""

    def upload(user_id, body=b"picture", filename="cat.jpg", **headers):
        headers = {"X_Filename": quote(filename, safe=""), **headers}
        headers.setdefault("Sec_Fetch_Site", "same-origin")
        token = notifications.token(user_id)
        return served.ask("/attachments", method="POST", cookie=token, body=body, **headers)

    return upload


@pytest.fixture
def kept(run):
    """`kept()`: the names of all attachments."""
    query = "SELECT filename FROM shop.attachments ORDER BY id"
    return lambda: [name for (name,) in run(query)]


def drafts(tmp_path):
    return list((tmp_path / "storage" / ".drafts").glob("*"))


def test_an_upload_is_stored_under_its_name(upload, run, ada):
    content = bytes(range(256)) * 2_000
    name = "Zoë's 100%.jpg"

    status, _, body = upload(ada, content, name)

    assert status == 201
    query = "SELECT filename, sha256 FROM shop.attachments WHERE id = %s"
    ((filename, sha256),) = run(query, json.loads(body)["attachment_id"])
    assert filename == name
    with storage().open(sha256) as file:
        assert file.read() == content


@pytest.mark.parametrize("way", ["declared", "chunked"])
def test_an_oversized_upload_is_refused_and_not_stored(
    monkeypatch, serve, ada, kept, run, tmp_path, way
):
    monkeypatch.setenv("SHOP_IMAGE_MAX_BYTES", "1000000")
    served, token = serve(), notifications.token(ada)
    body = b"x" * 1_000_001 if way == "declared" else iter([b"x" * 500_001] * 2)

    status, _, text = served.ask(
        "/attachments", method="POST", token=token, body=body, X_Filename="a.jpg"
    )

    assert status == 413
    assert b"at most 1 MB" in text
    assert kept() == []
    assert run("SELECT 1 FROM workshed_storage.blobs").fetchall() == []
    assert drafts(tmp_path) == []


def test_the_largest_is_taken(monkeypatch, serve, ada, kept):
    monkeypatch.setenv("SHOP_IMAGE_MAX_BYTES", "1000000")
    served, token = serve(), notifications.token(ada)

    status, *_ = served.ask(
        "/attachments", method="POST", token=token, body=b"x" * 1_000_000, X_Filename="a.jpg"
    )

    assert (status, kept()) == (201, ["a.jpg"])


def test_an_upload_that_breaks_off_leaves_nothing(served, ada, kept, tmp_path, eventually):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.putrequest("POST", "/attachments")
    connection.putheader("Authorization", f"Bearer {notifications.token(ada)}")
    connection.putheader("X-Filename", "a.jpg")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"x" * 300_000)
    eventually(lambda: drafts(tmp_path))

    connection.close()

    eventually(lambda: not drafts(tmp_path))
    assert kept() == []


@pytest.mark.parametrize(
    "name", ["", "a/b.jpg", "a\nb.jpg", "a\0", "a\x85", "\u2028", "x" * 256, "%ff"]
)
def test_a_name_that_cannot_be_stored_is_refused(served, ada, kept, name):
    header = name if name == "%ff" else quote(name, safe="")

    status, _, text = served.ask(
        "/attachments",
        method="POST",
        token=notifications.token(ada),
        body=b"x",
        X_Filename=header,
    )

    assert (status, b"X-Filename must name the file" in text) == (400, True)
    assert kept() == []


def test_an_empty_file_is_refused(upload, ada, kept):
    assert upload(ada, b"")[0] == 400
    assert kept() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "", "Origin": "https://evil.example"},
    ],
)
def test_another_site_uploads_nothing(upload, ada, kept, headers):
    assert upload(ada, **headers)[0] == 403
    assert kept() == []


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("{url}", 201),
        ("http://127.0.0.1", 403),
        ("http://[", 403),
        ("null", 403),
        (None, 403),
    ],
)
def test_an_old_browser_is_known_by_its_origin(served, ada, origin, status):
    headers = {"Origin": origin.format(url=served.url)} if origin else {}

    answer = served.ask(
        "/attachments",
        method="POST",
        cookie=notifications.token(ada),
        body=b"x",
        X_Filename="a.jpg",
        **headers,
    )

    assert answer[0] == status


def test_a_program_uploads_with_its_token_alone(served, ada, kept):
    token = notifications.token(ada)

    answer = served.ask("/attachments", method="POST", token=token, body=b"x", X_Filename="a.jpg")

    assert (answer[0], kept()) == (201, ["a.jpg"])


def test_a_deleted_user_uploads_nothing(upload, run, ada):
    run("DELETE FROM shop.users")

    status, _, text = upload(ada)

    assert (status, b"belongs to a deleted user" in text) == (401, True)


# Headers


def test_a_token_in_the_address_becomes_a_cookie(served, ada):
    token = notifications.token(ada)

    status, headers, body = served.ask(f"/?token={token}")

    assert status == 200
    cookie = headers["Set-Cookie"]
    assert cookie.startswith(f"workshed_token={token};")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert 0 < int(re.search(r"Max-Age=(\d+)", cookie)[1]) <= 12 * 3600
    assert b'content="0; url=./"' in body
    assert token.encode() not in body


@pytest.mark.parametrize(
    "path", ["/", "/?token=x", "/events", "/contents/0", "/static/pictures.js", "/nowhere"]
)
def test_every_answer_restricts_the_browser(served, ada, path):
    _, headers, _ = served.ask(path, cookie=notifications.token(ada) if path == "/" else None)

    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_without_a_token_says_what_to_do(served):
    status, headers, body = served.ask("/", Accept="text/html")

    assert status == 401
    assert headers["Content-Type"].startswith("text/html")
    assert b"Open the page by a new link" in body


MOUNTED = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from shop.web.pictures import create_app
uvicorn.run(Starlette(routes=[Mount("/pictures", create_app(sweep_s=15))]), port=0)
"""


def test_it_works_under_a_prefix_of_an_application_that_does_not_start_it(serve, tell, ada):
    served, token = serve("-c", MOUNTED), notifications.token(ada)

    _, headers, _ = served.ask(f"/pictures/?token={token}")
    assert "Path=/pictures" in headers["Set-Cookie"].split("; ")
    assert b"Nothing here yet" in served.ask("/pictures/", cookie=token)[2]
    assert served.ask("/pictures/static/pictures.js")[0] == 200
    with Reader(served, token, last=0, path="/pictures/events") as stream:
        tell(ada)
        assert [event.number for event in stream.take(1)] == [1]

    assert served.stop() < 12
