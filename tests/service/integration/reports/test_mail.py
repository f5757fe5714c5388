"""Delivered report emails, read back with other parsers."""

import html
import io
import re
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from PIL import Image

from actors import daily_report, deliver_email
from tests.service.integration.reports.conftest import SUNDAY
from workshed import db
from workshed.contrib import mail
from workshed.contrib.storage import ContentMissingError, storage

NOON = datetime(2026, 3, 1, 11, tzinfo=UTC)
HOSTILE = [
    "<script>alert(1)</script>",
    "=cmd()|' /C calc'!A0",
    "مكتب \u202eevil",
    "x" * 10_000,
    "two\r\nlines",
]


@pytest.fixture
def grace(jobs, shop, paris):
    """The active admin."""
    return shop.user("Grace", admin=True)


@pytest.fixture
def reported(jobs, grace, sent):
    """`reported()`: the email about Sunday."""

    def report():
        daily_report.send(SUNDAY)
        jobs.drain()
        (mail,) = sent()
        return mail

    return report


def text(mail, kind="plain"):
    return mail.get_body((kind,)).get_content()


def words(page):
    """Return the visible text of a page."""
    body = re.sub(r"<head>.*?</head>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_it_is_text_and_page_with_a_chart_inside_and_a_csv_attached(reported, shop):
    shop.order((shop.product(), 2, "10.05"), at=NOON)

    mail = reported()

    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "text/csv",
    ]
    (chart,) = (part for part in mail.walk() if part.get_content_type() == "image/png")
    (table,) = mail.iter_attachments()
    (shown,) = re.findall(r'<img[^>]+src="cid:([^"]+)"', text(mail, "html"))
    assert chart["Content-ID"] == f"<{shown}>"
    assert chart.get_content_disposition() == "inline"
    assert Image.open(io.BytesIO(chart.get_content())).size == (1200, 432)
    assert (table.get_filename(), table.get_content_disposition()) == (
        "report-2026-03-01.csv",
        "attachment",
    )


def test_text_page_and_csv_say_the_same(reported, shop, cells):
    desk, lamp = shop.product("Desk"), shop.product("Lamp")
    shop.user("Ada", at=NOON)
    shop.order((desk, 2, "1000.05"), (lamp, 1, "0.0001"), at=NOON, user=shop.user("Bob", at=NOON))
    shop.order((lamp, 3, "500"), at=NOON, currency="JPY")

    mail = reported()

    said = text(mail).splitlines()
    assert mail["Subject"] == "Report of Sunday, 1 March 2026: 2,000.1001 EUR, 2 new users"
    for line in [
        "Sunday, 1 March 2026",
        "Europe/Paris, 2026-03-01 00:00 to 2026-03-02 00:00",
        "New users: 2",
        "Active users: 1",
        "Revenue: 2,000.1001 EUR",
        "Revenue: 1,500 JPY",
        "1. Desk: 2 sold, 2,000.10 EUR",
        "2. Lamp: 1 sold, 0.0001 EUR",
        "1. Lamp: 3 sold, 1,500 JPY",
    ]:
        assert line in said
    seen = words(text(mail, "html"))
    for piece in ["New users 2", "Active users 1", "Revenue 2,000.1001 EUR 1,500 JPY",
                  "Desk 2 2,000.10", "Lamp 1 0.0001", "Lamp 3 1,500"]:  # fmt: skip
        assert piece in seen
    of_day = {
        (row["measure"], row["item"], row["currency"]): row["value"]
        for row in cells(mail)
        if row["date"] == SUNDAY
    }
    assert of_day["revenue", "", "EUR"] == "2000.1001"
    assert of_day["revenue", "", "JPY"] == "1500"
    assert sum(
        Decimal(value)
        for (measure, _, code), value in of_day.items()
        if (measure, code) == ("revenue of product", "EUR")
    ) == Decimal("2000.1001")


