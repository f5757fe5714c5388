"""Mail on the console: caught emails are shown, and can do no harm there."""

import base64
import json
import os
import socket
from email.message import EmailMessage
from pathlib import Path

import pytest

from workshed.contrib.mail import maildir
from workshed.contrib.mail.protocol.envelope import Envelope
from workshed.devserver import state
from workshed.settings import settings

SCRIPT = "<script>alert(1)</script>"
PIXEL = b"\x89PNG\r\n\x1a\nnot much of a picture"
BROKEN = [
    b"",
    b"\n\n",
    b"\xff\xfe\x00\x01",
    b"Subject: =?utf-8?b?????=\nFrom: <<<>>>@@\nTo: \xff\xfe\n\nHello",
    b"Subject: =?no-such?q?Hello?=\nContent-Type: text/plain; charset=no-such\n\nHello",
    b"Subject: =?utf-8?q?=ff=fe?=\nFrom: =?zlib?q?x?= <a@x>\n\nHello",
    b"Subject: a\nContent-Type: text/html; charset=undefined\n\n<b>Hello</b>",
    b"Subject: a\nContent-Type: text/html; charset=a\0b\n\n<b>Hello</b>",
    b"Subject: a\nContent-Type: text/html; charset*=x'y'%00%ff\n\n<b>Hello</b>",
    b"Subject: a\nContent-Type: ;;;///\nContent-Disposition: =?=;;\n\nHello",
    b"Subject: a\nContent-Transfer-Encoding: base64\n\n!!!==A=",
    b"Subject: a\nContent-Transfer-Encoding: x-uuencode\n\nbegin 999 x\n!!!\n",
    b"Subject: a\nContent-Type: multipart/mixed\n\nno boundary",
    b"Subject: a\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\n--x\n--x--",
    b"Subject: a\nContent-Type: message/rfc822\n\n\n\n",
    b"Subject: a\nContent-Type: text/html\nContent-ID: <\xff>\n\n<img src=cid:%ff%zz>",
    b"Subject: =?utf-8?b?A?=\n\nHello",
    b"Subject: a\nContent-Disposition: attachment; filename*=a; filename*0=b\n\nHello",
    b"A" * 100_000,
    b"From: Ada" + b"(" * 50_000 + b"\nTo: " + b"<" * 50_000 + b"\n\nHello",
    b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (n, n) for n in range(999)),
    b"Content-Type: message/rfc822\n\n" * 3_000,
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The maildir that receives all emails."""
    monkeypatch.setenv("WORKSHED_SMTP_URL", f"maildir:{tmp_path}/mail")
    settings.cache_clear()
    return tmp_path / "mail"


@pytest.fixture
def store_caught(folder):
    """`store_caught(b"…")`: store a caught email; returns the name of its file."""
    names = set()

    def store(content):
        content = content.as_bytes() if isinstance(content, EmailMessage) else content
        maildir.store_mail(folder, Envelope("a@example.org", "b@example.org", content))
        (new,) = {path.name for path in (folder / "new").iterdir()} - names
        names.add(new)
        return new

    return store


def letter(subject="News", *, text="Hello", html=None, picture=None):
    written = EmailMessage()
    written["Subject"], written["From"], written["To"] = subject, "Ada <a@x.org>", "b@x.org"
    written.set_content(text)
    if html is not None:
        written.add_alternative(html, subtype="html")
    if picture is not None:
        page = written.get_body(("html",))
        page.add_related(picture, "image", "png", cid="<pic@x.org>", disposition="inline")
    return written


def one(browser, name, path="/mail/one"):
    return browser.client.get(path, params={"id": name}, headers={"accept": "text/html"})


def data(browser, name):
    answer = browser.client.get("/mail/one.json", params={"id": name})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_without_mails_the_page_says_so(folder, reader):
    assert "No mail yet" in reader.get("/mail").text
    assert reader.json("/mail") == {"folder": str(folder), "mails": []}


def test_with_a_real_mail_server_there_is_no_such_page(reader, monkeypatch):
    assert "/mail" in links(reader)
    monkeypatch.setenv("WORKSHED_SMTP_URL", "smtp://mail.example.org")
    settings.cache_clear()

    for path in ("/mail", "/mail/one?id=x", "/mail/html?id=x"):
        assert reader.get(path).status_code == 404
    assert "/mail" not in links(reader)


def links(browser):
    return [part.partition('"')[0] for part in browser.get("/").text.split('<a href="')]


def test_mails_caught_by_dev_are_shown(reader, store_caught, folder, monkeypatch):
    store_caught(letter())
    monkeypatch.setattr(state, "default_folder", lambda: folder.parent)
    (folder.parent / state.NOTES_FILE).write_text(json.dumps({"mail_port": "21025"}))

    found = []
    for url in ("smtp://127.0.0.1:21025", "smtp://127.0.0.1:21026", "smtp://mail.example:21025"):
        monkeypatch.setenv("WORKSHED_SMTP_URL", url)
        settings.cache_clear()
        found.append(reader.get("/mail").status_code)

    assert found == [200, 404, 404]


def test_unreadable_notes_of_dev_are_ignored(reader, folder, monkeypatch):
    folder.mkdir()
    (folder / state.NOTES_FILE).write_text("{")
    monkeypatch.setattr(state, "default_folder", lambda: folder)
    monkeypatch.setenv("WORKSHED_SMTP_URL", "smtp://127.0.0.1:21025")
    settings.cache_clear()

    assert reader.get("/mail").status_code == 404


def test_the_newest_come_first(reader, store_caught, folder):
    names = [store_caught(letter(f"News {n}")) for n in range(51)]
    for at, name in enumerate(names):
        os.utime(folder / "new" / name, (at, at))
    (folder / "new" / names[7]).rename(folder / "cur" / f"{names[7]}:2,S")

    found = reader.json("/mail")["mails"]

    assert [mail["subject"] for mail in found] == [f"News {n}" for n in range(50, 0, -1)]
    assert (found[0]["sender"], found[0]["recipient"]) == ("Ada <a@x.org>", "b@x.org")
    assert data(reader, f"{names[7]}:2,S")["mail"]["subject"] == "News 7"
    assert "News 50" in reader.get("/mail").text


def test_a_mail_is_shown_as_text_and_source(reader, store_caught):
    name = store_caught(letter(SCRIPT, text=f"Hello {SCRIPT}"))

    found = data(reader, name)

    assert found["mail"]["subject"] == SCRIPT
    assert found["text"] == f"Hello {SCRIPT}\n"
    assert found["has_html"] is False
    assert "Subject: <script>" in found["source"]
    for answer in (one(reader, name), reader.get("/mail")):
        assert SCRIPT not in answer.text
        assert "&lt;script&gt;" in answer.text
    assert "<iframe" not in one(reader, name).text
    assert one(reader, name, "/mail/html").status_code == 404


def test_the_html_of_a_mail_can_run_and_load_nothing(reader, store_caught):
    calls = '<LINK rel="preconnect" href="https://x.org"><iframe src="https://x.org"></iframe>'
    html = f"{SCRIPT}{calls}<b>Hello Zoë</b>"
    name = store_caught(letter(html=html))

    page = one(reader, name)
    paper = one(reader, name, "/mail/html")

    assert '<iframe class="paper" sandbox ' in page.text
    assert SCRIPT not in page.text
    assert paper.headers["content-type"] == "text/html; charset=utf-8"
    policy = [part.strip() for part in paper.headers["content-security-policy"].split(";")]
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy
    assert "sandbox" in policy
    assert not [part for part in policy if part.startswith(("script-src", "connect-src"))]
    assert paper.headers["cache-control"] == "no-store"
    assert paper.headers["x-dns-prefetch-control"] == "off"
    assert "content-disposition" not in paper.headers
    assert "<b>Hello Zoë</b>" in paper.text
    assert "<LINK" not in paper.text
    assert "<iframe" not in paper.text


def test_the_pictures_of_a_mail_are_in_its_page(reader, store_caught):
    html = '<img src="cid:pic%40x.org"><img src="cid:other"><img src="https://x.org/y.png">'
    name = store_caught(letter(html=html, picture=PIXEL))

    paper = one(reader, name, "/mail/html").text

    inlined = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    assert f'<img src="{inlined}"><img src="cid:other">' in paper
    [picture] = data(reader, name)["attached"]
    assert (picture["media_type"], picture["size_bytes"]) == ("image/png", len(PIXEL))


def test_a_picture_shown_many_times_does_not_fill_the_memory(reader, store_caught):
    html = '<img src="cid:pic@x.org">' * 1_000
    name = store_caught(letter(html=html, picture=b"\0" * 1_000_000))

    assert len(one(reader, name, "/mail/html").content) < 25_000_000


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "../new/{}",
        "/etc/passwd",
        "{}/",
        "./{}",
        "",
        ".",
        "..",
        "link",
        "{}\0",
        "%2e%2e%2fsecret",
        "..\\secret",
        "*",
    ],
)
def test_no_name_leads_to_another_file(reader, store_caught, folder, name):
    known = store_caught(letter())
    (folder / "secret").write_text("Subject: secret\n\nsecret")
    (folder.parent / "secret").write_text("Subject: secret\n\nsecret")
    (folder / "new" / "link").symlink_to(folder.parent / "secret")
    (folder / "new" / "folder").mkdir()

    for path in ("/mail/one", "/mail/html", "/mail/one.json"):
        answer = one(reader, name.format(known), path)
        # A parameter with a NUL is removed from the query, as if it had not been sent.
        assert answer.status_code == 404
        assert "Subject: secret" not in answer.text
    assert [mail["id"] for mail in reader.json("/mail")["mails"]] == [known]


@pytest.mark.sample(6)
@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_mail_is_shown_as_far_as_it_goes(reader, store_caught, content):
    name = store_caught(content)

    assert reader.get("/mail").status_code == 200
    assert one(reader, name).status_code == 200
    assert (
        data(reader, name)["source"].strip() == content.decode("utf-8", "replace")[:200_000].strip()
    )
    assert one(reader, name, "/mail/html").status_code in (200, 404)


def test_headers_beyond_ascii_are_decoded(reader, store_caught):
    encoded = "=?utf-8?q?Zo=C3=AB?="
    name = store_caught(f"Subject: Grüße\nFrom: {encoded} <z@x.org>\n\nHello".encode())

    found = data(reader, name)["mail"]

    assert (found["subject"], found["sender"]) == ("Grüße", "Zoë <z@x.org>")


def test_a_header_is_one_line(reader, store_caught):
    name = store_caught(b"Subject: =?utf-8?q?a=0D=0ABcc:_b?=\n\nHello")

    assert data(reader, name)["mail"]["subject"] == "a Bcc: b"


def test_a_header_that_would_take_minutes_to_decode_is_cut(reader, store_caught):
    name = store_caught(b"Subject:" + b" =?utf-8?q?a?=" * 5_000 + b"\n\nHello")

    assert set(data(reader, name)["mail"]["subject"][:700]) == {"a"}
    assert len(data(reader, name)["mail"]["subject"]) < 1_000


def test_of_a_long_mail_the_beginning_is_shown(reader, store_caught):
    name = store_caught(b"Subject: Long\n\n" + b"Hello\n" * 2_000_000)

    found = data(reader, name)

    assert found["is_cut"] is True
    assert len(found["text"]) == len(found["source"]) == 200_000
    assert "only part of it is shown" in one(reader, name).text


def test_names_that_no_mail_program_makes_are_passed_over(reader, store_caught, folder):
    name = store_caught(letter())
    (folder / "new" / "line\nfeed").write_text("Subject: a\n\n")
    Path(os.fsdecode(os.fsencode(folder / "new") + b"/\xff")).write_text("Subject: a\n\n")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "new" / "socket"))

    assert [mail["id"] for mail in reader.json("/mail")["mails"]] == [name]


def test_an_unreadable_folder_is_reported(reader, folder):
    folder.mkdir()
    (folder / "new").write_text("no folder")

    answer = reader.get("/mail")

    assert answer.status_code == 409
    assert "Not a directory" in answer.text