def test_a_day_on_which_the_clocks_were_changed_says_so(jobs, grace, sent):
    for date in ("2026-03-28", "2026-03-29"):
        daily_report.send(date)
    jobs.drain()

    usual, changed = sent()
    line = "Europe/Paris, 2026-03-29 00:00 to 2026-03-30 00:00: 23 hours, since the clocks were"
    assert "hours" not in text(usual)
    assert line in text(changed)
    assert line in words(text(changed, "html"))


def test_hostile_names_are_text_of_one_line(reported, shop, cells):
    for number, name in enumerate(HOSTILE):
        shop.order((shop.product(name), 1, str(10 - number)), at=NOON)

    mail = reported()

    page = text(mail, "html")
    assert "<script" not in page
    assert "\u202e" not in page + text(mail)
    names = [html.unescape(name) for name in re.findall(r"<bdi[^>]*>(.*?)</bdi>", page)]
    assert names == [*HOSTILE[:2], "مكتب evil", "x" * 79 + "…", "two lines"]
    assert "3. \u2068مكتب evil\u2069: 1 sold, 8.00 EUR" in text(mail).splitlines()
    items = [row["item"] for row in cells(mail) if row["measure"] == "units of product"]
    assert items == [HOSTILE[0], f"'{HOSTILE[1]}", *HOSTILE[2:]]


def test_the_contents_of_all_mails_of_a_day_are_kept_once(jobs, grace, shop):
    for number in range(5):
        shop.user(f"Admin {number}", admin=True)

    daily_report.send(SUNDAY)
    jobs.drain()

    assert shop.one("SELECT count(*) FROM workshed_mail.email_files") == 12
    assert shop.one("SELECT count(*) FROM workshed_storage.blobs") == 2


def test_without_its_extra_it_goes_out_without_a_chart(reported, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "shop.reports.chart", raising=False)

    mail = reported()

    assert "pip install matplotlib" in caplog.text
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/csv",
    ]
    assert "<img" not in text(mail, "html")


def test_a_mail_keeps_the_files_it_was_stored_with(jobs, grace, reported, shop, monkeypatch):
    """Its page refers to these files; a report stored again may have others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        patch.delitem(sys.modules, "shop.reports.chart", raising=False)
        reported()

    daily_report.send(SUNDAY)
    jobs.drain()

    assert shop.one("SELECT array_agg(media_type) FROM workshed_mail.email_files") == ["text/csv"]


def test_a_mail_whose_file_cannot_be_read_waits(jobs, grace, shop, sent):
    jobs.perform(daily_report, SUNDAY)
    sha256 = shop.one("SELECT min(sha256) FROM workshed_mail.email_files")
    with storage().open(sha256) as file:
        content = file.read()
    storage().delete(sha256)
    email_id = shop.one("SELECT id FROM workshed_mail.emails")

    with pytest.raises(ContentMissingError):
        deliver_email(email_id)

    assert shop.one("SELECT state FROM workshed_mail.emails") == "pending"
    assert sha256 in shop.one("SELECT last_error FROM workshed_mail.emails")
    with storage().draft() as draft:
        draft.write(content)
        storage().keep(draft, sha256)
    deliver_email(email_id)
    assert len(sent()) == 1


def test_a_deleted_admin_gets_no_mail_and_their_data_goes(jobs, grace, shop, sent):
    jobs.perform(daily_report, SUNDAY)
    with db.transaction() as conn:
        conn.execute("DELETE FROM shop.users WHERE id = %s", (grace,))

    jobs.drain()

    assert sent() == []
    assert shop.one("SELECT count(*) FROM workshed_mail.email_files") == 0


def test_a_claimed_mail_has_its_files_in_their_order(jobs, grace, shop):
    jobs.perform(daily_report, SUNDAY)

    with db.transaction() as conn:
        email = mail.claim(conn, shop.one("SELECT id FROM workshed_mail.emails"))

    assert [(file.filename, bool(file.content_id)) for file in email.files] == [
        ("report-2026-03-01.png", True),
        ("report-2026-03-01.csv", False),
    ]
